"""Random tensor data that a model can compute with: no NaN, no infinity, activations that neither vanish nor explode.

Zeros would do for loading, but they distort speed: MXFP4 with a scale byte of zero works on denormal numbers, and a
router of zeros always picks the same experts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from launcher.catalogue.ggml_types import TYPES_BY_NAME, n_elements
from launcher.catalogue.gguf import TensorInfo

TILE_BYTES = 32 * 1024**2
"""Beyond the caches, so that repeating it does not flatter the speed; small enough to make in a moment."""
_HALF_SCALES: dict[str, tuple[int, ...]] = {
    "q4_0": (0,),
    "q4_1": (0, 2),
    "q5_0": (0,),
    "q5_1": (0, 2),
    "q8_0": (0,),
    "iq4_nl": (0,),
    "q2_K": (80, 82),
    "q3_K": (108,),
    "q4_K": (0, 2),
    "q5_K": (0, 2),
    "q6_K": (208,),
}
"""Where a block keeps its fp16 scales (ggml-common.h)."""
_LARGEST_CODE = {
    "q4_0": 8,
    "q4_1": 15,
    "q5_0": 16,
    "q5_1": 31,
    "q8_0": 127,
    "iq4_nl": 127,
    "q2_K": 3 * 15,
    "q3_K": 4 * 32,
    "q4_K": 15 * 63,
    "q5_K": 31 * 63,
    "q6_K": 32 * 128,
}
"""What a block's codes (and its small scales) multiply its fp16 scale by at most."""
_LARGEST_WEIGHT = 0.06
"""Of a matrix: with 2880 inputs of about 1, outputs come out at about 2."""
_MXFP4_SCALES = (118, 122)
"""Exponents 2^-9 to 2^-6 over codes of up to 6 (twelve halves)."""


class RandomFill:
    """Gives every tensor plausible values by repeating one random tile for each type. Needs numpy."""

    def __init__(self, seed: int = 0, tile_bytes: int = TILE_BYTES) -> None:
        import numpy as np

        self._np = np
        self._tile_bytes = tile_bytes
        self._rng = np.random.default_rng(seed)
        self._tiles: dict[str, memoryview] = {}

    def __call__(self, tensor: TensorInfo) -> Iterable[bytes | memoryview]:
        """The bytes of one tensor, in chunks."""
        if tensor.type == "f32":
            return [self._floats(tensor)]
        if tensor.type not in self._tiles:
            self._tiles[tensor.type] = self._tile(tensor.type)
        return self._repeat(self._tiles[tensor.type], tensor.n_bytes)

    def _repeat(self, tile: memoryview, n_bytes: int) -> Iterator[memoryview]:
        while n_bytes:
            chunk = tile[: min(len(tile), n_bytes)]
            yield chunk
            n_bytes -= len(chunk)

    def _floats(self, tensor: TensorInfo) -> bytes:
        """Norms near 1; biases, sinks and the router small."""
        count = n_elements(tensor.shape)
        values = self._rng.standard_normal(count, dtype=self._np.float32) * self._np.float32(0.02)
        if "norm" in tensor.name:
            values += 1
        data: bytes = values.tobytes()
        return data

    def _tile(self, type_name: str) -> memoryview:
        np = self._np
        size = TYPES_BY_NAME[type_name].type_size
        n_blocks = self._tile_bytes // size
        if type_name in ("f16", "bf16"):
            values = self._rng.standard_normal(n_blocks, dtype=np.float32) * np.float32(0.02)
            halves = (
                values.astype(np.float16) if type_name == "f16" else (values.view(np.uint32) >> 16).astype(np.uint16)
            )
            return memoryview(halves.tobytes())
        blocks = self._rng.integers(0, 256, size=(n_blocks, size), dtype=np.uint8)
        if type_name == "mxfp4":
            blocks[:, 0] = self._rng.integers(*_MXFP4_SCALES, size=n_blocks, dtype=np.uint8)
        for offset in self._scale_offsets(type_name):
            blocks[:, offset : offset + 2] = self._scales(type_name, n_blocks)
        return memoryview(blocks.tobytes())

    def _scale_offsets(self, type_name: str) -> tuple[int, ...]:
        if type_name == "mxfp4":
            return ()
        if type_name not in _HALF_SCALES:
            raise ValueError(f"no random blocks of {type_name}")
        return _HALF_SCALES[type_name]

    def _scales(self, type_name: str, n_blocks: int) -> Any:
        np = self._np
        unit = _LARGEST_WEIGHT / _LARGEST_CODE[type_name]
        scales = self._rng.uniform(0.5 * unit, unit, size=n_blocks).astype(np.float16)
        return scales.view(np.uint8).reshape(n_blocks, 2)
