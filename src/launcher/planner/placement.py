"""Ways to place one model on one machine, fastest first, and the memory table of each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.hardware.types import Hardware
from launcher.planner.memory import host_expert_bytes, kv_layer_bytes
from launcher.planner.table import DEVICE_HEADROOM_BYTES, device_overhead_bytes, host_headroom_bytes, memory_table
from launcher.planner.teams import Team, bandwidth, deal, deal_evenly, teams, usable
from launcher.planner.types import DeviceMemory, KvType, LoadMode, LoadParams, PlanRequest, Rate, Tier
from launcher.units import MIB

_ONE_THREAD_BYTES = 16 * MIB  # a core reads this in a millisecond, a few hundred barriers of a graph take as long
_SPLIT_TRIES = 3  # compute buffers depend a little on the split, which depends on the room they leave

N_BATCH = 2048  # llama.cpp's default
N_UBATCH = 512  # llama.cpp's default
_LARGER_UBATCHES = (2048, 1024)  # read prompts faster on a GPU, for a larger compute buffer and window


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """One way to load a file here: its parameters and what they take."""

    tier: Tier
    params: LoadParams
    memory: tuple[DeviceMemory, ...]
    n_layer: int

    @property
    def fits(self) -> bool:
        """Whether every device and the host hold it."""
        return all(row.fits for row in self.memory)

    @property
    def n_off(self) -> int:
        """How much is off the GPU: expert tensors (three a block), then layers; what is streamed, in MiB.

        Smaller is faster.
        """
        params = self.params
        if self.tier == "streamed":
            return self.memory[-1].streamed_bytes // MIB
        return 3 * params.n_cpu_moe + params.n_cpu_moe_tensors + max(0, self.n_layer + 1 - params.n_gpu_layers)

    @property
    def tier_rank(self) -> int:
        """Smaller is faster. Comparable between models.

        On a GPU machine host experts keep their plain layout (llama.cpp prefers the GPU's pinned memory to the
        repacked buffer), so few layers on a GPU lose to a CPU that has all of them repacked.
        """
        params = self.params
        if self.tier == "streamed":
            return 6 if params.devices else 7
        if self.tier == "cpu":
            return 3 if params.repack else 5
        if self.tier == "partial":
            return 2 if 2 * params.n_gpu_layers > self.n_layer else 4
        return 0 if self.tier == "gpu" else 1

    @property
    def speed_rank(self) -> tuple[int, int]:
        """Smaller is faster: tier, then what is off the GPU. For placements of one model."""
        return self.tier_rank, self.n_off


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is to be placed, where, and with what wishes."""

    hardware: Hardware
    spec: ModelSpec
    weights: ModelWeights
    request: PlanRequest
    rates: Mapping[str, Rate] = field(default_factory=dict)


def n_ctx_seq(params: LoadParams) -> int:
    """Tokens that one sequence may hold: the whole context where it is unified, else its part."""
    return params.n_ctx if params.kv_unified else params.n_ctx // params.n_parallel


def case_teams(case: Case) -> tuple[Team, ...]:
    """Sets of devices that this case may be placed on, to be tried in this order; none for the CPU alone."""
    if case.request.n_gpu_layers == 0 or case.request.devices == ():
        return ()
    devices = usable(case.hardware, case.request)
    if case.request.tensor_split is not None:
        return (devices,)
    return teams(devices, case.rates)


def placements(case: Case, n_ctx: int) -> Iterator[Placement]:
    """Every placement at `n_ctx`, of each set of devices the fastest first, fitting or not. What is pinned is kept."""
    for team in case_teams(case):
        for step in gpu_steps(case):
            yield on_team(case, team, n_ctx, step)
    yield from cpu_placements(case, n_ctx)
    if case.request.streamed:
        yield from streamed_placements(case, n_ctx)


def first_fit(case: Case, n_ctx: int) -> Placement | None:
    """The fastest placement that fits, without trying them all; of equally fast ones that with the fewest devices."""
    found = [p for team in case_teams(case) if (p := nearest_on_team(case, team, n_ctx)).fits]
    found += next(([p] for p in cpu_placements(case, n_ctx) if p.fits), [])
    if not found and case.request.streamed:
        found = [p for p in streamed_placements(case, n_ctx) if p.fits]
    return min(found, key=lambda p: p.speed_rank, default=None)


