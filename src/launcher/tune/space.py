"""Which settings are tried around a plan: axis by axis, only what fits and what nobody pinned. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from launcher.bench.probe import same_load
from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.hardware.types import Cpu, Hardware
from launcher.planner.table import memory_table
from launcher.planner.types import Changes, LoadMode, LoadParams, PlanRequest, Tuned
from launcher.tune.changes import beside, given, spelt, with_changes
from launcher.tune.types import Axis, Option, Space, Touches

KEPT = "tuned before"
DEFAULTS = "llama-server's defaults"
N_BATCH, N_UBATCH = 2048, 512
"""Of llama.cpp (common/common.h, common_params)."""
_UBATCHES = (64, 128, 256, 512, 1024, 2048, 4096)
_LOAD_MODES: tuple[LoadMode, ...] = ("mmap", "none")
_QUANTISED = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What a space is made from."""

    hardware: Hardware
    spec: ModelSpec
    weights: ModelWeights
    request: PlanRequest
    params: LoadParams
    """Of the plan without tuned settings."""


def space(ground: Ground) -> Space:
    """Every axis that leaves something to try, and why others leave nothing."""
    axes, left_out = [], []
    for axis in _axes(ground):
        options = []
        for option in axis.options:
            changes = beside(ground.params, option.changes)
            if not given(changes):
                continue
            if not runs(with_changes(ground.params, changes)):
                continue
            label = option.label if axis.name == DEFAULTS else spelt(changes)
            if not fits(ground, with_changes(ground.params, changes)):
                left_out.append(f"{label} would not fit.")
                continue
            options.append(Option(label=label, changes=changes))
        if options:
            axes.append(replace(axis, options=_once(options)))
    return Space(axes=tuple(axes), left_out=(*_pins(ground), *left_out))


def with_kept(found: Space, ground: Ground, kept: Tuned | None) -> Space:
    """The space with what won before as the first to be tried, so that it is kept only if it wins again."""
    changes = Changes() if kept is None else beside(ground.params, kept.changes)
    if (
        not given(changes)
        or not runs(with_changes(ground.params, changes))
        or not fits(ground, with_changes(ground.params, changes))
    ):
        return found
    reloads = not same_load(ground.params, with_changes(ground.params, changes))
    axis = Axis(name=KEPT, options=(Option(label=spelt(changes), changes=changes),), touches="both", reloads=reloads)
    return replace(found, axes=(axis, *found.axes))


def runs(params: LoadParams) -> bool:
    """Whether llama.cpp takes it: values are quantised only with flash attention (llama_init_from_model)."""
    return params.n_ubatch <= params.n_batch and (params.flash_attn or params.type_v not in _QUANTISED)


def fits(ground: Ground, params: LoadParams) -> bool:
    """Whether a plan with these parameters stays within every device's memory, and the host's."""
    return all(row.fits for row in memory_table(ground.hardware, ground.spec, ground.weights, params))


def defaults(ground: Ground) -> Changes:
    """What llama-server takes where nobody says anything; which layers go where stays the plan's."""
    n_threads = default_threads(ground.hardware.cpu)
    return Changes(
        n_threads=n_threads,
        n_threads_batch=n_threads,
        n_batch=N_BATCH,
        n_ubatch=N_UBATCH,
        flash_attn=True,
        op_offload=True,
        load_mode="mmap",
        repack=True,
    )


def default_threads(cpu: Cpu) -> int:
    """llama.cpp's own count: physical cores, of two kinds the fast ones; it knows no quota (cpu_get_num_math)."""
    return cpu.n_performance or cpu.n_physical or cpu.n_logical


def _axes(ground: Ground) -> Iterator[Axis]:
    """In the order of what is gained for the time: a context is made anew at once, a model is loaded again."""
    params, pinned = ground.params, ground.request
    yield Axis(name=DEFAULTS, options=(Option(label=DEFAULTS, changes=_context_defaults(ground)),), touches="both")
    if pinned.n_threads is None and _host_works(ground):
        counts = thread_counts(ground.hardware.cpu)
        yield _axis("n_threads", counts, lambda n: Changes(n_threads=n), "decode")
        yield _axis("n_threads_batch", counts, lambda n: Changes(n_threads_batch=n), "prompt")
    yield Axis(name="flash_attn", options=(_option(Changes(flash_attn=not params.flash_attn)),), touches="both")
    if params.devices and (params.n_cpu_moe or params.n_cpu_moe_tensors):
        yield Axis(name="op_offload", options=(_option(Changes(op_offload=not params.op_offload)),), touches="prompt")
    if pinned.n_ubatch is None:
        yield Axis(name="n_ubatch", options=tuple(_ubatches(ground)), touches="prompt")
    if pinned.n_batch is None:
        sizes = [n for n in (params.n_ubatch, N_BATCH, 2 * N_BATCH) if n <= params.n_ctx]
        yield _axis("n_batch", sizes, lambda n: Changes(n_batch=n), "prompt")
    if pinned.type_k is None and pinned.type_v is None and params.type_k == params.type_v == "f16":
        quantised = _option(Changes(type_k="q8_0", type_v="q8_0"))
        yield Axis(name="cache", options=(quantised,), touches="both", offer=True)
    yield from _loads(ground)


