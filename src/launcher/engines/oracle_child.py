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

from launcher.engines.active import load_llama_cpp
from launcher.engines.ggml import ggml_functions
from launcher.engines.llama import LlamaModel, captured_log
from launcher.engines.params import context_fields
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

    def __init__(self) -> None:
        self.lib = ggml_functions(
            ("ggml_backend_dev_by_name", ctypes.c_void_p, (ctypes.c_char_p,)),
            ("ggml_backend_buft_get_device", ctypes.c_void_p, (ctypes.c_void_p,)),
            ("ggml_backend_buft_is_host", ctypes.c_bool, (ctypes.c_void_p,)),
            ("ggml_backend_dev_name", ctypes.c_char_p, (ctypes.c_void_p,)),
            ("ggml_backend_reg_by_name", ctypes.c_void_p, (ctypes.c_char_p,)),
            ("ggml_backend_reg_get_proc_address", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)),
            ("ggml_backend_reg_dev_get", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t)),
            ("ggml_backend_register", None, (ctypes.c_void_p,)),
        )

    def add_remote(self, endpoint: str) -> str:
        """Register a ggml-rpc-server; the name of its device."""
        registry = self.lib.ggml_backend_reg_by_name(b"RPC")
        address = self.lib.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_rpc_add_server")
        add = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(address)
        server = add(endpoint.encode())
        self.lib.ggml_backend_register(server)
        name: bytes = self.lib.ggml_backend_dev_name(self.lib.ggml_backend_reg_dev_get(server, 0))
        return name.decode()


def _breakdown(library: Any, ggml: _Ggml, context: Any) -> dict[str, list[int]]:
    """model, context and compute bytes by device name; all host buffers as `CPU`."""
    function = getattr(library, "_Z26llama_get_memory_breakdownPK13llama_context")  # noqa: B009  # C++ name
    function.restype, function.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p)
    found = _Map()
    function(ctypes.byref(found), context)
    if found.count > _NODES_AT_MOST:
        raise EngineError("llama.cpp's breakdown has another shape than expected")
    rows: dict[str, list[int]] = {}
    seen = 0

    def walk(pointer: Any) -> None:
        nonlocal seen
        if not pointer:
            return
        node = pointer.contents
        walk(node.left)
        seen += 1
        # Memory of the host that a GPU's driver pinned is the GPU's by its type (common/fit.cpp looks at this first).
        on_host = ggml.lib.ggml_backend_buft_is_host(node.buft)
        device = None if on_host else ggml.lib.ggml_backend_buft_get_device(node.buft)
        name = ggml.lib.ggml_backend_dev_name(device).decode() if device else _HOST
        row = rows.setdefault(name, [0, 0, 0])
        for i, amount in enumerate((node.model, node.context, node.compute)):
            row[i] += amount
        walk(node.right)

    walk(found.root)
    if seen != found.count:
        raise EngineError("llama.cpp's breakdown has another shape than expected")
    return rows


def _loading(params: LoadParams) -> LoadParams:
    """What concerns loading alone; the rest levelled out. `no_alloc` knows no mmap."""
    return replace(
        params, n_ctx=256, n_batch=256, n_ubatch=256, n_parallel=1, n_outputs_max=1, type_k="f16", type_v="f16",
        kv_unified=False, swa_full=False, load_mode="none", repack=False,
    )  # fmt: skip


def main() -> None:
    """Answer each case on stdin with a line on stdout."""
    try:
        llama_cpp = load_llama_cpp()
    except EngineError as error:
        sys.exit(error.message)
    order = json.loads(sys.stdin.readline())
    ggml = _Ggml()
    llama_cpp.llama_backend_init()
    names = [ggml.add_remote(endpoint) for endpoint in order["endpoints"]]
    with captured_log(llama_cpp) as log, ExitStack() as stack:
        loaded: tuple[LoadParams, LlamaModel] | None = None
        for line in sys.stdin:
            asked = from_jsonable(LoadParams, json.loads(line))
            here = replace(asked, devices=tuple(names[: len(asked.devices)])) if names else asked
            try:
                if loaded is None or loaded[0] != _loading(here):
                    stack.close()
                    loaded = None
                    model = stack.enter_context(
                        LlamaModel.load(llama_cpp, Path(order["model"]), _loading(here), log, no_alloc=True)
                    )
                    loaded = (_loading(here), model)
                answer = _context(llama_cpp, ggml, loaded[1], here)
            except EngineError as error:
                answer = {"refused": error.message}
            if names and "rows" in answer:
                spelt = dict(zip(names, asked.devices, strict=False))
                answer["rows"] = {spelt.get(name, name): row for name, row in answer["rows"].items()}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def _context(llama_cpp: Any, ggml: _Ggml, model: LlamaModel, params: LoadParams) -> dict[str, Any]:
    fields = llama_cpp.llama_context_default_params()
    for name, value in context_fields(params).items():
        setattr(fields, name, value)
    context = llama_cpp.llama_init_from_model(model.pointer, fields)
    if not context:
        return {"refused": f"no context of {params.n_ctx} tokens"}
    try:
        return {"rows": _breakdown(llama_cpp.llama_cpp._lib, ggml, context)}  # noqa: SLF001  # what the bindings lack
    finally:
        llama_cpp.llama_free(context)


if __name__ == "__main__":
    main()
