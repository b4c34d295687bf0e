"""ggml's tensor types: how many weights are in a block and how many bytes a block takes.

Source: `enum ggml_type` in ggml.h and `type_traits` in ggml.c of the pinned llama.cpp; sizes from the `static_assert`s
beside each block struct in ggml-common.h. Names are those of `ggml_type_name`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GgmlType:
    """One type: `block_size` weights are stored in `type_size` bytes."""

    id: int
    name: str
    block_size: int
    type_size: int

    @property
    def bits_per_weight(self) -> float:
        """Bits that one weight takes, scales included: 8.5 for `q8_0`."""
        return 8 * self.type_size / self.block_size


_TABLE = (
    (0, "f32", 1, 4),
    (1, "f16", 1, 2),
    (2, "q4_0", 32, 18),
    (3, "q4_1", 32, 20),
    (6, "q5_0", 32, 22),
    (7, "q5_1", 32, 24),
    (8, "q8_0", 32, 34),
    (9, "q8_1", 32, 36),
    (10, "q2_K", 256, 84),
    (11, "q3_K", 256, 110),
    (12, "q4_K", 256, 144),
    (13, "q5_K", 256, 176),
    (14, "q6_K", 256, 210),
    (15, "q8_K", 256, 292),
    (16, "iq2_xxs", 256, 66),
    (17, "iq2_xs", 256, 74),
    (18, "iq3_xxs", 256, 98),
    (19, "iq1_s", 256, 50),
    (20, "iq4_nl", 32, 18),
    (21, "iq3_s", 256, 110),
    (22, "iq2_s", 256, 82),
    (23, "iq4_xs", 256, 136),
    (24, "i8", 1, 1),
    (25, "i16", 1, 2),
    (26, "i32", 1, 4),
    (27, "i64", 1, 8),
    (28, "f64", 1, 8),
    (29, "iq1_m", 256, 56),
    (30, "bf16", 1, 2),
    (34, "tq1_0", 256, 54),
    (35, "tq2_0", 256, 66),
    (39, "mxfp4", 32, 17),
    (40, "nvfp4", 64, 36),
    (41, "q1_0", 128, 18),
    (42, "q2_0", 64, 18),
)

TYPES_BY_ID = {row[0]: GgmlType(id=row[0], name=row[1], block_size=row[2], type_size=row[3]) for row in _TABLE}
TYPES_BY_NAME = {ggml_type.name: ggml_type for ggml_type in TYPES_BY_ID.values()}

REMOVED_TYPES = {
    4: "q4_2",
    5: "q4_3",
    31: "q4_0_4_4",
    32: "q4_0_4_8",
    33: "q4_0_8_8",
    36: "iq4_nl_4_4",
    37: "iq4_nl_4_8",
    38: "iq4_nl_8_8",
}
"""Types that llama.cpp once wrote and no longer loads."""


def n_elements(shape: Sequence[int]) -> int:
    """Weights in a tensor of this shape; 1 for a scalar."""
    count = 1
    for dimension in shape:
        count *= dimension
    return count


def tensor_bytes(type_name: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor, as `ggml_nbytes` counts them for a contiguous one; `shape` in ggml's ne order (row first).

    Raises:
        ValueError: the type is unknown, or a row is not a whole number of blocks.
    """
    ggml_type = TYPES_BY_NAME.get(type_name)
    if ggml_type is None:
        raise ValueError(f"unknown ggml type {type_name!r}")
    row = shape[0] if shape else 1
    if row % ggml_type.block_size:
        raise ValueError(f"rows of {row} are not whole blocks of {ggml_type.block_size} ({type_name})")
    return n_elements(shape) // ggml_type.block_size * ggml_type.type_size
