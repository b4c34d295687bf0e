"""Which weights ggml's CPU backend copies into another layout when it loads them, and how large the copy is.

With repacking on, `make_cpu_buft_list` (llama-model.cpp) offers the AMX buffer first and the repack buffer second; a
weight goes into the first that supports its matrix product. Both are anonymous memory, even in a mapped model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from launcher.catalogue.ggml_types import TYPES_BY_NAME, n_elements, tensor_bytes

_AVX2_8_ROWS = frozenset({"q4_0", "q4_K", "iq4_nl", "mxfp4"})
_AVX512_8_ROWS = frozenset({"q2_K"})
_DOTPROD_4_ROWS = frozenset({"q4_0", "iq4_nl", "mxfp4", "q8_0", "q1_0"})
_DOTPROD_8_ROWS = frozenset({"q4_K", "q5_K", "q6_K"})
_MATMUL_INT8_4_ROWS = frozenset({"q4_0", "q8_0", "q1_0"})
_MATMUL_INT8_8_ROWS = frozenset({"q4_K", "q5_K", "q6_K"})

_AMX_ROW_EXTRA = {"q4_0": 0, "q4_1": 0, "q8_0": 4, "q4_K": 4, "q5_K": 4, "q6_K": 0, "iq4_xs": 2}
"""Bytes that AMX adds per block (amx/mmq.cpp `get_row_size`: compensation of q8_0, unpacked scales of the K types)."""


def repack_bytes(type_name: str, shape: Sequence[int], isa: Collection[str]) -> int:
    """Bytes of the copy that the CPU backend makes of one matrix; 0 where it uses the file's layout.

    Args:
        type_name: ggml's name of the tensor's type.
        shape: in ne order; 2 dimensions for a product, 3 for experts (`MUL_MAT_ID`).
        isa: the CPU's instruction sets in ggml's names.
    """
    if len(shape) == 2 and _amx_takes(type_name, shape, isa):
        extra = _AMX_ROW_EXTRA[type_name] * n_elements(shape) // TYPES_BY_NAME[type_name].block_size
        return tensor_bytes(type_name, shape) + extra
    if len(shape) in (2, 3) and _repack_takes(type_name, shape[1], isa):
        return tensor_bytes(type_name, shape)
    return 0


def _amx_takes(type_name: str, shape: Sequence[int], isa: Collection[str]) -> bool:
    """`supports_op` in amx/amx.cpp; the buffer exists where __AMX_INT8__ and __AVX512VNNI__ do (ggml-cpu.cpp)."""
    if "AMX_INT8" not in isa or "AVX512_VNNI" not in isa or type_name not in _AMX_ROW_EXTRA:
        return False
    row_multiple = max(32, TYPES_BY_NAME[type_name].block_size)
    return shape[0] % row_multiple == 0 and shape[1] % 32 == 0


def _repack_takes(type_name: str, n_rows: int, isa: Collection[str]) -> bool:
    """`ggml_repack_get_optimal_repack_type` in repack.cpp, without RISC-V and s390."""
    in_fours = n_rows % 4 == 0
    in_eights = n_rows % 8 == 0
    if "AVX2" in isa and type_name in _AVX2_8_ROWS:
        return in_eights
    if "AVX512" in isa and type_name in _AVX512_8_ROWS:
        return in_eights
    if "NEON" not in isa:
        return False
    if "DOTPROD" in isa and (type_name in _DOTPROD_4_ROWS or type_name in _DOTPROD_8_ROWS):
        return in_fours if type_name in _DOTPROD_4_ROWS else in_eights
    if "MATMUL_INT8" in isa and (type_name in _MATMUL_INT8_4_ROWS or type_name in _MATMUL_INT8_8_ROWS):
        return in_fours if type_name in _MATMUL_INT8_4_ROWS else in_eights
    return False
