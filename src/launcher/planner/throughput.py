"""Predicted speed of one stream: bytes read per token over the bandwidth of where they lie, and compute for prompts.

Decoding is bound by memory: a token reads every dense weight, `n_expert_used` of `n_expert` experts, and the cache; on
top comes a fixed cost per block (kernel launches, barriers). Reading a prompt is bound by arithmetic, or by the experts
that have to be copied to the device first. The constants and what they rest on are in the planner's README. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.hardware.types import Cpu, Hardware
from launcher.planner.layers import layer_devices
from launcher.planner.memory import host_expert_bytes, is_swa_layer, kv_row_bytes
from launcher.planner.types import DEPTHS, HOST, Calibration, Correction, LoadParams, Rate, Throughput, Tier

DEVICE_EFFICIENCY = 0.80  # of a device's published bandwidth that decoding draws, beside the cost per block
HOST_EFFICIENCY = 0.65  # of RAM's published bandwidth
MEASURED_EFFICIENCY = 1.0  # of RAM's bandwidth as measured here: the probe reads no faster than llama.cpp does
HOST_BYTES_PER_S_PER_THREAD = 18e9  # what one core draws while it decodes MXFP4
PLAIN_LAYOUT_SLOWDOWN = 0.75  # CPU experts without repacking
BLOCK_S = {"MTL": 160e-6}  # fixed cost of a block, by ggml's backend name
DEFAULT_BLOCK_S = 75e-6
HOST_BLOCK_S = 20e-6  # a few dozen barriers of the CPU's threads
HOP_S = 60e-6  # activations from one device to the next, or to the host: a copy and a wait
_STAGING_N = 32  # GGML_OP_OFFLOAD_MIN_BATCH
PROMPT_N = 512  # tokens of the prompt that pp_ts stands for, as in llama-bench
DEVICE_FLOPS_EFFICIENCY = 0.40
LINK_BYTES_PER_S = 16e9  # host to device, for prompts whose experts lie in RAM: PCIe 4.0 with 16 lanes at half its rate
CORE_FLOPS = {"AMX_INT8": 180e9, "AVX512": 93e9, "AVX2": 55e9, "MATMUL_INT8": 80e9, "DOTPROD": 50e9}
DEFAULT_CORE_FLOPS = 20e9
PLAIN_FLOPS_SLOWDOWN = 0.6  # prompts on the CPU without repacking


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
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
    staged_bytes: int
    """Host experts that are copied to this device for every micro-batch of a prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One placement on one machine."""

    hardware: Hardware
    spec: ModelSpec
    weights: ModelWeights
    params: LoadParams
    rates: Mapping[str, Rate]
    streamed_bytes: int
    parts: tuple[_Part, ...]

    def bytes_per_s(self, name: str) -> float | None:
        """Published or measured bandwidth of a device, the host or the disk; None where unknown."""
        known = self.rates.get(name)
        return known.bandwidth.value if known is not None and known.bandwidth is not None else None


def active_bytes(spec: ModelSpec, weights: ModelWeights, params: LoadParams) -> tuple[float, float]:
    """Weight bytes read per decoded token: (on devices, on the host)."""
    parts = _parts(spec, weights, params)
    return sum(part.weight_bytes for part in parts[:-1]), parts[-1].weight_bytes


def decode_ts(
    hardware: Hardware,
    spec: ModelSpec,
    weights: ModelWeights,
    params: LoadParams,
    rates: Mapping[str, Rate],
    *,
    streamed_bytes: int = 0,
    calibration: Calibration | None = None,
) -> float | None:
    """Tokens per second of one stream at an empty context; None where a bandwidth that counts is unknown."""
    run = _Run(
        hardware=hardware,
        spec=spec,
        weights=weights,
        params=params,
        rates=rates,
        streamed_bytes=streamed_bytes,
        parts=_parts(spec, weights, params),
    )
    seconds = _decode_s(run, 0)
    known = _correction(calibration, spec, params, streamed_bytes)
    return None if seconds is None else (known.tg_factor if known else 1.0) / seconds


def predict(
    hardware: Hardware,
    spec: ModelSpec,
    weights: ModelWeights,
    params: LoadParams,
    rates: Mapping[str, Rate],
    *,
    depths: tuple[int, ...] = DEPTHS,
    streamed_bytes: int = 0,
    calibration: Calibration | None = None,
) -> tuple[Throughput, ...]:
    """Prompt and decode speed of one stream at each depth that its context holds, the first at 0.

    Args:
        hardware: the machine.
        spec: of the model.
        weights: of the file.
        params: the placement.
        rates: by device name, `CPU` for the host, `disk`.
        depths: tokens already in the context.
        streamed_bytes: of the host's weights, what is read from disk again.
        calibration: corrections by runs measured on this machine.
    """
    run = _Run(
        hardware=hardware,
        spec=spec,
        weights=weights,
        params=params,
        rates=rates,
        streamed_bytes=streamed_bytes,
        parts=_parts(spec, weights, params),
    )
    n_ctx = params.n_ctx if params.kv_unified else params.n_ctx // params.n_parallel
    known = _correction(calibration, spec, params, streamed_bytes)
    tg_factor, pp_factor = (known.tg_factor, known.pp_factor) if known else (1.0, 1.0)
    said = [known.basis] if known else []
    basis = "; ".join([*said, *_basis(run)])
    found = []
    for depth in depths:
        if depth > n_ctx:
            break
        decode_s = _decode_s(run, depth)
        prompt_s = _prompt_s(run, depth)
        found.append(
            Throughput(
                n_depth=depth,
                pp_ts=None if prompt_s is None else pp_factor * PROMPT_N / prompt_s,
                tg_ts=None if decode_s is None else tg_factor / decode_s,
                basis=basis,
            )
        )
    return tuple(found)


def tier_of(spec: ModelSpec, params: LoadParams, streamed_bytes: int = 0) -> Tier:
    """The tier that a placement is of."""
    if streamed_bytes:
        return "streamed"
    if not params.devices:
        return "cpu"
    if params.n_gpu_layers <= spec.n_layer:
        return "partial"
    return "gpu+cpu-experts" if params.n_cpu_moe or params.n_cpu_moe_tensors else "gpu"


def _correction(
    calibration: Calibration | None, spec: ModelSpec, params: LoadParams, streamed_bytes: int
) -> Correction | None:
    return None if calibration is None else calibration.of(tier_of(spec, params, streamed_bytes))


def _parts(spec: ModelSpec, weights: ModelWeights, params: LoadParams) -> tuple[_Part, ...]:
    """What each of `params.devices` and, last, the host does for one token."""
    names = (*params.devices, HOST)
    where = layer_devices(spec, params)
    row = kv_row_bytes(spec, params.type_k, params.type_v)
    share = spec.n_expert_used / spec.n_expert if spec.n_expert else 0.0
    n_bytes = [0.0] * len(names)
    full, window, blocks, staged = ([0] * len(names) for _ in range(4))
    host = len(names) - 1
    for i, layer in enumerate(weights.layers):
        at = host if (found := where[i]) is None else found
        kept = layer.expert_bytes if at == host else host_expert_bytes(layer, i, params)
        n_bytes[at] += layer.dense_bytes + (layer.expert_bytes - kept) * share
        n_bytes[host] += kept * share
        blocks[at] += 1
        if at != host:
            staged[at] += kept
            blocks[host] += 1 if kept else 0
        cache = at if params.offload_kqv else host
        (window if is_swa_layer(spec, i) else full)[cache] += row
    # Tied embeddings are read whole as the output matrix.
    head = weights.output_bytes or weights.token_embd_bytes
    n_bytes[host if where[-1] is None else where[-1]] += head
    total = sum(n_bytes) or 1.0
    n_active = _active_params(spec, weights)
    return tuple(
        _Part(
            name=name,
            weight_bytes=n_bytes[i],
            kv_full_bytes=full[i],
            kv_window_bytes=window[i],
            n_blocks=blocks[i],
            n_params=n_active * n_bytes[i] / total,
            staged_bytes=staged[i],
        )
        for i, name in enumerate(names)
    )


def _active_params(spec: ModelSpec, weights: ModelWeights) -> float:
    """Weights that one token is multiplied with; the embedding row is only looked up."""
    experts = 3.0 * spec.n_expert * spec.n_ff_exp * spec.n_embd * spec.n_layer
    share = spec.n_expert_used / spec.n_expert if spec.n_expert else 0.0
    lookup = spec.n_vocab * spec.n_embd if weights.output_bytes else 0
    return max(0.0, weights.n_params - experts - lookup) + experts * share


def _decode_s(run: _Run, depth: int) -> float | None:
    """Seconds of one token with `depth` tokens in the context."""
    backends = {device.name: device.backend for device in run.hardware.devices}
    seconds = HOP_S * _hops(run.spec, run.params)
    for part in run.parts:
        n_bytes = part.weight_bytes + part.kv_full_bytes * depth + part.kv_window_bytes * min(depth, run.spec.n_swa)
        if not n_bytes:
            continue
        bandwidth = run.bytes_per_s(part.name)
        if bandwidth is None:
            return None
        if part.name == HOST:
            seconds += part.n_blocks * HOST_BLOCK_S + n_bytes / _host_bytes_per_s(run.rates[HOST], run.params)
        else:
            block_s = BLOCK_S.get(backends.get(part.name, ""), DEFAULT_BLOCK_S)
            seconds += part.n_blocks * block_s + n_bytes / (bandwidth * DEVICE_EFFICIENCY)
    if run.streamed_bytes:
        disk = run.bytes_per_s("disk")
        if disk is None:
            return None
        # Of the host's weights a token reads the active share; as much of it is on the disk as of the whole.
        share = run.parts[-1].weight_bytes / max(1, run.weights.total_bytes)
        seconds += run.streamed_bytes * share / disk
    return seconds


def _host_bytes_per_s(known: Rate, params: LoadParams) -> float:
    """What the CPU draws from RAM: few cores cannot draw all of it; an offloaded plan keeps experts plain."""
    bandwidth = known.bandwidth.value if known.bandwidth is not None else 0.0
    bandwidth *= MEASURED_EFFICIENCY if known.measured else HOST_EFFICIENCY
    drawn = min(bandwidth, params.n_threads * HOST_BYTES_PER_S_PER_THREAD)
    return drawn * (PLAIN_LAYOUT_SLOWDOWN if not params.repack or params.devices else 1.0)


def _hops(spec: ModelSpec, params: LoadParams) -> int:
    """How often a token's activations go from one memory to another."""
    return _hops_of(layer_devices(spec, params), params.n_cpu_moe + (params.n_cpu_moe_tensors > 0))


