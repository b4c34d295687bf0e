"""Tensor tables of the two GPT OSS releases, built from their hyperparameters and a recipe of types.

Every GGUF of a release has the same tensors, and its experts in MXFP4; a recipe says how the rest was quantized. From
that follow a file's exact tensor bytes when its header is not at hand, and the files that tests and scripts write.

Shapes: llama.cpp models/openai-moe.cpp `load_arch_tensors`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from launcher.catalogue.ggml_types import TYPES_BY_NAME, n_elements, tensor_bytes
from launcher.catalogue.gguf import DEFAULT_ALIGNMENT, TensorInfo
from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.catalogue.weights import Group, combine, group

RaisedLayers = Literal["none", "more_bits", "first_2", "first_4"]
"""Layers whose attn_v got a better type: llama-quant.cpp `use_more_bits` (Q4_K_M, Q5_K_M), or the first few."""


Row = tuple[str, tuple[int, ...], str]
"""Name, shape and type of a tensor that has no place in a file yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """ggml types of a file's matrices. Norms, biases, sinks and the router are F32 in every file."""

    token_embd: str
    output: str
    attn_q: str
    attn_k: str
    attn_v: str
    attn_output: str
    attn_v_raised: str | None = None
    raised_layers: RaisedLayers = "none"
    experts: str = "mxfp4"
    attention_bytes: int | None = None
    """Of all attention matrices of the model, where the total is known but not the type of each: an average. The
    attn_* types above then only say which the CPU backend would repack."""

    def attn_v_type(self, layer: int, n_layer: int) -> str:
        """The type of one layer's attn_v."""
        raised = {
            "none": False,
            "more_bits": layer < n_layer // 8 or layer >= 7 * n_layer // 8 or (layer - n_layer // 8) % 3 == 2,
            "first_2": layer < 2,
            "first_4": layer < 4,
        }[self.raised_layers]
        return self.attn_v_raised if raised and self.attn_v_raised else self.attn_v


def check_recipe(recipe: Recipe) -> None:
    """Raise ValueError where a recipe names a type that ggml does not have."""
    names = (recipe.token_embd, recipe.output, recipe.attn_q, recipe.attn_k, recipe.attn_v, recipe.attn_output)
    for name in (*names, recipe.experts, recipe.attn_v_raised or recipe.attn_v):
        if name not in TYPES_BY_NAME:
            raise ValueError(f"unknown ggml type {name!r}")


def model_tensors(spec: ModelSpec, recipe: Recipe) -> tuple[TensorInfo, ...]:
    """The whole tensor table with offsets, in the order in which llama.cpp's converter writes it."""
    rows = [*_output_rows(spec, recipe), *_input_rows(spec, recipe)]
    for layer in range(spec.n_layer):
        rows += _block_rows(spec, recipe, layer)
    return lay_out(rows)


def recipe_weights(spec: ModelSpec, recipe: Recipe, isa: Collection[str]) -> ModelWeights:
    """What `weights_from_tensors` makes of `model_tensors`, twenty times as fast: equal blocks are summed once."""
    by_type: dict[str, Group] = {}
    blocks = []
    for layer in range(spec.n_layer):
        attn_v = recipe.attn_v_type(layer, spec.n_layer)
        if attn_v not in by_type:
            by_type[attn_v] = group(lay_out(_block_rows(spec, recipe, layer)), isa)
        blocks.append(by_type[attn_v])
    if recipe.attention_bytes is not None:
        blocks = _with_attention_bytes(spec, recipe, blocks)
    (norm, output), (token_embd,) = _output_rows(spec, recipe), _input_rows(spec, recipe)
    return combine(
        basis="catalogue",
        token_embd=group(lay_out([token_embd]), isa, in_product=False),
        output=group(lay_out([output]), isa),
        output_norm=group(lay_out([norm]), isa),
        tied_repack_bytes=0,
        blocks=blocks,
    )


def lay_out(rows: Iterable[Row]) -> tuple[TensorInfo, ...]:
    """Put tensors one behind the other, each aligned, as they are in the data section of one file."""
    tensors = []
    offset = 0
    for name, shape, type_name in rows:
        n_bytes = tensor_bytes(type_name, shape)
        tensors.append(TensorInfo(name, shape, type_name, offset, n_bytes))
        offset += (n_bytes + DEFAULT_ALIGNMENT - 1) // DEFAULT_ALIGNMENT * DEFAULT_ALIGNMENT
    return tuple(tensors)