def may_fit(case: Case) -> bool:
    """False where the weights alone are more than all memory there is, so that no placement need be tried."""
    room = case.hardware.memory.available_bytes - host_headroom_bytes(case.hardware.memory.available_bytes)
    devices = {device.name: device for team in case_teams(case) for device in team}
    room += sum(max(0, device.free_bytes - DEVICE_HEADROOM_BYTES) for device in devices.values())
    return case.request.streamed or case.weights.total_bytes <= room


def nearest_on_team(case: Case, team: Team, n_ctx: int) -> Placement:
    """The first placement that the devices hold, whether the host holds the rest or not; else the smallest one.

    Every step moves bytes from the devices to the host, but for the first, after which a device stages host experts for
    prompts. So those that fit follow those that do not, and of them only the first can suit the host. Compute buffers
    bend that rule by less than a step, hence the walk back.
    """
    steps = gpu_steps(case)
    first = on_team(case, team, n_ctx, steps[0])
    if _devices_hold(first) or len(steps) == 1:
        return first
    low, high = 1, len(steps)
    while low < high:
        middle = (low + high) // 2
        if _devices_hold(on_team(case, team, n_ctx, steps[middle])):
            high = middle
        else:
            low = middle + 1
    nearest = on_team(case, team, n_ctx, steps[min(low, len(steps) - 1)])
    while low > 1 and _devices_hold(before := on_team(case, team, n_ctx, steps[low - 1])):
        nearest, low = before, low - 1
    return nearest


def _devices_hold(placement: Placement) -> bool:
    return all(row.fits for row in placement.memory[:-1])


def gpu_steps(case: Case) -> list[tuple[int, int]]:
    """Pairs (n_gpu_layers, expert tensors off the GPU), fastest first.

    Blocks leave the GPU only after all experts have: an expert tensor alone frees five times (20b) what the rest of a
    block does.
    """
    spec, request = case.spec, case.request
    every = spec.n_layer + 1
    n_moe = 3 * spec.n_layer if spec.n_expert else 0
    if request.n_gpu_layers is not None:
        n_gpu_layers = min(request.n_gpu_layers, every)
        # Experts count from the first block, which is the first to be off the GPU: there they change nothing.
        off = 3 * (every - n_gpu_layers)
        counts = (0, *range(off + 1, n_moe + 1)) if request.n_cpu_moe is None else (min(3 * request.n_cpu_moe, n_moe),)
        return [(n_gpu_layers, count) for count in counts]
    if request.n_cpu_moe is not None:
        return [(n_gpu_layers, min(3 * request.n_cpu_moe, n_moe)) for n_gpu_layers in range(every, 0, -1)]
    return [(every, count) for count in range(n_moe + 1)] + [(n, n_moe) for n in range(every - 1, 0, -1)]


def on_team(case: Case, team: Team, n_ctx: int, step: tuple[int, int]) -> Placement:
    """A placement on these devices. Of several, the split is one that fits, or the nearest to it."""
    n_gpu_layers, n_experts_off = step
    # llama.cpp's own choice (load_mode auto): on integrated GPUs mmap would keep the weights twice in the same RAM.
    twice = any(device.unified and device.backend != "MTL" for device in team)
    params = replace(
        base_params(case, n_ctx, load_mode=case.request.load_mode or ("none" if twice else "mmap"), repack=False),
        n_gpu_layers=n_gpu_layers,
        n_cpu_moe=n_experts_off // 3,
        n_cpu_moe_tensors=n_experts_off % 3,
        devices=tuple(device.name for device in team),
        split_mode="layer" if len(team) > 1 else "none",
        offload_kqv=True,
    )
    tier: Tier = "partial" if n_gpu_layers <= case.spec.n_layer else "gpu+cpu-experts" if n_experts_off else "gpu"
    if len(team) == 1:
        return place(tier, case, params)
    if case.request.tensor_split is not None:
        shares = tuple(share for share in case.request.tensor_split if share > 0)
        return place(tier, case, replace(params, tensor_split=shares))
    return split_over(tier, case, team, params, deal)


