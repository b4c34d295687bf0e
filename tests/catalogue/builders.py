"""Small models and headers for the catalogue's tests, made by the writer of scripts/."""

import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "scripts"))

from gguf_writer import header_bytes
from make_gguf import hyperparameters

from launcher.catalogue.recipes import Recipe, model_tensors
from launcher.catalogue.shipped import Shipped, read_shipped
from launcher.catalogue.types import ModelSpec
from launcher.configs import configs_dir

NATIVE = Recipe(token_embd="q8_0", output="q8_0", attn_q="q8_0", attn_k="q8_0", attn_v="q8_0", attn_output="q8_0")


def shipped() -> Shipped:
    return read_shipped(configs_dir())


def spec(model: str = "gpt-oss-20b") -> ModelSpec:
    return shipped().models[model]


def tiny_spec(**changes) -> ModelSpec:
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


def tiny_metadata(model: ModelSpec, **more) -> dict:
    keys = hyperparameters(model)
    keys["tokenizer.ggml.tokens"] = [f"t{i}" for i in range(model.n_vocab)]
    return {**keys, **{key.replace("__", "."): value for key, value in more.items()}}


def tiny_header(**changes) -> bytes:
    model = tiny_spec(**changes)
    return header_bytes(tiny_metadata(model), model_tensors(model, NATIVE))


def tiny_file(**changes) -> bytes:
    model = tiny_spec(**changes)
    tensors = model_tensors(model, NATIVE)
    return header_bytes(tiny_metadata(model), tensors) + b"\1" * (tensors[-1].offset + tensors[-1].n_bytes)


class ShortReads(BytesIO):
    """A stream that hands out a few bytes at a time and cannot be sought in, like a socket."""

    def __init__(self, data: bytes, step: int = 7) -> None:
        super().__init__(data)
        self._step = step
        self.most = 0

    def read(self, size=-1):
        data = super().read(min(size, self._step) if size >= 0 else self._step)
        self.most = max(self.most, self.tell())
        return data

    def seekable(self):
        return False

    def seek(self, *args):
        raise OSError("not seekable")
