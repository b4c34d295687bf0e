"""ggml's functions, each from the library that defines it, as Windows finds them."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.engines import ggml, oracle_child
from launcher.engines.active import load_llama_cpp
from launcher.engines.ggml import ggml_functions, loaded_libraries
from launcher.engines.llama import _ggml
from launcher.errors import EngineError

DEFINED = {
    "ggml": (
        *("ggml_backend_dev_by_name", "ggml_backend_reg_by_name", "ggml_backend_register"),
        *("ggml_backend_dev_count", "ggml_backend_dev_get"),
    ),
    "ggml-base": (
        *("ggml_backend_cpu_buffer_type", "ggml_backend_buft_get_device", "ggml_backend_buft_is_host"),
        "ggml_backend_dev_name",
        *("ggml_backend_dev_type", "ggml_backend_reg_get_proc_address", "ggml_backend_reg_dev_get", "ggml_commit"),
    ),
}
"""ggml-backend-reg.cpp is compiled into the first; ggml-backend.cpp and ggml.c into the second."""


def _library(names: tuple[str, ...]) -> Any:
    return SimpleNamespace(**{name: SimpleNamespace(restype=None, argtypes=None) for name in names})


def test_a_function_is_taken_from_the_library_that_defines_it() -> None:
    registry, base = (_library(names) for names in DEFINED.values())
    found = ggml_functions(
        ("ggml_backend_dev_by_name", ctypes.c_void_p, (ctypes.c_char_p,)),
        ("ggml_backend_cpu_buffer_type", ctypes.c_void_p, ()),
        libraries=(registry, base),
    )
    assert found.ggml_backend_dev_by_name is registry.ggml_backend_dev_by_name
    assert found.ggml_backend_cpu_buffer_type is base.ggml_backend_cpu_buffer_type
    assert registry.ggml_backend_dev_by_name.argtypes == (ctypes.c_char_p,)
    with pytest.raises(EngineError, match="has no ggml_of_tomorrow"):
        ggml_functions(("ggml_of_tomorrow", None, ()), libraries=(registry, base))


def test_all_that_children_call_is_found_where_each_library_shows_its_own_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keeps out: on Windows no model could be placed, since the buffer type of the CPU is not in the library `ggml`."""
    monkeypatch.setattr(ggml, "loaded_libraries", lambda: tuple(map(_library, DEFINED.values())))
    assert _ggml().ggml_backend_cpu_buffer_type.restype is ctypes.c_void_p
    assert oracle_child._Ggml().lib.ggml_backend_reg_dev_get.restype is ctypes.c_void_p


@pytest.mark.skipif(sys.platform != "linux", reason="dlsym on a library of ELF finds what it depends on, too")
def test_the_installed_engine_defines_them_where_they_are_looked_for() -> None:
    load_llama_cpp()
    registry, base = loaded_libraries()
    for name in DEFINED["ggml"]:
        assert getattr(base, name, None) is None, "or the order would not matter"
        assert getattr(registry, name) is not None
    for name in DEFINED["ggml-base"]:
        assert getattr(base, name) is not None