Dealer = Callable[[Sequence[int], Sequence[int]], tuple[int, ...] | None]


def split_over(tier: Tier, case: Case, team: Team, params: LoadParams, dealer: Dealer) -> Placement:
    """Deal the layers out over several devices, by what is left on each beside compute buffers and overhead.

    Compute buffers depend on the split, so it is tried again with those of the last try.
    """
    layers = offloaded_bytes(case, params)
    room = [device.free_bytes - DEVICE_HEADROOM_BYTES - device_overhead_bytes(device.backend) for device in team]
    total = sum(max(0, n) for n in room) or 1
    found = place(tier, case, _with_split(params, team, _rounded([max(0, n) / total for n in room], len(layers))))
    for _ in range(_SPLIT_TRIES):
        compute = {row.name: row.compute_bytes for row in found.memory}
        largest = max(compute[name] for name in found.params.devices)
        left = [max(0, n - compute.get(device.name, largest)) for n, device in zip(room, team, strict=True)]
        counts = dealer(layers, left)
        if counts is None:
            break
        again = _with_split(params, team, counts)
        if again == found.params:
            break
        found = place(tier, case, again)
    return found


def _with_split(params: LoadParams, team: Team, counts: Sequence[int]) -> LoadParams:
    """With the devices that have layers, and how many each has."""
    used = [(device.name, count) for device, count in zip(team, counts, strict=True) if count]
    if len(used) == 1:
        return replace(params, devices=(used[0][0],), split_mode="none", tensor_split=())
    return replace(
        params, devices=tuple(name for name, _ in used), tensor_split=tuple(float(count) for _, count in used)
    )


def _rounded(parts: Sequence[float], total: int) -> tuple[int, ...]:
    """Whole numbers in these parts that add up to `total`."""
    bounds = [round(sum(parts[:i]) * total) for i in range(len(parts))] + [total]
    return tuple(b - a for a, b in pairwise(bounds))


def offloaded_bytes(case: Case, params: LoadParams) -> list[int]:
    """Bytes on a device of each offloaded layer with its cache, the output last."""
    spec, weights = case.spec, case.weights
    first = max(0, spec.n_layer + 1 - params.n_gpu_layers)
    kv = kv_layer_bytes(spec, params)
    layers = [
        layer.dense_bytes + layer.expert_bytes - host_expert_bytes(layer, i, params) + kv[i]
        for i, layer in enumerate(weights.layers)
        if i >= first
    ]
    return [*layers, (weights.output_bytes or weights.token_embd_bytes) + weights.output_norm_bytes]


def cpu_placements(case: Case, n_ctx: int) -> Iterator[Placement]:
    """On the CPU alone, fastest first, unless the request puts something on a device."""
    request = case.request
    if request.n_gpu_layers or request.n_cpu_moe or request.devices or request.tensor_split:
        return
    for repack in (True, False) if request.repack is None else (request.repack,):
        for load_mode in _load_modes(request, repack=repack):
            yield place("cpu", case, base_params(case, n_ctx, load_mode=load_mode, repack=repack))


def _load_modes(request: PlanRequest, *, repack: bool) -> tuple[LoadMode, ...]:
    """Prefer mmap: it starts sooner and shares the page cache. `none` saves the mapped copy of repacked weights."""
    if request.load_mode is not None:
        return (request.load_mode,)
    return ("mmap", "none") if repack else ("mmap",)


def streamed_placements(case: Case, n_ctx: int) -> Iterator[Placement]:
    """Weights that RAM does not hold are read from the disk again for every token: the devices take what they can."""
    for team in case_teams(case):
        held = nearest_on_team(case, team, n_ctx)
        yield place("streamed", case, replace(held.params, load_mode="mmap"))
    if not (case.request.n_gpu_layers or case.request.n_cpu_moe or case.request.devices):
        yield place("streamed", case, base_params(case, n_ctx, load_mode="mmap", repack=False))


