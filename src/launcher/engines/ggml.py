"""ggml's own functions, which the bindings of llama.cpp leave out.

`ggml` has the registry (ggml-backend-reg.cpp), `ggml-base` all that backends share (ggml.c, ggml-backend.cpp):
ggml/src/CMakeLists.txt at the pinned commit of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

from launcher.errors import EngineError

LOG_ERROR = 4
"""GGML_LOG_LEVEL_ERROR (ggml.h)."""


@cache  # a process has one build; on Windows each load adds to PATH
def loaded_libraries() -> tuple[Any, ...]:
    """The libraries of ggml that this process computes with: `llama_cpp` has loaded them already."""
    from llama_cpp import _ggml
    from llama_cpp._ctypes_extensions import load_shared_library

    return _ggml.libggml, load_shared_library("ggml-base", _ggml.libggml_base_path)


def ggml_functions(
    *wanted: tuple[str, Any, tuple[Any, ...]], libraries: Sequence[Any] | None = None
) -> SimpleNamespace:
    """Functions with their types, each from the library that defines it: Windows finds it in no other.

    Args:
        wanted: name, type of the result, types of the arguments.
        libraries: where to look; those of this process by default.

    Raises:
        EngineError: none of them has one.
    """
    libraries = loaded_libraries() if libraries is None else libraries
    found = SimpleNamespace()
    for name, result, arguments in wanted:
        function = next((each for library in libraries if (each := getattr(library, name, None)) is not None), None)
        if function is None:
            raise EngineError(f"this build of llama.cpp has no {name}", hint="gpt-oss engine list")
        function.restype, function.argtypes = result, arguments
        setattr(found, name, function)
    return found
