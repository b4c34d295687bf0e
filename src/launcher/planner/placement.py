"""Ways to place one model on one machine, fastest first, and the memory table of each. Pure.

One GPU or the CPU alone: of several GPUs the one with the most free memory is used.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.errors import UsageError
from launcher.hardware.types import Device, Hardware
from launcher.planner.memory import compute_bytes, first_on_gpu, kv_layer_bytes, split_weights
from launcher.planner.types import DeviceMemory, LoadMode, LoadParams, PlanRequest, Tier
from launcher.units import MIB

# Headroom: what a plan leaves untouched of what is available now, so that the machine stays usable.
_HOST_HEADROOM_MIN_BYTES = 512 * MIB
_HOST_HEADROOM_PART = 0.04
_DEVICE_HEADROOM_BYTES = 512 * MIB
# CUDA context, cuBLAS workspace and the driver's own; taken after `free` was read. A common size, not measured here.
_DEVICE_OVERHEAD_BYTES = 400 * MIB
# Interpreter, launcher and engine libraries' data, anonymous; and llama.cpp's vocabulary (token texts, hash maps,
# merges), per token. Both measured with the 20b's 201,088 tokens and 446,189 merges by scripts/measure_memory.py.
_HOST_PROCESS_BYTES = 48 * MIB
_VOCAB_BYTES_PER_TOKEN = 320

_ONE_THREAD_BYTES = 16 * MIB  # a core reads this in a millisecond, a few hundred barriers of a graph take as long

_TIERS: tuple[Tier, ...] = ("gpu", "gpu+cpu-experts", "partial", "cpu", "streamed")  # fastest first

N_BATCH = 2048  # llama.cpp's default
N_UBATCH = 512  # llama.cpp's default: larger ones pay on GPUs for long prompts, and cost window cells and compute


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """One way to load a file here: its parameters and what they take."""

    tier: Tier
    params: LoadParams
    memory: tuple[DeviceMemory, ...]

    @property
    def fits(self) -> bool:
        """Whether every device and the host hold it."""
        return all(row.fits for row in self.memory)

    @property
    def speed_rank(self) -> tuple[int, int, int]:
        """Smaller is faster: tier and CPU layout, then experts or layers off the GPU. For placements of one model."""
        tier, plain = self.tier_rank
        return tier, plain, self.params.n_cpu_moe - self.params.n_gpu_layers

    @property
    def tier_rank(self) -> tuple[int, int]:
        """Smaller is faster: tier, then the plain CPU layout. Comparable between models, as `speed_rank` is not."""
        return _TIERS.index(self.tier), int(self.tier == "cpu" and not self.params.repack)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is to be placed, where, and with what wishes."""

    hardware: Hardware
    spec: ModelSpec
    weights: ModelWeights
    request: PlanRequest


def chosen_device(hardware: Hardware) -> Device | None:
    """The GPU that a plan uses: the one with the most free memory; integrated ones only if there is no other."""
    gpus = [d for d in hardware.devices if d.kind == "gpu"] or [d for d in hardware.devices if d.kind == "igpu"]
    return max(gpus, key=lambda d: d.free_bytes, default=None)


def placements(case: Case, n_ctx: int) -> Iterator[Placement]:
    """Every placement at `n_ctx`, fastest first, fitting or not. What the request pins is kept.

    Raises:
        UsageError: the request puts something on a GPU that is not there, or that it forbids.
    """
    device = _device_to_use(case)
    if device is not None:
        for step in _gpu_steps(case):
            yield _gpu_placement(case, device, n_ctx, step)
    yield from _cpu_placements(case, n_ctx)


def first_fit(case: Case, n_ctx: int) -> Placement | None:
    """The first of `placements` that fits, without trying them all.

    From the second GPU step on, each moves bytes from the device to the host. So of those that the device holds only
    the first can be the fastest that fits, and if its host part is too large, so is that of every later one.

    Raises:
        UsageError: as `placements`.
    """
    device = _device_to_use(case)
    if device is not None:
        steps = _gpu_steps(case)
        found = _gpu_placement(case, device, n_ctx, steps[0])
        if not found.fits and len(steps) > 1:
            i = bisect_left(
                range(1, len(steps) - 1),
                True,  # noqa: FBT003  # False sorts before True: too large for the device before small enough
                key=lambda i: _gpu_placement(case, device, n_ctx, steps[i]).memory[0].fits,
            )
            found = _gpu_placement(case, device, n_ctx, steps[i + 1])
        if found.fits:
            return found
    return next((p for p in _cpu_placements(case, n_ctx) if p.fits), None)


