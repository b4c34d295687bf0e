"""Compute buffers. Pure."""

from __future__ import annotations

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.planner.memory import compute_bytes, kv_cells
from launcher.planner.types import LoadParams


def compute_buffers(
    spec: ModelSpec, weights: ModelWeights, params: LoadParams, *, backends: tuple[str, ...]
) -> tuple[int, ...]:
    """Bytes for each device, the host last."""
    whole = compute_bytes(spec, params)
    if not backends:
        return (whole,)
    cells = kv_cells(spec, params)
    small = 8 * params.n_ubatch * spec.n_embd + 2 * params.n_ubatch * (cells.full + cells.swa)
    host = params.n_cpu_moe or params.n_cpu_moe_tensors or params.n_gpu_layers <= spec.n_layer
    staged = weights.largest_expert_tensor_bytes if host else 0
    return (*(whole + staged for _ in backends), whole if host else small)