def _output_rows(spec: ModelSpec, recipe: Recipe) -> list[Row]:
    return [
        ("output_norm.weight", (spec.n_embd,), "f32"),
        ("output.weight", (spec.n_embd, spec.n_vocab), recipe.output),
    ]


def _input_rows(spec: ModelSpec, recipe: Recipe) -> list[Row]:
    return [("token_embd.weight", (spec.n_embd, spec.n_vocab), recipe.token_embd)]


def _attention_rows(spec: ModelSpec, recipe: Recipe, layer: int) -> list[Row]:
    n_embd = spec.n_embd
    n_q = spec.n_head * spec.n_embd_head_k
    n_k = spec.n_head_kv * spec.n_embd_head_k
    n_v = spec.n_head_kv * spec.n_embd_head_v
    return [
        (f"blk.{layer}.attn_q.weight", (n_embd, n_q), recipe.attn_q),
        (f"blk.{layer}.attn_k.weight", (n_embd, n_k), recipe.attn_k),
        (f"blk.{layer}.attn_v.weight", (n_embd, n_v), recipe.attn_v_type(layer, spec.n_layer)),
        (f"blk.{layer}.attn_output.weight", (spec.n_head * spec.n_embd_head_v, n_embd), recipe.attn_output),
    ]


def _block_rows(spec: ModelSpec, recipe: Recipe, layer: int) -> list[Row]:
    block = f"blk.{layer}"
    n_embd, n_ff, n_expert = spec.n_embd, spec.n_ff_exp, spec.n_expert
    return [
        (f"{block}.attn_norm.weight", (n_embd,), "f32"),
        *_attention_rows(spec, recipe, layer),
        (f"{block}.attn_q.bias", (spec.n_head * spec.n_embd_head_k,), "f32"),
        (f"{block}.attn_k.bias", (spec.n_head_kv * spec.n_embd_head_k,), "f32"),
        (f"{block}.attn_v.bias", (spec.n_head_kv * spec.n_embd_head_v,), "f32"),
        (f"{block}.attn_output.bias", (n_embd,), "f32"),
        (f"{block}.attn_sinks.weight", (spec.n_head,), "f32"),
        (f"{block}.post_attention_norm.weight", (n_embd,), "f32"),
        (f"{block}.ffn_gate_inp.weight", (n_embd, n_expert), "f32"),
        (f"{block}.ffn_gate_inp.bias", (n_expert,), "f32"),
        (f"{block}.ffn_gate_exps.weight", (n_embd, n_ff, n_expert), recipe.experts),
        (f"{block}.ffn_up_exps.weight", (n_embd, n_ff, n_expert), recipe.experts),
        (f"{block}.ffn_down_exps.weight", (n_ff, n_embd, n_expert), recipe.experts),
        (f"{block}.ffn_gate_exps.bias", (n_ff, n_expert), "f32"),
        (f"{block}.ffn_up_exps.bias", (n_ff, n_expert), "f32"),
        (f"{block}.ffn_down_exps.bias", (n_embd, n_expert), "f32"),
    ]


def _with_attention_bytes(spec: ModelSpec, recipe: Recipe, blocks: list[Group]) -> list[Group]:
    """Blocks whose attention matrices weigh `attention_bytes` in all, spread evenly; the first take the remainder."""
    total = recipe.attention_bytes or 0
    spread = []
    for layer, block in enumerate(blocks):
        share = total * (layer + 1) // spec.n_layer - total * layer // spec.n_layer
        listed = sum(tensor_bytes(type_name, shape) for _, shape, type_name in _attention_rows(spec, recipe, layer))
        spread.append(
            Group(
                n_bytes=block.n_bytes - listed + share,
                expert_bytes=block.expert_bytes,
                expert_down_bytes=block.expert_down_bytes,
                expert_gate_bytes=block.expert_gate_bytes,
                repack_bytes=block.repack_bytes,
                dense_bits=8 * share,
                dense_elements=sum(n_elements(row[1]) for row in _attention_rows(spec, recipe, layer)),
                expert_weight_bits=block.expert_weight_bits,
                expert_weight_elements=block.expert_weight_elements,
                largest_expert_tensor_bytes=block.largest_expert_tensor_bytes,
                n_params=block.n_params,
            )
        )
    return spread
