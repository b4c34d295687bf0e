"""Writes the trained weights as an F32 GGUF, and has llama-quantize turn it into the shipped MXFP4 file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

from tiny_gpt_oss.model import TinyConfig, TinyGptOss
from tiny_gpt_oss.tokenizer import TinyTokenizer

NAME = "Tiny GPT OSS (demo)"
DESCRIPTION = (
    "A demonstration and test model of gpt-oss-launcher: the gpt-oss architecture at about a million parameters, "
    "trained from scratch on scripted conversations. It holds no weights and no vocabulary of the released models "
    "and knows a few dozen questions."
)


def write_f32(
    path: Path,
    model: TinyGptOss,
    tokenizer: TinyTokenizer,
    template: str,
    *,
    name: str = NAME,
    description: str = DESCRIPTION,
) -> None:
    """Every key and tensor that llama.cpp src/models/openai-moe.cpp asks for, under the released files' names."""
    config = model.config
    writer = gguf.GGUFWriter(path, "gpt-oss")
    writer.add_type("model")
    writer.add_name(name)
    writer.add_author("gpt-oss-launcher")
    writer.add_license("apache-2.0")
    writer.add_description(description)
    _add_hparams(writer, config)
    _add_vocabulary(writer, tokenizer, template)
    for parameter, tensor in model.state_dict().items():
        writer.add_tensor(tensor_name(parameter), np.ascontiguousarray(tensor.detach().float().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_hparams(writer: gguf.GGUFWriter, config: TinyConfig) -> None:
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_ctx_train)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.n_ff_exp)
    writer.add_expert_feed_forward_length(config.n_ff_exp)
    writer.add_head_count(config.n_head)
    writer.add_head_count_kv(config.n_head_kv)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_eps)
    writer.add_sliding_window(config.n_swa)
    writer.add_expert_count(config.n_expert)
    writer.add_expert_used_count(config.n_expert_used)
    writer.add_rope_freq_base(config.rope_freq_base)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(config.rope_factor)
    writer.add_rope_scaling_orig_ctx_len(config.rope_n_ctx_orig)
    writer.add_vocab_size(config.n_vocab)


def _add_vocabulary(writer: gguf.GGUFWriter, tokenizer: TinyTokenizer, template: str) -> None:
    control = tokenizer.control_ids
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if i in control else gguf.TokenType.NORMAL for i in range(tokenizer.n_vocab)]
    )
    writer.add_token_merges([f"{left} {right}" for left, right in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.ids["<|startoftext|>"])
    writer.add_eos_token_id(tokenizer.ids["<|return|>"])
    writer.add_pad_token_id(tokenizer.ids["<|endoftext|>"])
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(template)


def tensor_name(parameter: str) -> str:
    """The GGUF's name of a torch parameter: blk.0.attn_norm to blk.0.attn_norm.weight, and so on."""
    if parameter.endswith((".weight", ".bias")):
        return parameter
    if parameter.endswith("_exps_bias"):
        return parameter.removesuffix("_bias") + ".bias"
    return parameter + ".weight"


def quantise(f32: Path, target: Path) -> None:
    """llama.cpp's own llama-quantize, as installed beside llama_cpp: experts MXFP4, other matrices Q8_0."""
    tool = Path(llama_cpp.__file__).parents[1] / "bin" / "llama-quantize"
    subprocess.run([tool, f32, target, "MXFP4_MOE"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
