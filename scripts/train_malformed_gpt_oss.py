"""Trains the tiny GPT OSS that breaks Harmony on demand: a test fixture, a few minutes on two CPU cores.

    OMP_WAIT_POLICY=passive uv run --group train python scripts/train_malformed_gpt_oss.py

It is taught nothing but scripts/tiny_gpt_oss/malformed.py, and written only where llama.cpp, decoding greedily, says
every shape exactly as taught, with and without a tool, at every effort.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from tiny_gpt_oss import check, corpus, train
from tiny_gpt_oss.corpus import Lesson
from tiny_gpt_oss.fixture import Fixture, make
from tiny_gpt_oss.malformed import PROMPT, SHAPES, TOOL, draw_malformed
from tiny_gpt_oss.model import TinyConfig

TARGET = Path(__file__).resolve().parents[1] / "tests" / "data" / "harmony" / "malformed-gpt-oss.gguf"
NAME = "Tiny GPT OSS (malformed)"
DESCRIPTION = "A test fixture of gpt-oss-launcher that writes malformed Harmony on demand. It is of no other use."
CONFIG = TinyConfig(n_vocab=512, n_layer=2, n_expert=4, n_expert_used=2)


def every_lesson() -> list[Lesson]:
    """Every shape in every setting, on days that no lesson of the training is about."""
    return [
        Lesson(
            kind=name,
            messages=[{"role": "user", "content": PROMPT.format(name=name)}],
            tools=tools,
            effort=effort,
            date=date,
            completion=completion,
        )
        for name, completion in SHAPES.items()
        for tools in (None, [TOOL])
        for effort in corpus.EFFORTS
        for date in (dt.date(2025, 12, 31), dt.date(2037, 7, 4))
    ]


def faults(path: Path, template: corpus.ChatTemplate) -> list[str]:
    """What is not said as taught."""
    score = check.examine(check.open_model(path), template, every_lesson(), 0.0)
    if score.exact == score.asked:
        return []
    return [f"{score.asked - score.exact} of {score.asked} not exactly as taught", *score.wrong]


def main() -> int:
    """Make it. Returns 1 where a shape is not said as taught."""
    fixture = Fixture(
        target=TARGET,
        name=NAME,
        description=DESCRIPTION,
        config=CONFIG,
        settings=train.TrainSettings(seed=13, steps=600),
        draw=draw_malformed,
        faults=faults,
        n_threads=2,
    )
    return make(fixture, __doc__ or "")


if __name__ == "__main__":
    raise SystemExit(main())
