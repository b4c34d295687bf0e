"""A program of its own: print what the installed llama.cpp build can compute on, as one line.

`engine_devices.py` runs it in a child process (`python -I -S engine_probe.py LIB_DIR MARK`): asking a GPU driver costs
hundreds of megabytes (a CUDA context), and a broken driver ends the process that asks. It needs the standard library
alone, and nothing of the launcher. It runs before every plan, so it leaves out what is slow to import: the line is a
Python literal (json alone would cost more than loading llama.cpp does), and paths are text.

Sources, all at the pinned commit of llama.cpp: ggml/include/ggml-backend.h (`ggml_backend_dev_props`,
`ggml_backend_dev_type`, `ggml_backend_feature`), include/llama.h (`llama_version`, `llama_supports_rpc`).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal brings in enum: 6 ms
import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

# enum ggml_backend_dev_type, in order.
_TYPES = ("CPU", "GPU", "IGPU", "ACCEL", "META")
_LIBRARIES = ("llama", "ggml", "ggml-base")
_INNER = ("bin", "bin\\x64", "lib")
"""Below the maker's folder; CUDA 13 has its libraries in the second."""
_SPELLINGS = ("lib{}.so", "lib{}.dylib", "{}.dll", "lib{}.dll")


class _DevProps(ctypes.Structure):
    """struct ggml_backend_dev_props; the five bools at its end are struct ggml_backend_dev_caps."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("caps", ctypes.c_bool * 5),
        # Room for fields that a later ggml appends: it writes them, nobody reads them.
        ("reserved", ctypes.c_char * 256),
    )


class _Feature(ctypes.Structure):
    """struct ggml_backend_feature; an array of them ends with a null name."""

    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p))


class _Symbols:
    """Functions of several libraries under one roof: on Windows each is found only in the library that defines it."""

    def __init__(self, folder: str) -> None:
        if sys.platform == "win32":
            for place in dll_folders(folder, os.environ, os.path.isdir):
                os.add_dll_directory(place)
        self._libraries = [self._load(folder, name) for name in _LIBRARIES]

    @staticmethod
    def _load(folder: str, name: str) -> ctypes.CDLL:
        for spelling in _SPELLINGS:
            path = os.path.join(folder, spelling.format(name))  # noqa: PTH118 -- pathlib costs 8 ms here
            if os.path.exists(path):  # noqa: PTH110
                return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        raise OSError(f"no library {name} in {folder}")

    def get(self, name: str, restype: Any, *argtypes: Any) -> Any:
        """The C function `name`; OSError where this build does not have it."""
        for library in self._libraries:
            function = getattr(library, name, None)
            if function is not None:
                function.restype = restype
                function.argtypes = argtypes
                return function
        raise OSError(f"this build of llama.cpp has no {name}")


def dll_folders(folder: str, environ: Mapping[str, str], is_dir: Callable[[str], bool]) -> list[str]:
    """Where Windows looks for libraries: those of the GPU's maker are beside his tools, as llama_cpp itself has it."""
    beside = [f"{environ[name]}\\{inner}" for name in ("CUDA_PATH", "HIP_PATH") if name in environ for inner in _INNER]
    return [folder, *(place for place in beside if is_dir(place))]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _devices(symbols: _Symbols) -> list[dict[str, Any]]:
    count = symbols.get("ggml_backend_dev_count", ctypes.c_size_t)
    get = symbols.get("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    get_props = symbols.get("ggml_backend_dev_get_props", None, ctypes.c_void_p, ctypes.POINTER(_DevProps))
    registry_of = symbols.get("ggml_backend_dev_backend_reg", ctypes.c_void_p, ctypes.c_void_p)
    registry_name = symbols.get("ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
    devices = []
    for index in range(count()):
        device = get(index)
        props = _DevProps()
        get_props(device, ctypes.byref(props))
        devices.append(
            {
                "name": _text(props.name),
                "description": _text(props.description),
                "type": _TYPES[props.type] if 0 <= props.type < len(_TYPES) else None,
                "memory_free": props.memory_free,
                "memory_total": props.memory_total,
                "device_id": _text(props.device_id),
                "backend": _text(registry_name(registry_of(device))),
            }
        )
    return devices


def _backends(symbols: _Symbols) -> list[dict[str, Any]]:
    """Each registered backend with its features, as `llama_print_system_info` gathers them (src/llama.cpp)."""
    count = symbols.get("ggml_backend_reg_count", ctypes.c_size_t)
    get = symbols.get("ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
    name = symbols.get("ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
    address = symbols.get("ggml_backend_reg_get_proc_address", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    get_features_type = ctypes.CFUNCTYPE(ctypes.POINTER(_Feature), ctypes.c_void_p)
    backends = []
    for index in range(count()):
        registry = get(index)
        features: dict[str, str | None] = {}
        entry = address(registry, b"ggml_backend_get_features")
        if entry:
            for feature in get_features_type(entry)(registry):
                if not feature.name:
                    break
                features[feature.name.decode(errors="replace")] = _text(feature.value)
        backends.append({"name": _text(name(registry)), "features": features})
    return backends


def probe(folder: str) -> dict[str, Any]:
    """Load the libraries in `folder` and ask them. Raises OSError where they cannot be loaded or lack a function."""
    symbols = _Symbols(folder)
    if symbols.get("ggml_backend_reg_count", ctypes.c_size_t)() == 0:
        # Backends as separate files: load them from this folder only. ggml's own default also searches the working
        # directory, where a stranger may have put one.
        symbols.get("ggml_backend_load_all_from_path", None, ctypes.c_char_p)(os.fsencode(folder))
    return {
        "devices": _devices(symbols),
        "backends": _backends(symbols),
        "supports_rpc": symbols.get("llama_supports_rpc", ctypes.c_bool)(),
        "llama_version": _text(symbols.get("llama_version", ctypes.c_char_p)()),
        "ggml_version": _text(symbols.get("ggml_version", ctypes.c_char_p)()),
        "ggml_commit": _text(symbols.get("ggml_commit", ctypes.c_char_p)()),
    }


def main(arguments: list[str]) -> int:
    """Print the probe of a folder, behind a mark; on failure, one line on stderr and exit status 1."""
    folder, mark = arguments
    # Python's own handler waits for C code to return, which a driver that hangs never does: Ctrl-C ends it at once.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    try:
        found = probe(folder)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    # Drivers may have written to stdout as well: a line of our own, told by its mark.
    sys.stdout.write(f"\n{mark}{found!a}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
