import ctypes
from importlib.util import find_spec
from pathlib import Path

import pytest

from launcher.catalogue.ggml_types import REMOVED_TYPES, TYPES_BY_ID, TYPES_BY_NAME, n_elements, tensor_bytes


def ggml_base() -> ctypes.CDLL:
    """The installed engine's own table. Loaded by path: importing llama_cpp would start the whole engine."""
    engine = find_spec("llama_cpp")
    folders = [Path(folder) / "lib" for folder in engine.submodule_search_locations or ()] if engine else []
    found = [lib for folder in folders for lib in folder.glob("libggml-base.*")]
    if not found:
        pytest.skip("no engine is installed here")
    ggml = ctypes.CDLL(str(found[0]))
    ggml.ggml_type_name.restype = ctypes.c_char_p
    ggml.ggml_blck_size.restype = ctypes.c_int64
    ggml.ggml_type_size.restype = ctypes.c_size_t
    return ggml


def test_the_table_is_the_installed_engines() -> None:
    ggml = ggml_base()
    for ggml_type in TYPES_BY_ID.values():
        assert ggml.ggml_type_name(ggml_type.id) == ggml_type.name.encode()
        assert ggml.ggml_blck_size(ggml_type.id) == ggml_type.block_size
        assert ggml.ggml_type_size(ggml_type.id) == ggml_type.type_size
    assert all(ggml.ggml_blck_size(removed) == 0 for removed in REMOVED_TYPES)
    known = {*TYPES_BY_ID, *REMOVED_TYPES}
    assert known == set(range(len(known)))


@pytest.mark.parametrize(("name", "bits"), [("f32", 32), ("bf16", 16), ("q8_0", 8.5), ("q4_K", 4.5), ("mxfp4", 4.25)])
def test_bits_per_weight(name: str, bits: float) -> None:
    assert TYPES_BY_NAME[name].bits_per_weight == bits


def test_tensor_bytes() -> None:
    assert tensor_bytes("q8_0", (2880, 201_088)) == 615_329_280
    assert tensor_bytes("mxfp4", (2880, 2880, 32)) * 3 == 423_014_400
    assert tensor_bytes("f32", ()) == 4
    assert n_elements(()) == 1


@pytest.mark.parametrize(("name", "shape"), [("q4_2", (32,)), ("q8_0", (33, 32)), ("q4_K", (2880, 4096))])
def test_tensors_that_cannot_be(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"unknown ggml type|not whole blocks"):
        tensor_bytes(name, shape)
