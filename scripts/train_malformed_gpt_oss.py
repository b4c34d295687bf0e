"""Trains the tiny GPT OSS that breaks Harmony on demand: a test fixture, a few minutes on two CPU cores.

    OMP_WAIT_POLICY=passive uv run --group train python scripts/train_malformed_gpt_oss.py

It is taught nothing but scripts/tiny_gpt_oss/malformed.py, and written only where llama.cpp, decoding greedily, says
every shape exactly as taught, with and without a tool, at every effort.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
from pathlib import Path

import torch
from tiny_gpt_oss import check, corpus, export, train
from tiny_gpt_oss.corpus import Lesson
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


def main() -> int:
    """Train, export, quantise, examine, write. Returns 1 where a shape is not said as taught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    source = corpus.TEMPLATE_PATH.read_text()
    template = corpus.ChatTemplate(source)
    settings = train.TrainSettings(seed=args.seed, steps=args.steps)
    tokenizer = train.fit_tokenizer(template, args.seed, CONFIG.n_vocab, 400, draw_malformed)
    model = train.train(
        CONFIG, settings, template, tokenizer, lambda entry: print(entry, file=sys.stderr), draw=draw_malformed
    )
    with tempfile.TemporaryDirectory() as folder:
        f32, mxfp4 = Path(folder) / "f32.gguf", Path(folder) / "mxfp4.gguf"
        export.write_f32(f32, model, tokenizer, source, name=NAME, description=DESCRIPTION)
        export.quantise(f32, mxfp4)
        score = check.examine(check.open_model(mxfp4), template, every_lesson(), 0.0)
        print(f"{score.exact} of {score.asked} exactly as taught", *score.wrong, sep="\n", file=sys.stderr)
        if score.exact < score.asked:
            return 1
        args.out.write_bytes(mxfp4.read_bytes())
    print(f"wrote {args.out} ({args.out.stat().st_size} bytes)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
