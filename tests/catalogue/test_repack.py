import pytest

from launcher.catalogue.ggml_types import TYPES_BY_NAME, tensor_bytes
from launcher.catalogue.repack import repack_bytes

AVX2 = ("AVX", "AVX2", "FMA")
AVX512 = (*AVX2, "AVX512", "AVX512_VNNI")
AMX = (*AVX512, "AMX_INT8")
OLD_ARM = ("NEON",)
ARM = ("NEON", "DOTPROD")
NEW_ARM = (*ARM, "MATMUL_INT8")
MATRIX = (4096, 2880)


@pytest.mark.parametrize(
    ("isa", "repacked"),
    [
        ((), set()),
        (("AVX",), set()),
        (AVX2, {"q4_0", "q4_K", "iq4_nl", "mxfp4"}),
        (AVX512, {"q4_0", "q4_K", "iq4_nl", "mxfp4", "q2_K"}),
        (AMX, {"q4_0", "q4_1", "q8_0", "q4_K", "q5_K", "q6_K", "iq4_xs", "iq4_nl", "mxfp4", "q2_K"}),
        (OLD_ARM, set()),
        (ARM, {"q4_0", "iq4_nl", "mxfp4", "q8_0", "q1_0", "q4_K", "q5_K", "q6_K"}),
        (NEW_ARM, {"q4_0", "iq4_nl", "mxfp4", "q8_0", "q1_0", "q4_K", "q5_K", "q6_K"}),
    ],
)
def test_which_types_are_repacked(isa: tuple[str, ...], repacked: set[str]) -> None:
    assert {name for name in TYPES_BY_NAME if repack_bytes(name, MATRIX, isa)} == repacked


def test_the_copy_is_as_large_as_the_matrix_but_with_amx() -> None:
    assert repack_bytes("mxfp4", (2880, 2880, 32), AVX2) == tensor_bytes("mxfp4", (2880, 2880, 32))
    assert repack_bytes("q8_0", (2880, 4096), AMX) == 4096 * (2880 // 32) * (34 + 4)
    assert repack_bytes("q4_K", MATRIX, AMX) == 2880 * (4096 // 256) * (144 + 4)


def test_amx_takes_no_experts() -> None:
    assert repack_bytes("q8_0", (2880, 2880, 32), AMX) == 0
    assert repack_bytes("mxfp4", (2880, 2880, 32), AMX) > 0


@pytest.mark.parametrize(
    ("name", "n_rows", "isa", "taken"),
    [
        ("mxfp4", 12, AVX2, False),
        ("mxfp4", 12, ARM, True),
        ("mxfp4", 6, ARM, False),
        ("q4_K", 12, ARM, False),
        ("q2_K", 12, AVX512, False),
        ("q8_0", 48, AMX, False),
        ("q8_0", 12, NEW_ARM, True),
        ("q8_0", 12, ("NEON", "MATMUL_INT8"), True),
        ("q6_K", 12, ("NEON", "MATMUL_INT8"), False),
    ],
)
def test_rows_come_in_fours_or_eights(name: str, n_rows: int, isa: tuple[str, ...], taken: bool) -> None:
    assert bool(repack_bytes(name, (256, n_rows), isa)) == taken


def test_vectors_are_never_repacked() -> None:
    assert repack_bytes("q4_0", (4096,), AVX2) == 0
