"""Make a GPT OSS model file on the spot: the header rebuilt from what is known, the data holes or random blocks.

With holes a full-size gpt-oss-20b is 12 GB long and takes 13 MB of disk; llama.cpp loads and runs it. With random
blocks it is written in full and runs as fast as the real one. Neither says anything sensible.

    python scripts/make_gguf.py /tmp/gpt-oss-20b-MXFP4.gguf
    python scripts/make_gguf.py /tmp/gpt-oss-120b-F16.gguf --model 120b --recipe F16 --split 3 --metadata-first
    python scripts/make_gguf.py /tmp/four-layers.gguf --n-layer 4 --fill random
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gguf_fill import RandomFill
from gguf_vocab import merges, token_types, tokens
from gguf_writer import FillTensor, Typed, header_bytes, write_gguf, write_split

from launcher.catalogue.gguf import read_header
from launcher.catalogue.recipes import model_tensors
from launcher.catalogue.shipped import Shipped, read_shipped
from launcher.catalogue.types import ModelSpec
from launcher.configs import configs_dir

HEADER_BYTES = {"gpt-oss-20b": 13_008_288, "gpt-oss-120b": 13_022_240}
"""Of the current files of ggml-org, so that a rebuilt one is as long as the real one to the byte."""
PADDING_KEY = "launcher.padding"
DEMO_MODEL = Path(__file__).parent.parent / "src/launcher/demo/tiny-gpt-oss-MXFP4.gguf"
PLAIN_TEMPLATE = """\
{{- "<|start|>system<|message|>You are ChatGPT.\\n\\nReasoning: " + (reasoning_effort or "medium") + "<|end|>" }}
{%- for message in messages %}
{%- if message.role == "assistant" %}
{{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|end|>" }}
{%- else %}
{{- "<|start|>" + message.role + "<|message|>" + message.content + "<|end|>" }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|start|>assistant" }}{%- endif %}
"""
"""Used where the demo model, whose template is complete, is not there."""


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, write the file or files, print their paths."""
    shipped = read_shipped(configs_dir())
    args = _parser(shipped).parse_args(argv)
    spec = shipped.models[f"gpt-oss-{args.model}"]
    tensor_spec = replace(spec, n_layer=args.n_layer or spec.n_layer)
    label = "Q8_0" if args.recipe == "MXFP4" else args.recipe
    tensors = model_tensors(tensor_spec, shipped.recipes[label].for_model(""))
    metadata = gpt_oss_metadata(tensor_spec)
    if tensor_spec == spec:
        metadata = padded(metadata, len(header_bytes(metadata, tensors)), HEADER_BYTES[spec.id])
    fill: FillTensor | None = RandomFill(args.seed) if args.fill == "random" else None
    if args.split > 1:
        paths = write_split(args.path, metadata, tensors, fill, n_parts=args.split, metadata_first=args.metadata_first)
    else:
        write_gguf(args.path, metadata, tensors, fill)
        paths = [args.path]
    for path in paths:
        print(path)


def gpt_oss_metadata(spec: ModelSpec, *, chat_template: str | None = None) -> dict[str, Any]:
    """All keys that llama.cpp needs to load a GPT OSS with the full vocabulary."""
    return {
        **hyperparameters(spec),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-4o",
        "tokenizer.ggml.tokens": tokens(),
        "tokenizer.ggml.token_type": Typed("int32", token_types()),
        "tokenizer.ggml.merges": merges(),
        "tokenizer.ggml.bos_token_id": 199_998,
        "tokenizer.ggml.eos_token_id": 200_002,
        "tokenizer.ggml.padding_token_id": 199_999,
        "tokenizer.chat_template": chat_template or demo_template(),
    }


def hyperparameters(spec: ModelSpec) -> dict[str, Any]:
    """The keys of a GPT OSS header before its vocabulary."""
    arch = spec.arch
    return {
        "general.architecture": arch,
        "general.type": "model",
        "general.name": spec.id,
        "general.file_type": 38,  # LLAMA_FTYPE_MOSTLY_MXFP4_MOE
        "general.quantization_version": 2,
        f"{arch}.block_count": spec.n_layer,
        f"{arch}.context_length": spec.n_ctx_train,
        f"{arch}.embedding_length": spec.n_embd,
        f"{arch}.feed_forward_length": spec.n_ff_exp,
        f"{arch}.attention.head_count": spec.n_head,
        f"{arch}.attention.head_count_kv": spec.n_head_kv,
        f"{arch}.attention.key_length": spec.n_embd_head_k,
        f"{arch}.attention.value_length": spec.n_embd_head_v,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{arch}.attention.sliding_window": spec.n_swa,
        f"{arch}.expert_count": spec.n_expert,
        f"{arch}.expert_used_count": spec.n_expert_used,
        f"{arch}.expert_feed_forward_length": spec.n_ff_exp,
        f"{arch}.rope.freq_base": 150_000.0,
        f"{arch}.rope.scaling.type": "yarn",
        f"{arch}.rope.scaling.factor": 32.0,
        f"{arch}.rope.scaling.original_context_length": 4096,
    }


def padded(metadata: Mapping[str, Any], header_now: int, header_wanted: int) -> dict[str, Any]:
    """Metadata with one more string, so long that the header gets the wanted size; as it is where it is larger."""
    own = 8 + len(PADDING_KEY) + 4 + 8
    room = header_wanted - header_now - own
    return {**metadata, PADDING_KEY: "." * room} if room >= 0 else dict(metadata)


def demo_template(path: Path = DEMO_MODEL) -> str:
    """The Harmony template of the demo model, else the plain one."""
    if not path.is_file():
        return PLAIN_TEMPLATE
    with path.open("rb") as stream:
        template = read_header(stream, size_bytes=path.stat().st_size).metadata.get("tokenizer.chat_template")
    return template if isinstance(template, str) else PLAIN_TEMPLATE


def _parser(shipped: Shipped) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="file to write; parts get their number in the name")
    parser.add_argument("--model", choices=("20b", "120b"), default="20b")
    parser.add_argument(
        "--recipe", choices=("MXFP4", *shipped.recipes), default="MXFP4", help="types of the dense matrices"
    )
    parser.add_argument("--fill", choices=("holes", "random"), default="holes")
    parser.add_argument("--split", type=int, default=1, metavar="N", help="write N parts")
    parser.add_argument("--metadata-first", action="store_true", help="leave the first part without tensors")
    parser.add_argument("--n-layer", type=int, help="fewer layers than the real one")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
