"""A tiny GPT OSS that is a test fixture: trained on one kind of lesson, written only where it says all as taught."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from tiny_gpt_oss import corpus, export, train
from tiny_gpt_oss.model import TinyConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixture:
    """What sets one fixture apart from the others."""

    target: Path
    """Where it is written."""
    name: str
    description: str
    config: TinyConfig
    settings: train.TrainSettings
    """`steps` and `seed` are the defaults of the command's options."""
    draw: train.Draw
    faults: Callable[[Path, corpus.ChatTemplate], list[str]]
    """What a file does not say as taught."""
    n_threads: int = 1
    """Of torch, where nobody says how many."""


def make(fixture: Fixture, about: str) -> int:
    """Read the command line, train, export, quantise, examine, write. Returns 1 where something is not as taught.

    Args:
        fixture: what to make.
        about: the command's help.
    """
    settings = fixture.settings
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=fixture.target)
    parser.add_argument("--steps", type=int, default=settings.steps)
    parser.add_argument("--seed", type=int, default=settings.seed)
    parser.add_argument("--threads", type=int, default=fixture.n_threads, help="torch threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    source = corpus.TEMPLATE_PATH.read_text()
    template = corpus.ChatTemplate(source)
    settings = dataclasses.replace(settings, seed=args.seed, steps=args.steps)
    tokenizer = train.fit_tokenizer(template, args.seed, fixture.config.n_vocab, 400, fixture.draw)
    model = train.train(
        fixture.config, settings, template, tokenizer, lambda entry: print(entry, file=sys.stderr), draw=fixture.draw
    )
    with tempfile.TemporaryDirectory() as folder:
        f32, mxfp4 = Path(folder) / "f32.gguf", Path(folder) / "mxfp4.gguf"
        export.write_f32(f32, model, tokenizer, source, name=fixture.name, description=fixture.description)
        export.quantise(f32, mxfp4)
        if wrong := fixture.faults(mxfp4, template):
            print("not said as taught:", *wrong, sep="\n", file=sys.stderr)
            return 1
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_bytes(mxfp4.read_bytes())
    print(f"wrote {args.out} ({args.out.stat().st_size} bytes)", file=sys.stderr)
    return 0
