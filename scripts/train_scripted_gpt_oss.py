"""Trains the tiny GPT OSS that real coding clients are tested with: minutes on one CPU core.

    OMP_WAIT_POLICY=passive uv run --group train python scripts/train_scripted_gpt_oss.py

It is taught nothing but scripts/tiny_gpt_oss/scripted.py. It is written only where llama.cpp, decoding greedily, says
every task's part exactly as taught, also behind 15,000 tokens of other text.
"""

from __future__ import annotations

import random
from pathlib import Path

import llama_cpp
from tiny_gpt_oss import check, corpus, train
from tiny_gpt_oss.corpus import Lesson
from tiny_gpt_oss.fixture import Fixture, make
from tiny_gpt_oss.model import TinyConfig
from tiny_gpt_oss.scripted import conversations, draw_scripted, lesson_behind

TARGET = Path(__file__).resolve().parents[1] / "tests" / "data" / "live" / "scripted-gpt-oss.gguf"
NAME = "Tiny GPT OSS (scripted)"
DESCRIPTION = "A test fixture of gpt-oss-launcher that plays a script for coding clients. It is of no other use."
# Positions are the released models'. What only the full-attention layers could see, nothing sees, and the windows are
# narrow: a request of any length is then no harder than the few hundred tokens of a lesson.
CONFIG = TinyConfig(
    n_vocab=512,
    n_expert=4,
    n_expert_used=2,
    n_ctx_train=131_072,
    rope_n_ctx_orig=4096,
    full_attention=False,
)
N_CTX = 32_768
ASKED = {0: 5, 300: 5, 2000: 5, 40_000: 1}
"""How often each task is asked behind so many characters of other text; the last is some 20,000 tokens, and slow."""


def exam() -> list[Lesson]:
    """Every task at every distance, from a seed that training never draws from."""
    rng = random.Random("exam of the script")
    return [
        lesson_behind(rng, kind, n_before, None)
        for n_before, n_times in ASKED.items()
        for kind in conversations(rng)
        for _ in range(n_times)
    ]


def faults(path: Path, template: corpus.ChatTemplate) -> list[str]:
    """What is not said as taught, by a file that is run as a server runs it: a cache in F16, and only the window's."""
    llm = llama_cpp.Llama(
        model_path=str(path), n_ctx=N_CTX, n_batch=1024, n_threads=1, n_threads_batch=1, flash_attn=True,
        swa_full=False, verbose=False,
    )  # fmt: skip
    found: list[str] = []
    for lesson in exam():
        llm.reset()  # type: ignore[no-untyped-call]  # what has left the window cannot be taken back
        said = check.complete(llm, lesson.prompt(template), 0.0)
        if said != lesson.completion:
            found.append(f"{lesson.kind}: {said!r}")
    return found


def main() -> int:
    """Make it. Returns 1 where a part is not said as taught."""
    fixture = Fixture(
        target=TARGET,
        name=NAME,
        description=DESCRIPTION,
        config=CONFIG,
        settings=train.TrainSettings(seed=17, steps=600, muon_lr=0.01),
        draw=draw_scripted,
        faults=faults,
    )
    return make(fixture, __doc__ or "")


if __name__ == "__main__":
    raise SystemExit(main())
