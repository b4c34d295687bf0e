"""What a token or a prompt makes the machine do: bytes, operations and blocks, by the terms of `costs`. Pure.

Decoding is bound by memory: a token reads every dense weight, `n_expert_used` of `n_expert` experts, and the cache; on
top comes a fixed cost per block (kernel launches, barriers). Few CPU threads are bound by what each of them draws or
multiplies. Reading a prompt is bound by arithmetic, or by the experts that have to be copied to the device first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.planner import costs
from launcher.planner.layers import layer_devices
from launcher.planner.memory import host_expert_bytes, is_swa_layer, kv_row_bytes
from launcher.planner.types import HOST, Cost, LoadParams, Step, Work

_STAGING_N = 32  # GGML_OP_OFFLOAD_MIN_BATCH


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The output matrix, where it is."""

    n_bytes: float = 0.0
    n_params: float = 0.0
    n_plain_params: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one device, or the host, does for a token."""

    name: str
    weight_bytes: float
    kv_full_bytes: int
    """Cache bytes read per token of depth, in blocks that see the whole context."""
    kv_window_bytes: int
    """The same in blocks that see a window."""
    n_blocks: int
    n_params: float
    """Active weights of a token."""
    n_plain_params: float
    """Of these, on the host: those in the file's layout."""
    head: Head
    """Of all this, the output matrix: a prompt needs it for its last token alone."""
    whole_bytes: int
    """Weights with all experts."""
    staged_bytes: int
    """Host experts that are copied to this device for every micro-batch of a prompt."""


def parts_of(spec: ModelSpec, weights: ModelWeights, params: LoadParams) -> tuple[Part, ...]:
    """What each of `params.devices` and, last, the host does for one token."""
    names = (*params.devices, HOST)
    n = len(names)
    where, host = layer_devices(spec, params), n - 1
    row = kv_row_bytes(spec, params.type_k, params.type_v)
    dense, experts, full, window, blocks, staged = ([0] * n for _ in range(6))
    for i, layer in enumerate(weights.layers):
        at = host if (found := where[i]) is None else found
        dense[at] += layer.dense_bytes
        blocks[at] += 1
        if at == host:
            experts[host] += layer.expert_bytes
        else:
            kept = host_expert_bytes(layer, i, params)
            experts[at] += layer.expert_bytes - kept
            experts[host] += kept
            staged[at] += kept
            blocks[host] += 1 if kept else 0
        (window if is_swa_layer(spec, i) else full)[at if params.offload_kqv else host] += row
    at_head = host if where[-1] is None else where[-1]
    # Beside a device, llama.cpp keeps host weights in the file's layout.
    repacked = _repacked(weights) if params.repack and not params.devices else (0, 0, 0)
    return tuple(
        _part(
            name,
            (dense[i], experts[i], _head_bytes(weights) if i == at_head else 0),
            repacked,
            weights=weights,
            share=spec.n_expert_used / spec.n_expert if spec.n_expert else 0.0,
            counts=(full[i], window[i], blocks[i], staged[i]),
        )
        for i, name in enumerate(names)
    )


_ByKind = tuple[int, int, int]
"""Bytes of dense weights, of experts, of the output matrix."""


def _part(
    name: str,
    n_bytes: _ByKind,
    repacked: _ByKind,
    *,
    weights: ModelWeights,
    share: float,
    counts: tuple[int, int, int, int],
) -> Part:
    """Of experts a token reads `share`."""
    dense_bits = weights.dense_bpw
    expert_bits = weights.expert_bpw or dense_bits
    dense, experts, head = n_bytes
    plain_dense, plain_experts, plain_head = (whole - other for whole, other in zip(n_bytes, repacked, strict=True))
    full, window, blocks, staged = counts
    return Part(
        name=name,
        weight_bytes=dense + head + experts * share,
        kv_full_bytes=full,
        kv_window_bytes=window,
        n_blocks=blocks,
        n_params=_n_params(dense + head, dense_bits) + share * _n_params(experts, expert_bits),
        n_plain_params=_n_params(plain_dense + plain_head, dense_bits) + share * _n_params(plain_experts, expert_bits),
        head=Head(n_bytes=head, n_params=_n_params(head, dense_bits), n_plain_params=_n_params(plain_head, dense_bits)),
        whole_bytes=dense + experts + head,
        staged_bytes=staged,
    )


