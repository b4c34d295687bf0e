"""Which backend computes a tensor, where the graph is split, and what is copied between: ggml_backend_sched. Pure.

ggml-backend.cpp at the pinned commit: ggml_backend_sched_backend_id_from_cur and ggml_backend_sched_split_graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from launcher.planner.reserve_graph import HOST_BACKEND, Tensor

OFFLOAD_MIN_BATCH = 32  # GGML_OP_OFFLOAD_MIN_BATCH
N_COPIES = 4  # GGML_SCHED_MAX_COPIES


@dataclass(slots=True)
class Scheduled:
    """What the allocator gets: leafs first, then nodes, each with its backend."""

    nodes: list[tuple[Tensor, int]] = field(default_factory=list)
    leafs: list[tuple[Tensor, int]] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)
    """ids of tensors that are never freed: copies in a pipeline."""


def assign(nodes: Sequence[Tensor], *, offloads: Sequence[bool]) -> None:
    """Give every node a backend.

    Args:
        nodes: in order of execution; those that the graph pins have theirs.
        offloads: for each device, whether it takes large batches with weights of the host (op_offload).
    """
    taker = next((i for i, takes in enumerate(offloads) if takes), None)
    real = [node for node in nodes if node.view_of is None or node.pinned]
    for node in real:
        if node.backend is None and not node.skip_weights:
            node.backend = _by_weights(node, taker)
    _spread(real, host=False)
    _spread(reversed(real), host=False)
    _spread(real, host=True)
    _spread(reversed(real), host=True)
    for node in nodes:
        if node.backend is None:
            node.backend = node.view_of.backend if node.view_of is not None else HOST_BACKEND


def _by_weights(node: Tensor, taker: int | None) -> int | None:
    for source in node.srcs:
        if source.weights:
            if source.backend == HOST_BACKEND and taker is not None and node.n_rows >= OFFLOAD_MIN_BATCH:
                return taker
            return source.backend
    return None


def _spread(nodes: Iterable[Tensor], *, host: bool) -> None:
    """Nodes without weights go with their neighbour: with devices first, then with whatever is beside them."""
    current: int | None = None
    for node in nodes:
        if node.backend is None:
            node.backend = current
        elif node.backend == HOST_BACKEND and not host:
            current = None
        else:
            current = node.backend


def split(nodes: Sequence[Tensor], leafs: Sequence[Tensor], *, n_copies: int) -> Scheduled:
    """Cut the graph where the backend changes, and add copies of what a part needs from elsewhere."""
    copies: dict[tuple[int, int], list[Tensor]] = {}
    splits: list[tuple[int, list[Tensor], list[Tensor]]] = []
    current: int | None = None
    inputs: list[Tensor] = []
    part: list[Tensor] = []
    for node in nodes:
        if node.view_of is not None and not node.pinned:
            part.append(node)
            continue
        backend = HOST_BACKEND if node.backend is None else node.backend
        if current is None:
            current = backend
            splits.append((current, inputs, part))
        fresh = bool(inputs) and any(source.weights and source.backend != current for source in node.srcs)
        if backend != current or fresh:
            current, inputs, part = backend, [], []
            splits.append((current, inputs, part))
        sources = []
        for source in node.srcs:
            if source.backend == current or _backend(source) == current:
                sources.append(source)
                continue
            key = (id(source), current)
            if key not in copies:
                copies[key] = [
                    Tensor(size=source.size, layout=source.layout, is_input=n_copies > 1) for _ in range(n_copies)
                ]
                inputs.append(source)
            sources.append(copies[key][0])
        node.srcs = tuple(sources)
        part.append(node)
    return _laid_out(splits, leafs, copies, n_copies)


def _backend(tensor: Tensor) -> int | None:
    return tensor.view_of.backend if tensor.view_of is not None else tensor.backend


def _laid_out(
    splits: Sequence[tuple[int, list[Tensor], list[Tensor]]],
    leafs: Sequence[Tensor],
    copies: dict[tuple[int, int], list[Tensor]],
    n_copies: int,
) -> Scheduled:
    found = Scheduled()
    for backend, inputs, part in splits:
        for source in inputs:
            # A view of the source keeps it until the copy is made.
            found.nodes.append((Tensor(size=source.size, srcs=(source,), external=True), _backend(source) or 0))
            found.nodes.append((copies[id(source), backend][0], backend))
        found.nodes += [(node, backend) for node in part]
    if n_copies > 1:
        for leaf in leafs:
            twins = [Tensor(size=leaf.size, is_input=True) for _ in range(n_copies - 1)]
            found.leafs += [(tensor, HOST_BACKEND) for tensor in (leaf, *twins)]
        for backend, inputs, _ in splits:
            for source in inputs:
                found.leafs += [(tensor, backend) for tensor in copies[id(source), backend]]
        found.kept = {id(tensor) for tensor, _ in found.leafs}
    else:
        found.leafs = [(leaf, HOST_BACKEND) for leaf in leafs]
    return found
