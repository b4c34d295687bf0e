"""Child process: load a model `no_alloc`, make contexts, and say what llama.cpp would allocate. JSON lines.

llama.cpp ends the process where an assertion fails, so it is never asked in the launcher's own.
"""

from __future__ import annotations

import ctypes
import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.engines.llama import LlamaContext, LlamaModel, captured_log
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable


class _Node(ctypes.Structure):
    """A node of libstdc++'s std::map<ggml_backend_buffer_type_t, llama_memory_breakdown_data>."""


_Node._fields_ = (
    ("color", ctypes.c_long),
    ("parent", ctypes.POINTER(_Node)),
    ("left", ctypes.POINTER(_Node)),
    ("right", ctypes.POINTER(_Node)),
    ("buft", ctypes.c_void_p),
    ("model", ctypes.c_size_t),
    ("context", ctypes.c_size_t),
    ("compute", ctypes.c_size_t),
)


class _Map(ctypes.Structure):
    """The map itself: an empty comparator, the header node, the count (bits/stl_tree.h)."""

    _fields_ = (
        ("compare", ctypes.c_long),
        ("color", ctypes.c_long),
        ("root", ctypes.POINTER(_Node)),
        ("leftmost", ctypes.POINTER(_Node)),
        ("rightmost", ctypes.POINTER(_Node)),
        ("count", ctypes.c_size_t),
    )


_NODES_AT_MOST = 64
_HOST = "CPU"


class _Ggml:
    """The calls of ggml that the bindings leave untyped."""

    def __init__(self, lib: Any) -> None:
        for name, result, arguments in (
            ("ggml_backend_dev_by_name", ctypes.c_void_p, (ctypes.c_char_p,)),
            ("ggml_backend_buft_get_device", ctypes.c_void_p, (ctypes.c_void_p,)),
            ("ggml_backend_buft_is_host", ctypes.c_bool, (ctypes.c_void_p,)),
            ("ggml_backend_dev_name", ctypes.c_char_p, (ctypes.c_void_p,)),
            ("ggml_backend_reg_by_name", ctypes.c_void_p, (ctypes.c_char_p,)),
            ("ggml_backend_reg_get_proc_address", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)),
            ("ggml_backend_reg_dev_get", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t)),
            ("ggml_backend_register", None, (ctypes.c_void_p,)),
        ):
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        self.lib = lib

    def add_remote(self, endpoint: str) -> str:
        """Register a ggml-rpc-server; the name of its device."""
        registry = self.lib.ggml_backend_reg_by_name(b"RPC")
        address = self.lib.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_rpc_add_server")
        add = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(address)
        server = add(endpoint.encode())
        self.lib.ggml_backend_register(server)
        name: bytes = self.lib.ggml_backend_dev_name(self.lib.ggml_backend_reg_dev_get(server, 0))
        return name.decode()

    def device_of(self, buft: int) -> str:
        """The name of the device whose memory a buffer type takes.

        Pinned host memory names the first GPU as its device, so whether it is the host's is asked before
        (common_memory_breakdown_print in common/fit.cpp).
        """
        device = None if self.lib.ggml_backend_buft_is_host(buft) else self.lib.ggml_backend_buft_get_device(buft)
        name: bytes = self.lib.ggml_backend_dev_name(device) if device else _HOST.encode()
        return name.decode()


def _breakdown(llama_cpp: Any, ggml: _Ggml, model: LlamaModel, context: LlamaContext) -> dict[str, list[int]]:
    """model, context and compute bytes by device name; all host buffers as `CPU`.

    Raises RuntimeError, which ends the child, where the map has not the shape that it is read by.
    """
    library = llama_cpp.llama_cpp._lib  # noqa: SLF001  # what the bindings lack
    function = getattr(library, "_Z26llama_get_memory_breakdownPK13llama_context")  # noqa: B009  # C++ name
    # A class is returned through a pointer that x86-64 and ARM pass differently: libffi knows how, for any structure.
    function.restype, function.argtypes = _Map, (ctypes.c_void_p,)
    found = function(context.pointer)
    if found.count > _NODES_AT_MOST:
        raise RuntimeError(f"llama.cpp's breakdown has {found.count} rows")
    rows: dict[str, list[int]] = {}
    seen = 0

    def walk(pointer: Any) -> None:
        nonlocal seen
        if not pointer:
            return
        node = pointer.contents
        walk(node.left)
        seen += 1
        row = rows.setdefault(ggml.device_of(node.buft), [0, 0, 0])
        for i, amount in enumerate((node.model, node.context, node.compute)):
            row[i] += amount
        walk(node.right)

    walk(found.root)
    if seen != found.count:
        raise RuntimeError(f"llama.cpp's breakdown has {found.count} rows, {seen} were found")
    size_bytes, stated = llama_cpp.llama_model_size(model.pointer), sum(row[0] for row in rows.values())
    if stated < size_bytes:
        raise RuntimeError(f"llama.cpp's breakdown holds {stated} bytes of a model of {size_bytes}")
    return rows


def _loading(params: LoadParams) -> LoadParams:
    """What concerns loading alone; the rest levelled out. `no_alloc` knows no mmap."""
    return replace(
        params, n_ctx=256, n_batch=256, n_ubatch=256, n_parallel=1, n_outputs_max=1, type_k="f16", type_v="f16",
        kv_unified=False, swa_full=False, load_mode="none", repack=False,
    )  # fmt: skip


def main() -> None:
    """Answer each case on stdin with a line on stdout."""
    import llama_cpp
    from llama_cpp import _ggml

    order = json.loads(sys.stdin.readline())
    ggml = _Ggml(_ggml.libggml)
    llama_cpp.llama_backend_init()
    names = [ggml.add_remote(endpoint) for endpoint in order["endpoints"]]
    with captured_log(llama_cpp) as log, ExitStack() as stack:
        loaded: tuple[LoadParams, LlamaModel] | None = None
        for line in sys.stdin:
            asked = from_jsonable(LoadParams, json.loads(line))
            here = replace(asked, devices=tuple(names[: len(asked.devices)])) if names else asked
            log.clear()  # the reason of a refusal is this case's own
            try:
                if loaded is None or loaded[0] != _loading(here):
                    stack.close()
                    loaded = None
                    model = stack.enter_context(
                        LlamaModel.load(llama_cpp, Path(order["model"]), _loading(here), log, no_alloc=True)
                    )
                    loaded = (_loading(here), model)
                with LlamaContext.open(llama_cpp, loaded[1], here, log) as context:
                    answer: dict[str, Any] = {"rows": _breakdown(llama_cpp, ggml, loaded[1], context)}
            except EngineError as error:
                answer = {"refused": error.message}
            if names and "rows" in answer:
                spelt = dict(zip(names, asked.devices, strict=False))
                answer["rows"] = {spelt.get(name, name): row for name, row in answer["rows"].items()}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