@lru_cache(maxsize=4096)
def _hops_of(where: tuple[int | None, ...], n_expert_blocks: int) -> int:
    hops = sum(1 for before, after in zip((None, *where), where, strict=False) if before != after)
    # An offloaded block whose experts are on the host goes there and back.
    return hops + 2 * sum(1 for device in where[:n_expert_blocks] if device is not None)


def _prompt_s(run: _Run, depth: int) -> float | None:
    """Seconds of a prompt of `PROMPT_N` tokens behind `depth` tokens."""
    params, host = run.params, run.parts[-1]
    n_batches = -(-PROMPT_N // params.n_ubatch)
    attention = _attention_flops(run.spec, depth) / (sum(part.kv_full_bytes for part in run.parts) or 1)
    # llama.cpp copies host experts to the device for micro-batches of 32 tokens and more (op_offload).
    staged = sum(part.staged_bytes for part in run.parts) if params.op_offload and params.n_ubatch >= _STAGING_N else 0
    seconds = 0.0
    for part in run.parts[:-1]:
        known = run.rates.get(part.name)
        if known is None or known.flops is None:
            return None
        moved = host.n_params * part.staged_bytes / staged if staged else 0.0
        flops = PROMPT_N * (2 * (part.n_params + moved) + attention * part.kv_full_bytes)
        seconds += flops / (known.flops.value * DEVICE_FLOPS_EFFICIENCY)
        seconds += n_batches * part.staged_bytes / LINK_BYTES_PER_S if staged else 0.0
    if host.n_params and not staged:
        plain = not params.repack or bool(params.devices)
        per_s = params.n_threads_batch * core_flops(run.hardware.cpu) * (PLAIN_FLOPS_SLOWDOWN if plain else 1.0)
        seconds += PROMPT_N * (2 * host.n_params + attention * host.kv_full_bytes) / per_s
    if run.streamed_bytes:
        disk = run.bytes_per_s("disk")
        if disk is None:
            return None
        seconds += n_batches * run.streamed_bytes / disk
    return seconds or None


def _attention_flops(spec: ModelSpec, depth: int) -> float:
    """Multiplications and additions of one token's attention over all blocks: q by k, and scores by v."""
    mean = depth + PROMPT_N / 2
    cells = sum(min(mean, spec.n_swa) if is_swa_layer(spec, i) else mean for i in range(spec.n_layer))
    return 2.0 * cells * spec.n_head * (spec.n_embd_head_k + spec.n_embd_head_v)


def core_flops(cpu: Cpu) -> float:
    """Operations per second that one core does on quantized products, by its widest instruction set."""
    return next((flops for name, flops in CORE_FLOPS.items() if name in cpu.isa), DEFAULT_CORE_FLOPS)


def _basis(run: _Run) -> Iterator[str]:
    """Where the figures come from, a clause for each device that counts."""
    names = [part.name for part in run.parts if part.weight_bytes] + (["disk"] if run.streamed_bytes else [])
    for name in names:
        known = run.rates.get(name)
        yield f"{name} {known.bandwidth.basis if known is not None and known.bandwidth is not None else 'not known'}"
    if run.parts[-1].weight_bytes:
        cpu = run.hardware.cpu
        yield f"{run.params.n_threads} of {cpu.n_physical or cpu.n_logical} cores"
