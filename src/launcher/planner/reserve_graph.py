"""GPT OSS's graph for one micro-batch, as llama.cpp builds it to reserve its compute buffers. Pure.

models/openai-moe.cpp and llama-graph.cpp (build_qkv, build_attn, build_attn_mha, build_moe_ffn) at the pinned commit.
Only what the allocator sees of a tensor is kept: size, sources, whether it is a view, and where its weights lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOST_BACKEND = -1
"""Stands for the CPU among backends numbered from 0."""


@dataclass(slots=True)
class Tensor:
    """One tensor of the graph."""

    size: int
    """Bytes, as ggml_nbytes gives them."""
    srcs: tuple[Tensor, ...] = ()
    view_of: Tensor | None = None
    """The tensor whose memory it shares."""
    inplace: bool = False
    """Whether the operation may write over its first source of the same layout (ggml_op_can_inplace)."""
    n_rows: int = 0
    """Rows of the batch that a backend goes by when it is offered a product with host weights (offload_op)."""
    is_input: bool = False
    is_output: bool = False
    """Kept to the end and never written over (llm_graph_result::set_outputs)."""
    external: bool = False
    """Allocated elsewhere: a weight or the KV cache."""
    weights: bool = False
    backend: int | None = None
    """Where it is computed; of an external tensor, where it lies. None until it is assigned."""
    pinned: bool = False
    """Whether `backend` may not be changed: the graph or the memory that it writes to decides it."""
    skip_weights: bool = False
    """Operations whose weights are too small to decide where they run: ROPE and FLASH_ATTN_EXT."""
    layout: int = 0
    """Tensors of one layout and size may share memory in place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPlace:
    """Where a block's parts lie, as numbers of backends; `HOST_BACKEND` for the host."""

    device: int
    experts: tuple[int, int, int]
    """gate, up, down."""
    cache: int
    windowed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Sizes of a micro-batch's tensors, in elements unless said otherwise."""

    n_tokens: int
    n_outputs: int
    n_stream: int
    n_embd: int
    n_q: int
    """n_head x n_embd_head_k."""
    n_attn: int
    """n_head x n_embd_head_v."""
    n_k: int
    n_v: int
    n_expert: int
    n_used: int
    n_ff: int
    n_head: int
    n_vocab: int
    cells_full: int
    """Of one stream."""
    cells_window: int
    k_row_bytes: int
    """Of one cell of a block's K cache."""
    v_row_bytes: int
    expert_bytes: tuple[int, int, int]
    """Weights of the gate, up and down tensors of a block."""
    bias_bytes: tuple[int, int, int]
    dense_bytes: tuple[int, int, int, int]
    """Weights of attn_q, attn_k, attn_v and attn_output, as far as they may be copied to a device."""
    flash_attn: bool
    rotated: tuple[bool, bool]
    """Whether heads are rotated because the K cache, and the V cache, is quantised (llama_kv_cache, attn_rot_k, _v)."""
    rotation_bytes: int
    cast_bytes: tuple[int, int]
    """Per cell: f16 copies of a K and a V cache in f32; 0 where there is none."""


