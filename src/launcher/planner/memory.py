"""How many bytes a placement takes, per device, the way llama.cpp allocates them. Pure.

Sources are functions of llama.cpp at the commit that llama-cpp-python 0.3.36 vendors (0c1e57098).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from launcher.catalogue.types import LayerWeights, ModelSpec, ModelWeights
from launcher.planner.layers import layer_devices
from launcher.planner.types import KvType, LoadParams

# ggml-common.h: bytes of a block over its elements.
_KV_BYTES: dict[KvType, tuple[int, int]] = {
    "f32": (4, 1),
    "f16": (2, 1),
    "bf16": (2, 1),
    "q8_0": (34, 32),
    "q5_1": (24, 32),
    "q5_0": (22, 32),
    "q4_1": (20, 32),
    "q4_0": (18, 32),
    "iq4_nl": (18, 32),
}

_PAD = 256  # llama_context: n_ctx and the KV cells are padded to 256


def pad(n: int, to: int = _PAD) -> int:
    """GGML_PAD: `n` rounded up to a multiple of `to`."""
    return -(-n // to) * to


@dataclass(frozen=True, kw_only=True, slots=True)
class KvCells:
    """Cells of the two halves of the KV cache, per stream."""

    full: int
    swa: int
    n_stream: int


def kv_cells(spec: ModelSpec, params: LoadParams) -> KvCells:
    """Cells that llama.cpp allocates (llama_context constructor; llama_kv_cache_iswa constructor).

    unified: one stream of n_ctx cells; else n_parallel streams of n_ctx / n_parallel. The window half holds
    `n_swa * (unified ? n_parallel : 1) + n_ubatch` cells, padded, unless `swa_full`.
    """
    n_ctx = pad(params.n_ctx)
    per_sequence = n_ctx if params.kv_unified else pad(n_ctx // params.n_parallel)
    n_stream = 1 if params.kv_unified else params.n_parallel
    if params.swa_full or spec.n_swa == 0:
        return KvCells(full=per_sequence, swa=per_sequence, n_stream=n_stream)
    window = spec.n_swa * (params.n_parallel if params.kv_unified else 1) + params.n_ubatch
    return KvCells(full=per_sequence, swa=pad(min(per_sequence, window)), n_stream=n_stream)


def is_swa_layer(spec: ModelSpec, layer: int) -> bool:
    """Whether block `layer` sees only the window (llama_hparams::set_swa_pattern)."""
    return spec.n_swa > 0 and layer % spec.swa_pattern < spec.swa_pattern - 1


def kv_layer_bytes(spec: ModelSpec, params: LoadParams) -> tuple[int, ...]:
    """KV cache bytes of each block: n_stream x cells x (n_embd_k_gqa x b(type_k) + n_embd_v_gqa x b(type_v)).

    llama_kv_cache constructor; n_embd_k_gqa = n_embd_head_k x n_head_kv. Exact against llama.cpp's log.
    """
    return _kv_layer_bytes(spec, kv_cells(spec, params), params.type_k, params.type_v)


@lru_cache(maxsize=1024)
def _kv_layer_bytes(spec: ModelSpec, cells: KvCells, type_k: KvType, type_v: KvType) -> tuple[int, ...]:
    row = kv_row_bytes(spec, type_k, type_v)
    full, window = cells.n_stream * cells.full * row, cells.n_stream * cells.swa * row
    return tuple(window if is_swa_layer(spec, i) else full for i in range(spec.n_layer))


def kv_row_bytes(spec: ModelSpec, type_k: KvType, type_v: KvType) -> int:
    """Bytes of one token in one block's cache: n_embd_k_gqa x b(type_k) + n_embd_v_gqa x b(type_v)."""
    return kv_part_bytes(spec, type_k) + kv_part_bytes(spec, type_v, of_v=True)


def kv_part_bytes(spec: ModelSpec, kv_type: KvType, *, of_v: bool = False) -> int:
    """Bytes of one token in one block's K cache, or in its V cache."""
    n_bytes, block = _KV_BYTES[kv_type]
    return (spec.n_embd_head_v if of_v else spec.n_embd_head_k) * spec.n_head_kv * n_bytes // block


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSplit:
    """Where the weights of a placement lie, in bytes."""

    device_bytes: tuple[int, ...]
    """On each of `LoadParams.devices`."""
    host_bytes: int
    """Host tensors, without the repacked copy."""
    repack_bytes: int
    """Of host tensors, what the CPU backend keeps in its own layout: a second copy under mmap, else the only one."""
    unmapped_copy_bytes: int
    """Of `repack_bytes`, what is a second copy without mmap too: tied embeddings, whose plain rows are looked up."""


