"""Trains the tiny GPT OSS that real coding clients are tested with: minutes on one CPU core.

    OMP_WAIT_POLICY=passive uv run --group train python scripts/train_scripted_gpt_oss.py

It is taught nothing but scripts/tiny_gpt_oss/scripted.py. It is written only where llama.cpp, decoding greedily, says
every task's part exactly as taught, also behind 15,000 tokens of other text.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import llama_cpp
import torch
from tiny_gpt_oss import check, corpus, export, train
from tiny_gpt_oss.corpus import Lesson
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
    """Train, export, quantise, examine, write. Returns 1 where a part is not said as taught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    source = corpus.TEMPLATE_PATH.read_text()
    template = corpus.ChatTemplate(source)
    settings = train.TrainSettings(seed=args.seed, steps=args.steps, muon_lr=0.01)
    tokenizer = train.fit_tokenizer(template, args.seed, CONFIG.n_vocab, 400, draw_scripted)
    model = train.train(
        CONFIG, settings, template, tokenizer, lambda entry: print(entry, file=sys.stderr), draw=draw_scripted
    )
    with tempfile.TemporaryDirectory() as folder:
        f32, mxfp4 = Path(folder) / "f32.gguf", Path(folder) / "mxfp4.gguf"
        export.write_f32(f32, model, tokenizer, source, name=NAME, description=DESCRIPTION)
        export.quantise(f32, mxfp4)
        if wrong := faults(mxfp4, template):
            print(f"{len(wrong)} parts are not said as taught:", *wrong, sep="\n", file=sys.stderr)
            return 1
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_bytes(mxfp4.read_bytes())
    print(f"wrote {args.out} ({args.out.stat().st_size} bytes)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