class GraphBuilder:
    """Builds the nodes in the order of execution. `pinned`: norms stay with their block where all are on devices."""

    def __init__(self, shape: Shape, layers: Sequence[LayerPlace], output: int, *, pinned: bool = True) -> None:
        self.shape = shape
        self.nodes: list[Tensor] = []
        self.leafs: list[Tensor] = []
        self._inputs: dict[str, Tensor] = {}
        self._build(layers, output, pinned=pinned)

    def _node(self, size: int, *srcs: Tensor, layout: int = 0, inplace: bool = False, n_rows: int = 0) -> Tensor:
        tensor = Tensor(size=size, srcs=srcs, layout=layout or size, inplace=inplace, n_rows=n_rows)
        self.nodes.append(tensor)
        return tensor

    def _view(self, source: Tensor, size: int | None = None, *, layout: int = 0) -> Tensor:
        tensor = Tensor(
            size=source.size if size is None else size,
            srcs=(source,),
            view_of=source.view_of or source,
            layout=layout or source.layout,
        )
        tensor.external = (source.view_of or source).external
        self.nodes.append(tensor)
        return tensor

    def _weight(self, size: int, backend: int) -> Tensor:
        return Tensor(size=size, external=True, weights=True, backend=backend, pinned=True)

    def _input(self, name: str, size: int) -> Tensor:
        """An input by name, made where it is first read: in that order llama.cpp allocates them."""
        if name not in self._inputs:
            self._inputs[name] = Tensor(size=size, is_input=True, backend=HOST_BACKEND, pinned=True, layout=-size)
            self.leafs.append(self._inputs[name])
        return self._inputs[name]

    def _norm(self, source: Tensor, weight: Tensor, backend: int | None) -> Tensor:
        norm = self._node(source.size, source, inplace=True)
        if backend is not None:  # graph_get_cb: a norm stays with its block where everything is offloaded
            norm.backend = backend
        return self._node(source.size, norm, weight, inplace=True, n_rows=self.shape.n_tokens)

    def _build(self, layers: Sequence[LayerPlace], output: int, *, pinned: bool) -> None:
        s = self.shape
        n = s.n_tokens
        embd_row = 4 * s.n_embd
        full_offload = output != HOST_BACKEND and all(layer.device != HOST_BACKEND for layer in layers)
        tokens = self._input("tokens", 4 * n)
        self._input("embd", embd_row * n)  # of a batch without tokens; not read
        hidden = self._node(embd_row * n, self._weight(0, HOST_BACKEND), tokens)
        hidden.backend = HOST_BACKEND
        for layer in layers:
            norm_at = layer.device if pinned and full_offload else None
            normed = self._norm(hidden, self._weight(embd_row, layer.device), norm_at)
            attended = self._attention(normed, layer)
            joined = self._node(embd_row * n, attended, hidden, inplace=True)
            post = self._norm(joined, self._weight(embd_row, layer.device), norm_at)
            hidden = self._node(embd_row * n, self._experts(post, layer), joined, inplace=True)
        hidden.is_output = True  # t_h_nextn
        picked = self._node(embd_row * s.n_outputs, hidden, self._input("out_ids", 4 * s.n_outputs))
        norm = self._node(picked.size, picked, inplace=True)
        final = self._node(norm.size, norm, self._weight(embd_row, output), inplace=True, n_rows=s.n_outputs)
        final.is_output = True  # t_embd
        self._node(4 * s.n_vocab * s.n_outputs, self._weight(0, output), final, n_rows=s.n_outputs)

    def _projection(self, source: Tensor, width: int, weight_bytes: int, device: int) -> Tensor:
        """A product with its bias."""
        n = self.shape.n_tokens
        product = self._node(4 * width * n, self._weight(weight_bytes, device), source, n_rows=n)
        return self._node(4 * width * n, product, self._weight(4 * width, device), inplace=True, n_rows=n)

    def _attention(self, normed: Tensor, layer: LayerPlace) -> Tensor:
        s = self.shape
        n = s.n_tokens
        cells, kind = (s.cells_window, "window") if layer.windowed else (s.cells_full, "full")
        wq, wk, wv, wo = s.dense_bytes
        rotated_k, rotated_v = s.rotated
        q = self._rope(self._view(self._projection(normed, s.n_q, wq, layer.device)))
        q = self._rotated(q, f"k {kind}") if rotated_k else q
        k = self._rope(self._view(self._projection(normed, s.n_k, wk, layer.device)))
        k = self._rotated(k, f"k {kind}") if rotated_k else k
        v = self._view(self._projection(normed, s.n_v, wv, layer.device))
        v = self._rotated(v, f"v {kind}") if rotated_v else v
        k_cache = Tensor(size=s.k_row_bytes * cells * s.n_stream, external=True, backend=layer.cache, pinned=True)
        v_cache = Tensor(size=s.v_row_bytes * cells * s.n_stream, external=True, backend=layer.cache, pinned=True)
        # Without flash attention V is kept transposed: each of its numbers has an index (llama_kv_cache, v_trans).
        v_idxs = 8 * n if s.flash_attn else 8 * n * s.n_v
        idxs = [self._input(f"k_idxs {kind}", 8 * n), self._input(f"v_idxs {kind}", v_idxs)]
        for source, idx, cache in ((k, idxs[0], k_cache), (v, idxs[1], v_cache)):
            store = self._node(cache.size, self._view(source), idx)
            store.view_of, store.backend, store.pinned, store.external = cache, layer.cache, True, True
            store.srcs = (*store.srcs, cache)
        mask = self._input(f"mask {kind}", (2 if s.flash_attn else 4) * n * cells)
        queries = self._view(self._view(q))
        keys = self._view(self._view(k_cache))
        values = self._view(self._view(v_cache))
        keys, values = self._cast(keys, cells, s.cast_bytes[0]), self._cast(values, cells, s.cast_bytes[1])
        if s.flash_attn:
            sinks = self._weight(4 * s.n_head, layer.device)
            scored = self._node(4 * s.n_attn * n, queries, keys, values, mask, sinks)
            scored.skip_weights = True
            merged = self._view(scored)
        else:
            scores = self._node(4 * s.n_head * cells * n, keys, queries)
            soft = self._node(scores.size, scores, mask, self._weight(4 * s.n_head, layer.device), inplace=True)
            soft.skip_weights = True
            kqv = self._node(4 * s.n_attn * n, values, soft)
            merged = self._node(4 * s.n_attn * n, self._view(kqv))
        if rotated_v:
            merged = self._rotated(merged, f"v {kind}")
        return self._projection(merged, s.n_embd, wo, layer.device)

    def _cast(self, source: Tensor, cells: int, cell_bytes: int) -> Tensor:
        return self._node(cells * self.shape.n_stream * cell_bytes, source) if cell_bytes else source

    def _rotated(self, source: Tensor, name: str) -> Tensor:
        """A Hadamard product over heads: reshaped, multiplied, reshaped back (llama_mul_mat_hadamard)."""
        view = self._view(source)
        rotation = self._input(f"rotation {name}", self.shape.rotation_bytes)
        return self._view(self._node(source.size, rotation, view))

    def _rope(self, source: Tensor) -> Tensor:
        position = self._input("position", 4 * self.shape.n_tokens)
        node = self._node(source.size, source, position, inplace=True)
        node.skip_weights = True
        return node

    def _experts(self, normed: Tensor, layer: LayerPlace) -> Tensor:
        s = self.shape
        n, used = s.n_tokens, s.n_used
        wide, back = 4 * s.n_ff * used * n, 4 * s.n_embd * used * n
        router = self._weight(4 * s.n_embd * s.n_expert, layer.device)
        logits = self._node(4 * s.n_expert * n, router, normed, n_rows=n)
        probs = self._node(logits.size, logits, self._weight(4 * s.n_expert, layer.device), inplace=True, n_rows=n)
        probs_view = self._view(probs)
        order = self._node(4 * s.n_expert * n, probs)
        topk = self._view(order, 4 * used + (n - 1) * 4 * s.n_expert)
        chosen = self._node(4 * used * n, probs_view, topk)
        soft = self._node(4 * used * n, self._view(chosen), inplace=True)
        weights = self._view(soft)
        rows = self._view(normed)
        gate = self._expert_product(rows, topk, wide, 0, layer)
        up = self._expert_product(rows, topk, wide, 1, layer)
        activated = self._node(wide, gate, up)
        down = self._expert_product(activated, topk, back, 2, layer)
        weighted = self._node(back, down, weights, inplace=True)
        parts = [self._view(weighted, back // used, layout=-1) for _ in range(used)]
        total = parts[0]
        for part in parts[1:]:
            total = self._node(4 * s.n_embd * n, total, part, inplace=True)
        return total

    def _expert_product(self, source: Tensor, topk: Tensor, size: int, which: int, layer: LayerPlace) -> Tensor:
        s, at = self.shape, layer.experts[which]
        product = self._node(size, self._weight(s.expert_bytes[which], at), source, topk, n_rows=s.n_tokens)
        bias = self._weight(s.bias_bytes[which], at)
        return self._node(size, product, bias, topk, inplace=True, n_rows=s.n_tokens * s.n_used)