def _axis(name: str, counts: Iterable[int], change: Callable[[int], Changes], touches: Touches) -> Axis:
    return Axis(name=name, options=tuple(_option(change(n)) for n in counts), touches=touches)


def _option(changes: Changes) -> Option:
    return Option(label=spelt(changes), changes=changes)


def _context_defaults(ground: Ground) -> Changes:
    """The part of the defaults that needs no load, without what is pinned."""
    pinned, whole = ground.request, replace(defaults(ground), load_mode=None, repack=None)
    if pinned.n_threads is not None:
        whole = replace(whole, n_threads=None, n_threads_batch=None)
    if pinned.n_batch is not None or pinned.n_ubatch is not None:
        whole = replace(whole, n_batch=None, n_ubatch=None)
    return whole


def _host_works(ground: Ground) -> bool:
    params = ground.params
    return not params.devices or params.n_cpu_moe > 0 or params.n_gpu_layers <= ground.spec.n_layer


def thread_counts(cpu: Cpu) -> tuple[int, ...]:
    """Numbers of threads worth a try: all cores, one less for the rest of the system, parts, and both of a core."""
    most = cpu.n_threads
    counts = {1 if most <= 2 else most // 2, most * 3 // 4, most - 1, most}
    if cpu.quota_cores is None:
        counts |= {cpu.n_physical or most, cpu.n_logical}
    return tuple(sorted(n for n in counts if n >= 1))


def _ubatches(ground: Ground) -> Iterator[Option]:
    """Two steps to either side, the nearest first; the logical batch grows along."""
    params, most = ground.params, ground.request.n_batch or ground.params.n_ctx
    near = sorted(_UBATCHES, key=lambda n: abs(n.bit_length() - params.n_ubatch.bit_length()))
    for n in near[:5]:
        if n <= min(most, params.n_ctx):
            yield _option(Changes(n_ubatch=n, n_batch=n if n > params.n_batch else None))


def _loads(ground: Ground) -> Iterator[Axis]:
    params, pinned = ground.params, ground.request
    # Beside a device nothing is repacked.
    if pinned.repack is None and not params.devices:
        yield Axis(name="repack", options=(_option(Changes(repack=not params.repack)),), touches="both", reloads=True)
    if pinned.load_mode is None:
        ways = tuple(_option(Changes(load_mode=mode)) for mode in _LOAD_MODES)
        yield Axis(name="load_mode", options=ways, touches="both", reloads=True)
    if not params.devices:
        return
    if pinned.n_cpu_moe is None and ground.spec.n_expert:
        counts = [params.n_cpu_moe + step for step in (-2, -1, 1, 2)]
        counts = [n for n in counts if 0 <= n <= ground.spec.n_layer]
        moved = tuple(_option(Changes(n_cpu_moe=n)) for n in counts)
        yield Axis(name="n_cpu_moe", options=moved, touches="both", reloads=True)
    if pinned.n_gpu_layers is None and params.n_gpu_layers <= ground.spec.n_layer:
        layers = tuple(_option(Changes(n_gpu_layers=params.n_gpu_layers + step)) for step in (-2, -1, 1, 2))
        yield Axis(name="n_gpu_layers", options=layers, touches="both", reloads=True)
    if pinned.tensor_split is None and len(params.devices) > 1:
        yield Axis(name="tensor_split", options=tuple(_splits(params)), touches="both", reloads=True)


def _splits(params: LoadParams) -> Iterator[Option]:
    """One layer more on one device, one fewer on its neighbour."""
    shares = params.tensor_split
    for i in range(len(shares) - 1):
        for step in (1.0, -1.0):
            moved = (*shares[:i], shares[i] + step, shares[i + 1] - step, *shares[i + 2 :])
            if min(moved) >= 1:
                yield _option(Changes(tensor_split=moved))


def _once(options: Iterable[Option]) -> tuple[Option, ...]:
    found: dict[Changes, Option] = {}
    for option in options:
        found.setdefault(option.changes, option)
    return tuple(found.values())


def _pins(ground: Ground) -> Iterator[str]:
    """What was said on the command line or in the settings stays as it was said."""
    names = ("n_threads", "n_ubatch", "n_batch", "n_gpu_layers", "n_cpu_moe", "tensor_split", "load_mode", "repack")
    pinned = [name for name in names if getattr(ground.request, name) is not None]
    if ground.request.type_k is not None or ground.request.type_v is not None:
        pinned.append("the cache's type")
    if pinned:
        yield f"{', '.join(pinned)}: pinned by the command line or the settings."