def with_n_ctx(case: Case, placement: Placement, n_ctx: int) -> Placement | None:
    """The same placement with another context, where that fits; on the CPU it may have to do without mmap."""
    params = placement.params
    device = chosen_device(case.hardware) if params.devices else None
    if device is not None:
        options: Iterable[Placement] = (_gpu_placement(case, device, n_ctx, (params.n_gpu_layers, params.n_cpu_moe)),)
    else:
        options = (p for p in _cpu_placements(case, n_ctx) if p.params.repack == params.repack)
    return next((p for p in options if p.fits), None)


def _device_to_use(case: Case) -> Device | None:
    """The GPU, unless there is none or the request leaves it out."""
    request = case.request
    device = chosen_device(case.hardware)
    if request.n_gpu_layers == 0 and request.n_cpu_moe:
        raise UsageError(
            f"--n-cpu-moe {request.n_cpu_moe} keeps experts off the GPU, and --n-gpu-layers 0 leaves nothing on it",
            hint="gpt-oss plan --n-gpu-layers 0 --n-cpu-moe 0",
        )
    if device is None and (request.n_gpu_layers or request.n_cpu_moe):
        raise UsageError(
            "n_gpu_layers and n_cpu_moe are for a GPU, and this engine has none",
            hint="gpt-oss hardware",
        )
    return None if request.n_gpu_layers == 0 else device


def _gpu_steps(case: Case) -> list[tuple[int, int]]:
    """Pairs (n_gpu_layers, n_cpu_moe), fastest first.

    Blocks leave the GPU only after all experts have: they free at least fifteen times what a block's rest does.
    """
    spec, request = case.spec, case.request
    every = spec.n_layer + 1
    n_moe = spec.n_layer if spec.n_expert else 0
    if request.n_gpu_layers is not None:
        n_gpu_layers = min(request.n_gpu_layers, every)
        # n_cpu_moe counts from the first block, which is the first to be off the GPU: below `off` it changes nothing.
        off = every - n_gpu_layers
        moe_counts = (0, *range(off + 1, n_moe + 1)) if request.n_cpu_moe is None else (min(request.n_cpu_moe, n_moe),)
        return [(n_gpu_layers, n_cpu_moe) for n_cpu_moe in moe_counts]
    if request.n_cpu_moe is not None:
        return [(n_gpu_layers, min(request.n_cpu_moe, n_moe)) for n_gpu_layers in range(every, 0, -1)]
    return [(every, n_cpu_moe) for n_cpu_moe in range(n_moe + 1)] + [(n, n_moe) for n in range(every - 1, 0, -1)]


def _gpu_placement(case: Case, device: Device, n_ctx: int, step: tuple[int, int]) -> Placement:
    n_gpu_layers, n_cpu_moe = step
    params = replace(
        _params(case, n_ctx, load_mode=case.request.load_mode or "mmap", repack=False),
        n_gpu_layers=n_gpu_layers,
        n_cpu_moe=n_cpu_moe,
        devices=(device.name,),
        offload_kqv=True,
    )
    tier: Tier = "partial" if n_gpu_layers <= case.spec.n_layer else "gpu+cpu-experts" if n_cpu_moe else "gpu"
    return place(tier, case, params)


def _cpu_placements(case: Case, n_ctx: int) -> Iterator[Placement]:
    """On the CPU alone, unless the request puts something on the GPU."""
    request = case.request
    if request.n_gpu_layers or request.n_cpu_moe:
        return
    for repack in (True, False) if request.repack is None else (request.repack,):
        for load_mode in _load_modes(request, repack=repack):
            yield place("cpu", case, _params(case, n_ctx, load_mode=load_mode, repack=repack))


def _load_modes(request: PlanRequest, *, repack: bool) -> tuple[LoadMode, ...]:
    """Prefer mmap: it starts sooner and shares the page cache. `none` saves the mapped copy of repacked weights."""
    if request.load_mode is not None:
        return (request.load_mode,)
    return ("mmap", "none") if repack else ("mmap",)