def host_expert_bytes(layer: LayerWeights, index: int, params: LoadParams) -> int:
    """Of an offloaded block's experts, the bytes that stay on the host (`--n-cpu-moe`, `--override-tensor`)."""
    if index < params.n_cpu_moe:
        return layer.expert_bytes
    if index > params.n_cpu_moe or params.n_cpu_moe_tensors == 0:
        return 0
    return layer.expert_down_bytes + (layer.expert_gate_bytes if params.n_cpu_moe_tensors > 1 else 0)


def split_weights(spec: ModelSpec, weights: ModelWeights, params: LoadParams) -> ModelSplit:
    """Place every tensor as the loader does (llama_model::load_tensors, `tensor_buft_overrides` of --n-cpu-moe).

    Embeddings stay on the host; a block's tensors follow its device; experts of the first `n_cpu_moe` blocks go to the
    host. With a GPU, host tensors sit in its pinned or the plain CPU buffer, never repacked. Where the output is tied
    to the embeddings, an offloaded one is a copy of them (llama_model_loader::create_tensor, TENSOR_DUPLICATED).
    """
    where = layer_devices(spec, params)
    devices = [0] * len(params.devices)
    host = weights.token_embd_bytes
    repack = 0
    tied = weights.output_bytes == 0
    output = where[spec.n_layer]
    if output is not None:
        devices[output] += (weights.token_embd_bytes if tied else weights.output_bytes) + weights.output_norm_bytes
    else:
        host += weights.output_bytes + weights.output_norm_bytes
        repack += weights.output_repack_bytes
    for i, layer in enumerate(weights.layers):
        device = where[i]
        if device is None:
            host += layer.dense_bytes + layer.expert_bytes
            repack += layer.repack_bytes
        else:
            kept = host_expert_bytes(layer, i, params)
            host += kept
            devices[device] += layer.dense_bytes + layer.expert_bytes - kept
    use_repack = params.repack and not params.devices
    return ModelSplit(
        device_bytes=tuple(devices),
        host_bytes=host,
        repack_bytes=repack if use_repack else 0,
        unmapped_copy_bytes=weights.output_repack_bytes if use_repack and tied else 0,
    )


def split_context(spec: ModelSpec, params: LoadParams) -> tuple[int, ...]:
    """KV cache bytes on each of `LoadParams.devices`, then on the host (llama_kv_cache constructor, `offload_kqv`)."""
    parts = [0] * (len(params.devices) + 1)
    for device, n_bytes in zip(layer_devices(spec, params), kv_layer_bytes(spec, params), strict=False):
        parts[device if device is not None and params.offload_kqv else -1] += n_bytes
    return tuple(parts)


_GRAPH_INPUT_BYTES = 40  # per token: id, position, cell indices of both KV halves, output rows


def compute_bytes(spec: ModelSpec, params: LoadParams) -> int:
    """Compute buffer of the worst graph (a whole micro-batch) on the CPU, in bytes.

    What ggml_backend_sched reserves is the peak of live activations (n_tokens = n_ubatch, 4-byte floats):

    - in a block's experts: gate, up and product, n_expert_used x n_ff_exp each, three rows of n_embd, one of q;
    - or at the output: n_outputs_max rows of n_vocab logits, three rows of n_embd;

    and beside either the f16 masks [cells, n_tokens] of both KV halves. Without flash attention the masks are in f32,
    scores are f32 [cells, n_tokens, n_head], and V, kept transposed, has i64 indices [n_embd_v_gqa, n_tokens] for each
    half; the sum is a bound then. Read off llama.cpp's log at n_ubatch 32 to 2048 and n_ctx 4K to 128K: within 0.3 %.
    """
    cells = kv_cells(spec, params)
    mask_cells = cells.full + (cells.swa if spec.n_layer_swa else 0)
    hidden = 3 * spec.n_expert_used * spec.n_ff_exp if spec.n_expert else 3 * spec.n_ff
    block_row = 4 * (hidden + 3 * spec.n_embd + spec.n_head * spec.n_embd_head_k)
    block = params.n_ubatch * block_row
    output = 4 * (params.n_outputs_max * spec.n_vocab + params.n_ubatch * 3 * spec.n_embd)
    per_token = 2 * mask_cells + _GRAPH_INPUT_BYTES
    if not params.flash_attn:
        indices = 8 * spec.n_head_kv * spec.n_embd_head_v * (2 if spec.n_layer_swa else 1)
        per_token += 2 * mask_cells + 4 * spec.n_head * cells.full + indices
    return max(block, output) + params.n_ubatch * per_token
