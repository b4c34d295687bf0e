"""Compute buffers of a placement: llama.cpp's scheduler and allocator, gone through for one micro-batch. Pure.

llama_context::sched_reserve reserves the worst graph, a whole micro-batch with `n_outputs_max` rows of logits. How
large the buffers become depends on what is alive together, where the graph is cut, and how holes are filled; so the
graph is built (reserve_graph.py), cut (scheduler.py)
and allocated (allocator.py) as llama.cpp does it. Runs of equal blocks are cut
short first: what they add is seen after a few.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.planner.allocator import Allocator
from launcher.planner.layers import layer_devices
from launcher.planner.memory import compute_bytes, is_swa_layer, kv_cells, kv_part_bytes
from launcher.planner.reserve_graph import HOST_BACKEND, GraphBuilder, LayerPlace, Shape
from launcher.planner.scheduler import N_COPIES, assign, split
from launcher.planner.types import LoadParams

_ALIGNMENT = 128  # of CUDA's, ROCm's and most other buffers
_HOST_ALIGNMENT = 32  # TENSOR_ALIGNMENT (ggml-impl.h)
_NO_OFFLOAD = frozenset({"RPC"})
"""Backends that leave products with host weights to the host."""
_PERIOD = 2  # of GPT OSS's attention: windowed, full
_RUN = 4  # equal blocks that are kept of a run, or one more: tests hold the result to that of the whole graph


def compute_buffers(
    spec: ModelSpec,
    weights: ModelWeights,
    params: LoadParams,
    *,
    backends: tuple[str, ...],
    no_alloc: bool = False,
) -> tuple[int, ...]:
    """Compute buffer bytes on each of `params.devices`, the host last.

    Args:
        spec: of the model. Without experts only a bound is given, the same for every device.
        weights: of the file.
        params: the placement.
        backends: ggml's registry name of each device's backend: `CUDA`, `Vulkan`, `MTL`, `RPC`, ...
        no_alloc: as llama.cpp states it without allocating. There ggml_backend_sched_reserve_size forgets which norms
            the graph had pinned to their block, so that several devices are stated otherwise than they are allocated.
    """
    if not spec.n_expert:
        return (compute_bytes(spec, params),) * (len(backends) + 1)
    layer = weights.layers[0]
    return _compute_buffers(
        spec,
        _Weights(
            layer.dense_bytes if params.n_gpu_layers <= spec.n_layer else 0,
            layer.expert_bytes,
            layer.expert_down_bytes,
            layer.expert_gate_bytes,
        )
        if _stages(spec, params, backends)
        else _Weights(0, 0, 0, 0),
        # What decides nothing here is levelled out, so that plans which differ in it alone share an entry.
        replace(params, n_threads=0, n_threads_batch=0, load_mode="none", repack=False, devices=("",) * len(backends)),
        backends,
        no_alloc,
    )


class _Weights(NamedTuple):
    """Bytes of a block's weights, as far as they may be copied to a device; all 0 where none are."""

    dense: int
    experts: int
    down: int
    gate: int


def _stages(spec: ModelSpec, params: LoadParams, backends: tuple[str, ...]) -> bool:
    """Whether host weights are copied to a device for large batches (op_offload)."""
    on_host = params.n_cpu_moe or params.n_cpu_moe_tensors or params.n_gpu_layers <= spec.n_layer
    return bool(on_host) and params.op_offload and any(backend not in _NO_OFFLOAD for backend in backends)


@lru_cache(maxsize=16_384)
def _compute_buffers(
    spec: ModelSpec,
    weights: _Weights,
    params: LoadParams,
    backends: tuple[str, ...],
    no_alloc: bool,
) -> tuple[int, ...]:
    places, output = _places(spec, params)
    return _simulated(
        _Structure(
            shape=_shape(spec, weights, params),
            places=_shortened(places),
            output=output,
            offloads=tuple(params.op_offload and backend not in _NO_OFFLOAD for backend in backends),
            alignment=_ALIGNMENT if backends and "RPC" not in backends else _HOST_ALIGNMENT,
            n_copies=_n_copies(spec, params, backends),
            pinned=not no_alloc,
        )
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
        places.append(LayerPlace(device=device, experts=(gate, up, down), cache=cache, windowed=is_swa_layer(spec, i)))
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
        # Whole periods are left out, so that windowed and full blocks still alternate.
        kept += run if extra < _PERIOD else run[:2] + run[2 + extra // _PERIOD * _PERIOD :]
    return tuple(kept)


def _shape(spec: ModelSpec, weights: _Weights, params: LoadParams) -> Shape:
    cells = kv_cells(spec, params)
    n_seqs = params.n_parallel
    n_tokens = min(params.n_ubatch, params.n_batch, params.n_ctx)
    n_tokens = -(-n_tokens // n_seqs) * n_seqs
    k_bytes, v_bytes = kv_part_bytes(spec, params.type_k), kv_part_bytes(spec, params.type_v, of_v=True)
    bias = 4 * spec.n_ff_exp * spec.n_expert
    out_bias = 4 * spec.n_embd * spec.n_expert
    up = weights.experts - weights.down - weights.gate
    attention = spec.n_embd * (2 * spec.n_head + 2 * spec.n_head_kv) * spec.n_embd_head_k
    small = 4 * (4 * spec.n_embd + spec.n_head * (spec.n_embd_head_k + 1) + 2 * spec.n_head_kv * spec.n_embd_head_k)
    per_weight = max(0.0, (weights.dense - small - 4 * spec.n_expert * (spec.n_embd + 1)) / attention)
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
        expert_bytes=(weights.gate - bias, up - bias, weights.down - out_bias) if weights.experts else (0, 0, 0),
        bias_bytes=(bias, bias, out_bias),
        dense_bytes=tuple(int(per_weight * n * spec.n_embd_head_k * spec.n_embd) for n in widths),  # type: ignore[arg-type]
        flash_attn=params.flash_attn,
        rotated=(params.type_k in _ROTATED, params.type_v in _ROTATED),
        rotation_bytes=4 * spec.n_embd_head_k**2,
        cast_bytes=(
            2 * spec.n_head_kv * spec.n_embd_head_k if params.type_k == "f32" and params.flash_attn else 0,
            2 * spec.n_head_kv * spec.n_embd_head_v if params.type_v == "f32" and params.flash_attn else 0,
        ),
    )


_ROTATED = frozenset({"q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Structure:
    """All that decides the sizes."""

    shape: Shape
    places: tuple[LayerPlace, ...]
    output: int
    offloads: tuple[bool, ...]
    """For each device, whether it takes large batches with weights of the host."""
    alignment: int
    n_copies: int
    pinned: bool


@lru_cache(maxsize=4096)
def _simulated(structure: _Structure) -> tuple[int, ...]:
    graph = GraphBuilder(structure.shape, structure.places, structure.output, pinned=structure.pinned)
    assign(graph.nodes, offloads=structure.offloads)
    scheduled = split(graph.nodes, graph.leafs, n_copies=structure.n_copies)
    backends = range(len(structure.offloads))
    alignments = {HOST_BACKEND: _HOST_ALIGNMENT, **dict.fromkeys(backends, structure.alignment)}
    sizes = Allocator(alignments).run(scheduled)
    return (*(sizes[i] for i in backends), sizes[HOST_BACKEND])
