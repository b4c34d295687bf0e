"""Compute buffers of a placement: llama.cpp's scheduler and allocator, gone through for one micro-batch. Pure.

llama_context::sched_reserve reserves the worst graph, a whole micro-batch with `n_outputs_max` rows of logits. How large
the buffers become depends on what is alive together, on where the graph is cut, and on how holes are filled; so the
graph is built (graph.py), cut (sched.py) and allocated (galloc.py) as llama.cpp does it. Runs of equal blocks are cut
short first: what they add is seen after a few.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.planner.galloc import Allocator
from launcher.planner.graph import HOST_BACKEND, GraphBuilder, LayerPlace, Shape
from launcher.planner.layers import layer_devices
from launcher.planner.memory import compute_bytes, is_swa_layer, kv_cells, kv_part_bytes
from launcher.planner.sched import N_COPIES, assign, split
from launcher.planner.types import LoadParams

_ALIGNMENT = 128  # of CUDA's, ROCm's and most other buffers
_HOST_ALIGNMENT = 32  # TENSOR_ALIGNMENT (ggml-impl.h)
_NO_OFFLOAD = frozenset({"RPC", "MTL"})
"""Backends that leave products with host weights to the host: remote ones, and Metal, whose offload_op is for others."""
_NO_EVENTS = frozenset({"RPC", "MTL"})
_RUN = 4  # equal blocks that are kept of a run: two of each kind of attention


def compute_buffers(
    spec: ModelSpec, weights: ModelWeights, params: LoadParams, *, backends: tuple[str, ...]
) -> tuple[int, ...]:
    """Compute buffer bytes on each of `params.devices`, the host last.

    Args:
        spec: of the model. Without experts only a bound is given, the same for every device.
        weights: of the file.
        params: the placement.
        backends: ggml's registry name of each device's backend: `CUDA`, `Vulkan`, `MTL`, `RPC`, ...
    """
    if not spec.n_expert:
        return (compute_bytes(spec, params),) * (len(backends) + 1)
    places, output = _places(spec, params)
    return _simulated(
        _shape(spec, weights, params),
        _shortened(places),
        output,
        tuple(params.op_offload and backend not in _NO_OFFLOAD for backend in backends),
        _ALIGNMENT if backends and "RPC" not in backends else _HOST_ALIGNMENT,
        _n_copies(spec, params, backends),
    )


def _n_copies(spec: ModelSpec, params: LoadParams, backends: tuple[str, ...]) -> int:
    """Copies of what crosses devices: several where a pipeline of micro-batches is possible (llama_context)."""
    pipeline = (
        len(backends) > 1
        and params.n_gpu_layers > spec.n_layer
        and params.offload_kqv
        and not params.n_cpu_moe
        and not params.n_cpu_moe_tensors
    )
    return N_COPIES if pipeline else 1


def _places(spec: ModelSpec, params: LoadParams) -> tuple[tuple[LayerPlace, ...], int]:
    where = [HOST_BACKEND if device is None else device for device in layer_devices(spec, params)]
    places = []
    for i in range(spec.n_layer):
        device = where[i]
        off = params.n_cpu_moe_tensors if i == params.n_cpu_moe else 3 if i < params.n_cpu_moe else 0
        gate, up, down = (HOST_BACKEND if off > at else device for at in (1, 2, 0))
        cache = device if params.offload_kqv else HOST_BACKEND
        places.append(
            LayerPlace(device=device, experts=(gate, up, down), cache=cache, windowed=is_swa_layer(spec, i))
        )
    return tuple(places), where[spec.n_layer]


def _shortened(places: tuple[LayerPlace, ...]) -> tuple[LayerPlace, ...]:
    """Of each run of blocks that lie alike the first few and the last few, with the order of their windows kept."""
    runs: list[list[LayerPlace]] = []
    for place in places:
        if runs and replace(runs[-1][-1], windowed=place.windowed) == place:
            runs[-1].append(place)
        else:
            runs.append([place])
    kept: list[LayerPlace] = []
    for run in runs:
        extra = len(run) - _RUN
        # An even number is left out, so that windowed and full blocks still alternate.
        kept += run if extra < 2 else run[: _RUN // 2] + run[_RUN // 2 + extra // 2 * 2 :]
    return tuple(kept)


def _shape(spec: ModelSpec, weights: ModelWeights, params: LoadParams) -> Shape:
    cells = kv_cells(spec, params)
    n_seqs = params.n_parallel
    n_tokens = min(params.n_ubatch, params.n_batch, params.n_ctx)
    n_tokens = -(-n_tokens // n_seqs) * n_seqs
    k_bytes, v_bytes = kv_part_bytes(spec, params.type_k), kv_part_bytes(spec, params.type_v, of_v=True)
    layer = weights.layers[0]
    down, gate = layer.expert_down_bytes, layer.expert_gate_bytes
    bias = 4 * spec.n_ff_exp * spec.n_expert
    out_bias = 4 * spec.n_embd * spec.n_expert
    up = layer.expert_bytes - down - gate
    attention = spec.n_embd * (2 * spec.n_head + 2 * spec.n_head_kv) * spec.n_embd_head_k
    small = 4 * (4 * spec.n_embd + spec.n_head * (spec.n_embd_head_k + 1) + 2 * spec.n_head_kv * spec.n_embd_head_k)
    per_weight = (layer.dense_bytes - small - 4 * spec.n_expert * (spec.n_embd + 1)) / attention
    widths = (spec.n_head, spec.n_head_kv, spec.n_head_kv, spec.n_head)
    return Shape(
        n_tokens=n_tokens,
        n_outputs=min(n_tokens, params.n_outputs_max),
        n_stream=cells.n_stream,
        n_embd=spec.n_embd,
        n_q=spec.n_head * spec.n_embd_head_k,
        n_attn=spec.n_head * spec.n_embd_head_v,
        n_k=spec.n_head_kv * spec.n_embd_head_k,
        n_v=spec.n_head_kv * spec.n_embd_head_v,
        n_expert=spec.n_expert,
        n_used=spec.n_expert_used,
        n_ff=spec.n_ff_exp,
        n_head=spec.n_head,
        n_vocab=spec.n_vocab,
        cells_full=cells.full,
        cells_window=cells.swa,
        k_row_bytes=k_bytes,
        v_row_bytes=v_bytes,
        expert_bytes=(gate - bias, up - bias, down - out_bias),
        bias_bytes=(bias, bias, out_bias),
        dense_bytes=tuple(int(per_weight * n * spec.n_embd_head_k * spec.n_embd) for n in widths),  # type: ignore[arg-type]
        output_bytes=weights.output_bytes or weights.token_embd_bytes,
        flash_attn=params.flash_attn,
        rotated=(params.type_k in _ROTATED, params.type_v in _ROTATED),
        rotation_bytes=4 * spec.n_embd_head_k**2,
        cast_bytes=(
            2 * spec.n_head_kv * spec.n_embd_head_k if params.type_k == "f32" and params.flash_attn else 0,
            2 * spec.n_head_kv * spec.n_embd_head_v if params.type_v == "f32" and params.flash_attn else 0,
        ),
    )


_ROTATED = frozenset({"q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"})


@lru_cache(maxsize=4096)
def _simulated(
    shape: Shape,
    places: tuple[LayerPlace, ...],
    output: int,
    offloads: tuple[bool, ...],
    alignment: int,
    n_copies: int,
) -> tuple[int, ...]:
    graph = GraphBuilder(shape, places, output)
    assign(graph.nodes, offloads=offloads)
    scheduled = split(graph.nodes, graph.leafs, n_copies=n_copies)
    backends = range(len(offloads))
    sizes = Allocator({HOST_BACKEND: _HOST_ALIGNMENT, **dict.fromkeys(backends, alignment)}).run(scheduled)
    return (*(sizes[i] for i in backends), sizes[HOST_BACKEND])
