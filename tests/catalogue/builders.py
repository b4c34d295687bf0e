"""Small models and headers for the catalogue's tests, made by the writer of scripts/."""

import sys
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "scripts"))

import gguf_vocab
import make_gguf
from gguf_fill import RandomFill
from gguf_writer import Typed, encode_string, encode_tensor, encode_value, header_bytes, write_gguf, write_split
from make_gguf import hyperparameters

from launcher.catalogue.recipes import Recipe, model_tensors
from launcher.catalogue.shipped import Shipped, read_shipped
from launcher.catalogue.types import ModelSpec
from launcher.configs import configs_dir

__all__ = [
    "NATIVE",
    "RandomFill",
    "ShortReads",
    "Typed",
    "encode_string",
    "encode_tensor",
    "encode_value",
    "gguf_vocab",
    "header_bytes",
    "make_gguf",
    "shipped",
    "spec",
    "tiny_file",
    "tiny_header",
    "tiny_metadata",
    "tiny_spec",
    "write_gguf",
    "write_split",
]

NATIVE = Recipe(token_embd="q8_0", output="q8_0", attn_q="q8_0", attn_k="q8_0", attn_v="q8_0", attn_output="q8_0")


@cache
def shipped() -> Shipped:
    return read_shipped(configs_dir())


def spec(model: str = "gpt-oss-20b") -> ModelSpec:
    return shipped().models[model]


def tiny_spec(**changes: Any) -> ModelSpec:
    tiny = replace(
        spec(),
        id="tiny",
        n_layer=3,
        n_embd=64,
        n_head=4,
        n_head_kv=2,
        n_embd_head_k=32,
        n_embd_head_v=32,
        n_vocab=96,
        n_ctx_train=512,
        n_swa=16,
        n_expert=4,
        n_expert_used=2,
        n_ff_exp=32,
    )
    return replace(tiny, **changes)


def tiny_metadata(model: ModelSpec) -> dict[str, Any]:
    keys = hyperparameters(model)
    keys["tokenizer.ggml.tokens"] = [f"t{i}" for i in range(model.n_vocab)]
    return keys


def tiny_header(**changes: Any) -> bytes:
    model = tiny_spec(**changes)
    return header_bytes(tiny_metadata(model), model_tensors(model, NATIVE))


def tiny_file(**changes: Any) -> bytes:
    model = tiny_spec(**changes)
    tensors = model_tensors(model, NATIVE)
    return header_bytes(tiny_metadata(model), tensors) + b"\1" * (tensors[-1].offset + tensors[-1].n_bytes)


class ShortReads(BytesIO):
    """A stream that hands out a few bytes at a time and cannot be sought in, like a socket."""

    def __init__(self, data: bytes, step: int = 7) -> None:
        super().__init__(data)
        self._step = step

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._step if size is None or size < 0 else min(size, self._step))

    def seekable(self) -> bool:
        return False

    def seek(self, *_args: int) -> int:
        raise OSError("not seekable")
