"""Which device holds which block, as llama.cpp's loader decides it. Pure."""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

from launcher.catalogue.types import ModelSpec
from launcher.planner.types import LoadParams


def layer_devices(spec: ModelSpec, params: LoadParams) -> tuple[int | None, ...]:
    """For each block, and last for the output, the index into `params.devices`; None for the host.

    llama_model::load_tensors, `get_layer_buft_list`: the offloaded layers are dealt out by their place among
    themselves, against the shares of `tensor_split`, summed up and normalised. They are the last `n_gpu_layers` of
    n_layer + 1, of which the output counts as one.
    """
    return _layer_devices(spec.n_layer, params.n_gpu_layers, len(params.devices), params.tensor_split)


@lru_cache(maxsize=4096)
def _layer_devices(
    n_layer: int, n_gpu_layers: int, n_devices: int, tensor_split: tuple[float, ...]
) -> tuple[int | None, ...]:
    if n_devices == 0:
        return (None,) * (n_layer + 1)
    first = max(0, n_layer + 1 - n_gpu_layers)
    offloaded = n_layer + 1 - first
    sums = list(accumulate(map(_float32, tensor_split or (1.0,) * n_devices), lambda a, b: _float32(a + b)))
    bounds = [_float32(part / sums[-1]) for part in sums]
    # A share past the last bound can only come from rounding.
    dealt = [min(bisect_right(bounds, _float32(i / offloaded)), n_devices - 1) for i in range(offloaded)]
    return (*(None,) * first, *dealt)


def _float32(value: float) -> float:
    """Rounded to the float of C++, with which the loader computes: a boundary must fall where it falls there."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded
