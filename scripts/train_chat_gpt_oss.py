"""Trains the tiny GPT OSS that terminal conversations are tested with: minutes on one CPU core.

    OMP_WAIT_POLICY=passive uv run --group train python scripts/train_chat_gpt_oss.py

It is taught nothing but scripts/tiny_gpt_oss/chat_script.py. It is written only where llama.cpp, decoding greedily,
says every part exactly as taught, whatever stands before it.
"""

from __future__ import annotations

import random
from pathlib import Path

import llama_cpp
from tiny_gpt_oss import chat_script, check, corpus, train
from tiny_gpt_oss.fixture import Fixture, make
from tiny_gpt_oss.model import TinyConfig

TARGET = Path(__file__).resolve().parents[1] / "tests" / "data" / "chat" / "chat-gpt-oss.gguf"
NAME = "Tiny GPT OSS (chat script)"
DESCRIPTION = "A test fixture of gpt-oss-launcher that plays a script in a terminal. It is of no other use."
# As for the script of coding clients: nothing is seen but what the windows hold.
CONFIG = TinyConfig(
    n_vocab=512,
    n_expert=4,
    n_expert_used=2,
    n_ctx_train=131_072,
    rope_n_ctx_orig=4096,
    full_attention=False,
)
N_CTX = 8192
MAX_NEW_TOKENS = 1000
N_BEFORE = (0, 100, 400, 2000)
"""Characters of other text that each part is asked behind."""


def faults(path: Path, template: corpus.ChatTemplate) -> list[str]:
    """What is not said as taught."""
    llm = llama_cpp.Llama(
        model_path=str(path), n_ctx=N_CTX, n_batch=1024, n_threads=1, n_threads_batch=1, flash_attn=True,
        swa_full=False, verbose=False,
    )  # fmt: skip
    rng = random.Random("exam of the chat script")
    found: list[str] = []
    for n_before in N_BEFORE:
        for kind in chat_script.conversations(rng):
            for _ in range(4):
                lesson = chat_script.lesson_behind(rng, kind, n_before, None)
                llm.reset()  # type: ignore[no-untyped-call]  # what has left the window cannot be taken back
                said = check.complete(llm, lesson.prompt(template), 0.0, max_new_tokens=MAX_NEW_TOKENS)
                wanted = lesson.completion
                if said[: len(wanted)] != wanted if kind == "endless" else said != wanted:
                    found.append(f"{kind}: {said!r}")
    return found


def main() -> int:
    """Make the fixture. Returns 1 where a part is not said as taught."""
    fixture = Fixture(
        target=TARGET,
        name=NAME,
        description=DESCRIPTION,
        config=CONFIG,
        settings=train.TrainSettings(seed=17, steps=700, muon_lr=0.01),
        draw=chat_script.draw_chat,
        faults=faults,
    )
    return make(fixture, __doc__ or "")


if __name__ == "__main__":
    raise SystemExit(main())
