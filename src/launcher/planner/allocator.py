"""How much each backend's compute buffer grows to: ggml's graph allocator, step by step. Pure.

ggml-alloc.c at the pinned commit: ggml_gallocr_alloc_graph_impl and ggml_dyn_tallocr_alloc / _free_bytes.
"""

from __future__ import annotations

from launcher.planner.reserve_graph import Tensor
from launcher.planner.scheduler import Scheduled

_ENDLESS = 1 << 62


class Arena:
    """One buffer: free blocks by offset, the last of them endless; `size` is how far it was ever used."""

    def __init__(self, alignment: int) -> None:
        self._alignment = alignment
        self._free: list[tuple[int, int]] = [(0, _ENDLESS)]
        self.size = 0

    def aligned(self, n_bytes: int) -> int:
        """Rounded up to the buffer's alignment."""
        return -(-n_bytes // self._alignment) * self._alignment

    def take(self, n_bytes: int) -> int:
        """The offset of a block: the best fitting hole, the last of equals, else at the end."""
        n_bytes = self.aligned(n_bytes)
        best, best_size = len(self._free) - 1, _ENDLESS
        for i, (_, size) in enumerate(self._free[:-1]):
            if n_bytes <= size <= best_size:
                best, best_size = i, size
        offset, size = self._free[best]
        if size == n_bytes:
            del self._free[best]
        else:
            self._free[best] = (offset + n_bytes, size - n_bytes)
        self.size = max(self.size, offset + n_bytes)
        return offset

    def give(self, offset: int, n_bytes: int) -> None:
        """Free a block again, joined with its neighbours."""
        n_bytes = self.aligned(n_bytes)
        end = offset + n_bytes
        at = 0
        while at < len(self._free) and self._free[at][0] < offset:
            at += 1
        if at < len(self._free) and self._free[at][0] == end:
            end += self._free.pop(at)[1]
        if at and sum(self._free[at - 1]) == offset:
            at -= 1
            offset = self._free.pop(at)[0]
        self._free.insert(at, (offset, end - offset))


class Allocator:
    """Walks a scheduled graph and keeps what is alive."""

    def __init__(self, alignments: dict[int, int]) -> None:
        self.arenas = {backend: Arena(alignment) for backend, alignment in alignments.items()}
        self._children: dict[int, int] = {}
        self._views: dict[int, int] = {}
        self._places: dict[int, tuple[int, int]] = {}
        """Backend and offset of what is allocated."""

    def run(self, graph: Scheduled) -> dict[int, int]:
        """Bytes of each backend's buffer."""
        children, views = self._children, self._views
        for leaf, backend in graph.leafs:
            self._allocate(leaf, backend, graph.kept)
        for node, _ in graph.nodes:
            if node.view_of is not None:
                views[id(node.view_of)] = views.get(id(node.view_of), 0) + 1
            for source in node.srcs:
                children[id(source)] = children.get(id(source), 0) + 1
        for node, backend in graph.nodes:
            for source in node.srcs:
                self._allocate(source, backend, graph.kept)
            self._allocate(node, backend, graph.kept)
            for source in node.srcs:
                self._release(source, graph.kept)
        return {backend: arena.size for backend, arena in self.arenas.items()}

    def _allocate(self, node: Tensor, backend: int, kept: set[int]) -> None:
        if node.external or node.view_of is not None or id(node) in self._places:
            return
        if node.inplace and self._in_place(node, kept):
            return
        self._places[id(node)] = (backend, self.arenas[backend].take(node.size))

    def _in_place(self, node: Tensor, kept: set[int]) -> bool:
        """Write over a source that nothing else needs."""
        for parent in node.srcs:
            # ggml would write over what a view shows too, but meets none that it takes while it reserves.
            if id(parent) not in self._places or id(parent) in kept or parent.layout != node.layout:
                continue
            if parent.is_output:
                continue
            if self._children.get(id(parent), 0) != 1 or self._views.get(id(parent), 0) != 0:
                continue
            backend, offset = self._places.pop(id(parent))
            self._places[id(node)] = (backend, offset)
            arena = self.arenas[backend]
            spare = arena.aligned(parent.size) - arena.aligned(node.size)
            if spare > 0:
                arena.give(offset + arena.aligned(node.size), spare)
            return True
        return False

    def _release(self, source: Tensor, kept: set[int]) -> None:
        self._children[id(source)] -= 1
        if self._children[id(source)] or self._views.get(id(source), 0):
            return
        owner = source.view_of
        if owner is None:
            self._free(source, kept)
            return
        self._views[id(owner)] -= 1
        if not self._views[id(owner)] and not self._children.get(id(owner), 0):
            self._free(owner, kept)

    def _free(self, tensor: Tensor, kept: set[int]) -> None:
        if tensor.is_output or id(tensor) in kept or id(tensor) not in self._places:
            return
        backend, offset = self._places.pop(id(tensor))
        self.arenas[backend].give(offset, tensor.size)