def _n_params(n_bytes: int, bits: float) -> float:
    return 8 * n_bytes / bits if bits else 0.0


def _head_bytes(weights: ModelWeights) -> int:
    """Tied embeddings are read whole as the output matrix."""
    return weights.output_bytes or weights.token_embd_bytes


def _repacked(weights: ModelWeights) -> _ByKind:
    """What is in another layout than the file's; of a block the experts are taken first."""
    dense = experts = 0
    for layer in weights.layers:
        of_experts = min(layer.repack_bytes, layer.expert_bytes)
        experts += of_experts
        dense += min(layer.repack_bytes - of_experts, layer.dense_bytes)
    return dense, experts, min(weights.output_repack_bytes, _head_bytes(weights))


def decode_work(
    spec: ModelSpec,
    weights: ModelWeights,
    params: LoadParams,
    depth: float,
    *,
    streamed_bytes: int = 0,
    parts: tuple[Part, ...] | None = None,
) -> Work:
    """One token with `depth` tokens in the context. `parts` where they are known: most of the time goes there."""
    parts = parts or parts_of(spec, weights, params)
    # Operations for each byte of the cache: every head of a query looks at the rows that its group shares.
    row_bytes = kv_row_bytes(spec, params.type_k, params.type_v)
    attention = _cell_ops(spec) / row_bytes if row_bytes else 0.0
    steps: list[Step] = [_one((costs.HOP, float(_hops(spec, params))))]
    for part in parts:
        cached = part.kv_full_bytes * depth + part.kv_window_bytes * min(depth, spec.n_swa)
        if not part.weight_bytes + cached:
            continue
        if part.name == HOST:
            ops = attention * (part.kv_full_bytes * depth + part.kv_window_bytes * min(depth, spec.n_swa))
            steps.append(_host_reads(part, params))
            steps.append((((costs.RAM, cached),), ((costs.ATTEND, ops / params.n_threads),)))
            steps.append(_one((costs.BLOCK, float(part.n_blocks))))
        else:
            steps.append(_one((costs.device_term(part.name, "memory"), part.weight_bytes + cached)))
            steps.append(_one((costs.device_term(part.name, "block"), float(part.n_blocks))))
    if streamed_bytes:
        # Of the host's weights a token reads the active share; as much of it is on the disk as of the whole.
        steps.append(_one((costs.DISK, streamed_bytes * parts[-1].weight_bytes / max(1, weights.total_bytes))))
    return _used(steps)


def _host_reads(part: Part | Head, params: LoadParams, n_times: int = 1) -> Step:
    """Few cores cannot draw all that RAM gives, nor multiply as fast as they could draw."""
    n_bytes = part.weight_bytes if isinstance(part, Part) else part.n_bytes
    n = params.n_threads / n_times
    plain_slows = costs.PLAIN_LAYOUT_SLOWDOWN if not params.repack or params.devices else 1.0
    n_repacked = part.n_params - part.n_plain_params
    return (
        ((costs.RAM, n_times * n_bytes / plain_slows),),
        ((costs.DRAW, n_bytes / n),),
        ((costs.DECODE, 2 * n_repacked / n), (costs.DECODE_PLAIN, 2 * part.n_plain_params / n)),
    )


