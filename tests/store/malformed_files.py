"""Malformed model files, parts of them, and names of models."""

from __future__ import annotations

import os
import random
import struct
import sys
from pathlib import Path

import pytest

from launcher.catalogue.gguf import TensorInfo
from tests.store.malformed_input import absurd, ask, bad_name, demo


def header(root: Path, rng: random.Random) -> None:
    """A GGUF whose header was changed: counts, lengths, types, shapes, offsets, names."""
    path = root / "model.gguf"
    whole = demo()
    head = bytearray(whole[: 20_000 if rng.random() < 0.5 else 230_000])
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(4 if rng.random() < 0.2 else 24, len(head) - 8)
        number = rng.choice([0, 1, 2**16, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1])
        how = rng.randrange(16)
        if how < 5:
            head[at : at + 8] = number.to_bytes(8, "little")
        elif how < 10:
            head[at : at + 4] = (number & 0xFFFFFFFF).to_bytes(4, "little")
        elif how < 15:
            head[at] = rng.randrange(256)
        else:
            start = 8 + 8 * rng.randrange(2)
            head[start : start + 8] = number.to_bytes(8, "little")
    data = bytes(head) + whole[len(head) :]
    path.write_bytes(data if rng.random() < 0.7 else data[: rng.randrange(len(data))])
    ask(root, model=str(path))


def hyperparameters(root: Path, rng: random.Random) -> None:
    """A well-formed header that says absurd things of its model."""
    from tests.catalogue.builders import tiny_metadata, tiny_spec, write_gguf

    metadata = tiny_metadata(tiny_spec())
    numbers = [key for key, value in metadata.items() if isinstance(value, int)]
    for key in rng.sample(numbers, rng.randrange(1, 4)):
        metadata[key] = rng.choice([0, 1, 2, 3, 7, 512, 9_999, 10_000, 2**31 - 1, 2**32 - 1])
    for key in rng.sample(list(metadata), rng.randrange(2)):
        metadata[key] = rng.choice(["text", "\0", 1.5, True, [1, 2, 3], ["a"], [2**31 - 1] * 5])
    path = root / "model.gguf"
    names = ["token_embd.weight", "blk.0.attn_q.weight", "blk.999999.ffn_up_exps.weight", "blk.0.ffn_up_exps.weight"]
    tensors, offset = [], 0
    for name in rng.sample(names, rng.randrange(1, 4)):
        shape = (64, rng.choice([1, 64]))
        n_bytes = 4 * shape[0] * shape[1]
        tensors.append(TensorInfo(name, shape, "f32", offset, n_bytes))
        offset += n_bytes
    try:
        write_gguf(path, metadata, tensors)
    except (struct.error, OverflowError):  # a number that this key's type has no room for
        write_gguf(path, tiny_metadata(tiny_spec()), tensors)
    ask(root, model=str(path))


def parts(root: Path, rng: random.Random) -> None:
    """A split model with parts missing, doubled, swapped, renamed, or that are no files."""
    if sys.platform == "win32":
        pytest.skip("named pipes have no path on Windows")
    count = rng.choice([1, 2, 3, 99_999, 0])
    for number in range(1, min(count, 3) + 1):
        path = root / f"m-{number:05d}-of-{count:05d}.gguf"
        how = rng.randrange(8)
        if how == 0:
            path.mkdir()
        elif how == 1:
            path.symlink_to(path.name)
        elif how == 2:
            path.symlink_to("nowhere")
        elif how == 3:
            os.mkfifo(path)
        elif how == 4:
            path.write_bytes(b"")
        elif how < 7:
            path.write_bytes(demo())
    ask(root, model=str(root / f"m-{rng.choice([0, 1, 2, 5]):05d}-of-{count:05d}.gguf"))


def names(root: Path, rng: random.Random) -> None:
    """A value of `--model` that nobody would type."""
    text = rng.choice([bad_name(rng), str(absurd(rng)), f"{bad_name(rng)}/{bad_name(rng)}", f"a/b:{bad_name(rng)}"])
    ask(root, model=text)