def _params(case: Case, n_ctx: int, *, load_mode: LoadMode, repack: bool) -> LoadParams:
    request = case.request
    n_threads = request.n_threads or _n_threads(case)
    n_ubatch = min(request.n_ubatch or N_UBATCH, n_ctx)
    type_k = request.type_k or "f16"
    return LoadParams(
        n_gpu_layers=0,
        n_cpu_moe=0,
        n_ctx=n_ctx,
        n_batch=min(max(N_BATCH, n_ubatch), n_ctx),
        n_ubatch=n_ubatch,
        n_parallel=request.n_parallel,
        n_threads=n_threads,
        n_threads_batch=n_threads,
        type_k=type_k,
        type_v=request.type_v or "f16",
        flash_attn=True,
        offload_kqv=False,
        swa_full=False,
        kv_unified=False,
        n_outputs_max=request.n_parallel,
        load_mode=load_mode,
        repack=repack,
        devices=(),
    )


def _n_threads(case: Case) -> int:
    """All physical cores; one where a token's work is so small that waking the others takes longer."""
    return 1 if case.weights.total_bytes < _ONE_THREAD_BYTES else case.hardware.cpu.n_threads


def place(tier: Tier, case: Case, params: LoadParams) -> Placement:
    """The memory table of these parameters on this machine: the GPU's row if one is used, then the host's."""
    hardware, spec, weights = case.hardware, case.spec, case.weights
    split = split_weights(spec, weights, params)
    kv = kv_layer_bytes(spec, params)
    compute = compute_bytes(spec, params)
    rows = []
    kv_device = 0
    device = next((d for d in hardware.devices if params.devices and d.name == params.devices[0]), None)
    if device is not None:
        kv_device = sum(kv[first_on_gpu(spec, params) :])
        # Prompts of 32 tokens and more copy host experts to the GPU: its scheduler buffer holds the largest such
        # tensor (ggml_backend_sched, op_offload).
        staged = weights.largest_expert_tensor_bytes if params.n_cpu_moe or params.n_gpu_layers <= spec.n_layer else 0
        rows.append(
            DeviceMemory(
                name=device.name,
                model_bytes=split.device_bytes,
                context_bytes=kv_device,
                compute_bytes=compute + staged,
                overhead_bytes=_DEVICE_OVERHEAD_BYTES,
                mapped_bytes=0,
                free_bytes=device.free_bytes,
                headroom_bytes=_DEVICE_HEADROOM_BYTES,
            )
        )
    mapped = split.host_bytes if params.load_mode in ("mmap", "mmap+mlock") else 0
    # With mmap the plain pages of a repacked tensor stay mapped beside its copy.
    model = split.host_bytes + (split.repack_bytes if mapped else split.unmapped_copy_bytes)
    available = hardware.memory.available_bytes
    rows.append(
        DeviceMemory(
            name="Host",
            model_bytes=model,
            context_bytes=sum(kv) - kv_device,
            # With a GPU the host keeps the graph's inputs and the embedding rows of a micro-batch.
            compute_bytes=compute if device is None else 4 * params.n_ubatch * spec.n_embd * 2 + 2 * MIB,
            overhead_bytes=_HOST_PROCESS_BYTES + _VOCAB_BYTES_PER_TOKEN * spec.n_vocab,
            mapped_bytes=mapped,
            free_bytes=available,
            headroom_bytes=max(_HOST_HEADROOM_MIN_BYTES, int(available * _HOST_HEADROOM_PART)),
        )
    )
    if device is not None and device.unified:
        rows = [_merge(rows[0], rows[1])]
    return Placement(tier=tier, params=params, memory=tuple(rows))


def _merge(device: DeviceMemory, host: DeviceMemory) -> DeviceMemory:
    """One row for memory that GPU and host share: both draw on the smaller of the two budgets."""
    return DeviceMemory(
        name=f"{device.name}+Host",
        model_bytes=device.model_bytes + host.model_bytes,
        context_bytes=device.context_bytes + host.context_bytes,
        compute_bytes=device.compute_bytes + host.compute_bytes,
        overhead_bytes=device.overhead_bytes + host.overhead_bytes,
        mapped_bytes=host.mapped_bytes,
        free_bytes=min(device.free_bytes, host.free_bytes),
        headroom_bytes=max(device.headroom_bytes, host.headroom_bytes),
    )
