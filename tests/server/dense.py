"""A dense model of another family, of random weights: it says nothing that makes sense, in any shape it is held to."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from pathlib import Path

from launcher.catalogue.gguf import TensorInfo
from launcher.catalogue.recipes import lay_out
from tests.catalogue.builders import Typed, gguf_vocab, write_gguf

NAME = "plain-F32"
"""Of the file, and what a server calls the model."""
N_CTX = 1024
_N_EMBD, _N_FF, _N_HEAD = 64, 96, 2
_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write_dense(path: Path) -> None:
    """Write it: one layer of a Llama, a fifth of a megabyte, a token for each character."""
    symbols = gguf_vocab.byte_symbols()
    # Nothing but ASCII, so that random tokens make valid text.
    tokens = [*(symbols[byte] for byte in (0x0A, *range(0x20, 0x7F))), "th", "<eos>"]
    metadata = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "plain",
        "general.file_type": 0,
        "llama.block_count": 1,
        "llama.context_length": N_CTX,
        "llama.embedding_length": _N_EMBD,
        "llama.feed_forward_length": _N_FF,
        "llama.attention.head_count": _N_HEAD,
        "llama.attention.head_count_kv": _N_HEAD,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": _N_EMBD // _N_HEAD,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": Typed(
            "int32", [gguf_vocab.TOKEN_TYPE_NORMAL] * (len(tokens) - 1) + [gguf_vocab.TOKEN_TYPE_CONTROL]
        ),
        "tokenizer.ggml.merges": ["t h"],  # llama.cpp wants some
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
        "tokenizer.chat_template": _TEMPLATE,
    }
    write_gguf(path, metadata, _tensors(len(tokens)), _fill)


def _tensors(n_vocab: int) -> tuple[TensorInfo, ...]:
    block: dict[str, tuple[int, ...]] = {
        **{f"{name}_norm": (_N_EMBD,) for name in ("attn", "ffn")},
        **{f"attn_{name}": (_N_EMBD, _N_EMBD) for name in ("q", "k", "v", "output")},
        **{f"ffn_{name}": (_N_EMBD, _N_FF) for name in ("gate", "up")},
        "ffn_down": (_N_FF, _N_EMBD),
    }
    shapes = {
        "token_embd.weight": (_N_EMBD, n_vocab),
        **{f"blk.0.{name}.weight": shape for name, shape in block.items()},
        "output_norm.weight": (_N_EMBD,),
    }
    return lay_out((name, shape, "f32") for name, shape in shapes.items())


def _fill(tensor: TensorInfo) -> Iterator[bytes]:
    drawn = random.Random(tensor.name)
    yield array("f", (drawn.gauss(0, 0.3) for _ in range(tensor.n_bytes // 4))).tobytes()
