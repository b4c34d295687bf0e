"""Predicted decode speed: bytes that one token reads, over the bandwidth of where they lie. Pure.

Decoding one stream is bound by memory: every dense weight and `n_expert_used` of `n_expert` experts are read once per
token. The efficiencies are the ratio of published speeds (the table in the planner's README) to that bound.
"""

from __future__ import annotations

from collections.abc import Mapping

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.planner.memory import on_gpu, output_on_gpu
from launcher.planner.types import Estimate, LoadParams

_GPU_EFFICIENCY = 0.46  # median of eight published single-GPU runs of the 20b (0.42 to 0.56; DGX Spark 0.79)
_HOST_EFFICIENCY = 0.65  # from the Xeon E5-2699 v4 (0.64) and i9-14900K (0.59 to 0.89) runs of the 120b
_HOST_BYTES_PER_S_PER_THREAD = 18e9  # what one core drew: 14.1 tok/s of the 20b, repacked, on two cores with AVX512
_PLAIN_LAYOUT_SLOWDOWN = 0.75  # CPU experts without repacking: 9.5 against 12.9 tok/s, measured on AVX512


def active_bytes(spec: ModelSpec, weights: ModelWeights, params: LoadParams) -> tuple[float, float]:
    """Bytes read per decoded token: (on the device, on the host)."""
    device = host = 0.0
    head = weights.output_bytes or weights.token_embd_bytes  # tied embeddings are read whole as the output matrix
    if output_on_gpu(params):
        device += head
    else:
        host += head
    share = spec.n_expert_used / spec.n_expert if spec.n_expert else 0.0
    for i, layer in enumerate(weights.layers):
        gpu = on_gpu(spec, params, i)
        experts = layer.expert_bytes * share
        if gpu:
            device += layer.dense_bytes
        else:
            host += layer.dense_bytes
        if gpu and i >= params.n_cpu_moe:
            device += experts
        else:
            host += experts
    return device, host


def decode_tps(
    spec: ModelSpec, weights: ModelWeights, params: LoadParams, bandwidths: Mapping[str, Estimate]
) -> Estimate | None:
    """Tokens per second of one stream at a short context; None where a bandwidth that counts is unknown.

    `bandwidths`: bytes/s by device name, and by `Host` for RAM.
    """
    device, host = active_bytes(spec, weights, params)
    seconds = 0.0
    basis = []
    if device:
        found = bandwidths.get(params.devices[0]) if params.devices else None
        if found is None:
            return None
        seconds += device / (found.value * _GPU_EFFICIENCY)
        basis.append(found.basis)
    if host:
        found = bandwidths.get("Host")
        if found is None:
            return None
        # A few cores cannot draw what the memory could give. An offloaded plan keeps experts in their plain layout.
        drawn = min(found.value * _HOST_EFFICIENCY, params.n_threads * _HOST_BYTES_PER_S_PER_THREAD)
        plain = not params.repack or bool(params.devices)
        seconds += host / (drawn * (_PLAIN_LAYOUT_SLOWDOWN if plain else 1.0))
        basis.append(found.basis)
    return Estimate(value=1.0 / seconds, basis="; ".join(basis))