def same_with(case: Case, found: Placement, n_ctx: int, **changes: int) -> Placement | None:
    """The same placement with another context or micro-batch, if that fits; several devices may share it otherwise."""
    params = base_params(case, n_ctx, load_mode=found.params.load_mode, repack=found.params.repack)
    wanted = replace(
        found.params,
        n_ctx=n_ctx,
        n_ubatch=changes.get("n_ubatch", params.n_ubatch),
        n_batch=max(changes.get("n_ubatch", 0), params.n_batch),
    )
    if len(wanted.devices) < 2 or case.request.tensor_split is not None:
        again = place(found.tier, case, wanted)
    else:
        team = tuple(device for device in case.hardware.devices if device.name in wanted.devices)
        again = split_over(found.tier, case, team, wanted, deal)
    return again if again.fits else None


def polished(case: Case, found: Placement) -> Placement:
    """The same placement as it is run: with the largest micro-batch that costs nothing, and layers dealt out evenly."""
    best = found
    if found.params.devices and case.request.n_ubatch is None:
        sizes = (n for n in _LARGER_UBATCHES if n <= min(found.params.n_ctx, case.request.n_batch or N_BATCH))
        larger = (same_with(case, found, found.params.n_ctx, n_ubatch=n) for n in sizes)
        best = next((option for option in larger if option is not None), found)
    if len(best.params.devices) < 2 or case.request.tensor_split is not None:
        return best
    team = tuple(device for device in case.hardware.devices if device.name in best.params.devices)
    speeds = [bandwidth(device, case.rates) for device in team]
    even = split_over(best.tier, case, team, best.params, lambda layers, room: deal_evenly(layers, room, speeds))
    return even if even.fits else best


def base_params(case: Case, n_ctx: int, *, load_mode: LoadMode, repack: bool) -> LoadParams:
    """Parameters of the CPU alone, with what the request pins."""
    request = case.request
    n_threads = request.n_threads or _n_threads(case)
    n_ubatch = min(request.n_ubatch or N_UBATCH, request.n_batch or n_ctx, n_ctx)
    type_k: KvType = request.type_k or "f16"
    return LoadParams(
        n_gpu_layers=0,
        n_cpu_moe=0,
        n_ctx=n_ctx,
        n_batch=min(request.n_batch or max(N_BATCH, n_ubatch), n_ctx),
        n_ubatch=n_ubatch,
        n_parallel=request.n_parallel,
        n_threads=n_threads,
        n_threads_batch=n_threads,
        type_k=type_k,
        type_v=request.type_v or "f16",
        flash_attn=True,
        offload_kqv=False,
        swa_full=request.swa_full,
        kv_unified=request.n_parallel > 1 if request.kv_unified is None else request.kv_unified,
        n_outputs_max=request.n_outputs_max or request.n_parallel,
        load_mode=load_mode,
        repack=repack,
        devices=(),
    )


def _n_threads(case: Case) -> int:
    """All physical cores; one where a token's work is so small that waking the others takes longer."""
    return 1 if case.weights.total_bytes < _ONE_THREAD_BYTES else case.hardware.cpu.n_threads


def place(tier: Tier, case: Case, params: LoadParams) -> Placement:
    """The memory table of these parameters on this machine."""
    table = memory_table(case.hardware, case.spec, case.weights, params, streamed=tier == "streamed")
    return Placement(tier=tier, params=params, memory=table, n_layer=case.spec.n_layer)


def shortfall_bytes(placement: Placement) -> int:
    """Bytes missing over all devices and the host."""
    return sum(max(0, row.headroom_bytes - row.left_bytes) for row in placement.memory)


def nearest_miss(case: Case, options: Iterable[int]) -> Placement:
    """What comes closest to fitting: with a GPU what is short of RAM alone, which is what people can add."""
    n_ctx = min(options)
    near = [nearest_on_team(case, team, n_ctx) for team in case_teams(case)] + list(cpu_placements(case, n_ctx))
    return min(near, key=lambda p: (not _devices_hold(p), shortfall_bytes(p)))
