"""llama.cpp's breakdown as the oracle's child reads it: whose memory a buffer is."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

from launcher.engines.oracle_child import _breakdown, _Map, _Node

DEVICES = {1: b"CUDA0", 2: b"CPU"}


class Breakdown:
    """Gives three buffer types: a GPU's own, the host's that the GPU's driver pinned, and the host's."""

    restype: Any = None
    argtypes: Any = None

    def __init__(self) -> None:
        self.nodes = [_Node(buft=buft, model=buft, context=10 * buft, compute=100 * buft) for buft in (1, 2, 3)]
        root, left, right = self.nodes[1], self.nodes[0], self.nodes[2]
        root.left, root.right = ctypes.pointer(left), ctypes.pointer(right)

    def __call__(self, found: Any, _context: object) -> None:
        there: _Map = found._obj
        there.root, there.count = ctypes.pointer(self.nodes[1]), 3


def test_memory_of_the_host_that_a_gpu_pinned_is_the_hosts() -> None:
    """Its type names the GPU as its device: prompts' weights and buffers in RAM counted as the GPU's."""
    lib = SimpleNamespace(
        ggml_backend_buft_get_device=lambda buft: {1: 1, 2: 1, 3: 2}[buft],
        ggml_backend_buft_is_host=lambda buft: buft in {2, 3},
        ggml_backend_dev_name=lambda device: DEVICES[device],
    )
    library = SimpleNamespace(_Z26llama_get_memory_breakdownPK13llama_context=Breakdown())
    rows = _breakdown(library, SimpleNamespace(lib=lib), None)  # type: ignore[arg-type]  # all that is looked at
    assert rows == {"CUDA0": [1, 10, 100], "CPU": [5, 50, 500]}