def prompt_work(
    spec: ModelSpec,
    weights: ModelWeights,
    params: LoadParams,
    n_prompt: int,
    depth: int,
    *,
    streamed_bytes: int = 0,
    parts: tuple[Part, ...] | None = None,
) -> Work:
    """A prompt of `n_prompt` tokens behind `depth` tokens. `parts` as in `decode_work`."""
    parts = parts or parts_of(spec, weights, params)
    host = parts[-1]
    n_ubatch = min(n_prompt, params.n_ubatch)
    n_batches = -(-n_prompt // params.n_ubatch)
    attention = _attention_ops(spec, n_prompt, depth) / (sum(part.kv_full_bytes for part in parts) or 1)
    n_hosted = host.n_params - host.head.n_params
    # llama.cpp copies host experts to the device for micro-batches of 32 tokens and more (op_offload).
    staged = sum(part.staged_bytes for part in parts) if params.op_offload and n_ubatch >= _STAGING_N else 0
    steps: list[Step] = []
    for part in parts[:-1]:
        moved = n_hosted * part.staged_bytes / staged if staged else 0.0
        ops = n_prompt * (2 * (part.n_params - part.head.n_params + moved) + attention * part.kv_full_bytes)
        read = n_batches * _touched_bytes(spec, part, n_ubatch)
        steps.append(
            (
                ((costs.device_term(part.name, "product"), ops),),
                ((costs.device_term(part.name, "memory"), read),),
            )
        )
        steps.append(_one((costs.device_term(part.name, "block"), float(n_batches * part.n_blocks))))
        if staged:
            steps.append(_one((costs.LINK, float(n_batches * part.staged_bytes))))
    if host.n_params and not staged:
        steps += _host_prompt(spec, host, params, n_prompt, attention)
    if streamed_bytes:
        steps.append(_one((costs.DISK, float(n_batches * streamed_bytes))))
    return _used(steps)


def _host_prompt(spec: ModelSpec, host: Part, params: LoadParams, n_prompt: int, attention: float) -> list[Step]:
    n, n_batches = params.n_threads_batch, -(-n_prompt // params.n_ubatch)
    ops = 2 * n_prompt / n
    n_plain = host.n_plain_params - host.head.n_plain_params
    n_repacked = host.n_params - host.head.n_params - n_plain
    products: Cost = (costs.PRODUCT, ops * n_repacked)
    plain: Cost = (costs.PRODUCT_PLAIN, ops * n_plain)
    read = n_batches * _touched_bytes(spec, host, min(n_prompt, params.n_ubatch))
    return [
        ((products, plain), ((costs.RAM, read),)),
        _one((costs.ATTENTION, n_prompt * attention * host.kv_full_bytes / n)),
        # Logits of the last token of each batch.
        _host_reads(host.head, replace(params, n_threads=n), n_times=-(-n_prompt // params.n_batch)),
        _one((costs.BLOCK, float(n_batches * host.n_blocks))),
        _one((costs.TOKEN_BLOCK, n_prompt * host.n_blocks / n)),
    ]


def _touched_bytes(spec: ModelSpec, part: Part, n_tokens: int) -> float:
    """Weights that a micro-batch reads: every dense one, and the experts that at least one of its tokens asks for."""
    if not spec.n_expert or part.whole_bytes <= part.weight_bytes:
        return part.weight_bytes
    share = spec.n_expert_used / spec.n_expert
    if share >= 1:
        return part.weight_bytes
    experts = (part.whole_bytes - part.weight_bytes) / (1 - share)
    return part.weight_bytes + experts * (1 - share - (1 - share) ** n_tokens)


def _attention_ops(spec: ModelSpec, n_prompt: int, depth: int) -> float:
    """Multiplications and additions of one token's attention over all blocks: q by k, and scores by v."""
    mean = depth + n_prompt / 2
    cells = sum(min(mean, spec.n_swa) if is_swa_layer(spec, i) else mean for i in range(spec.n_layer))
    return cells * _cell_ops(spec)


def _cell_ops(spec: ModelSpec) -> float:
    """Of one cell in one block, for one token."""
    return 2.0 * spec.n_head * (spec.n_embd_head_k + spec.n_embd_head_v)


def _hops(spec: ModelSpec, params: LoadParams) -> int:
    """How often a token's activations go from one memory to another."""
    return _hops_of(layer_devices(spec, params), params.n_cpu_moe + (params.n_cpu_moe_tensors > 0))


@lru_cache(maxsize=4096)
def _hops_of(where: tuple[int | None, ...], n_expert_blocks: int) -> int:
    hops = sum(1 for before, after in zip((None, *where), where, strict=False) if before != after)
    # An offloaded block whose experts are on the host goes there and back.
    return hops + 2 * sum(1 for device in where[:n_expert_blocks] if device is not None)


def _one(*together: Cost) -> Step:
    return (together,)


def _used(steps: list[Step]) -> Work:
    """Without what costs nothing."""
    found = (tuple(tuple(cost for cost in way if cost[1] > 0) for way in step) for step in steps)
    return tuple(kept for step in found if (kept := tuple(way for way in step if way)))
