"""Which of several builds of llama.cpp a machine runs a plan with: the rule by which files are chosen. Pure.

The largest model that fits; of it a context up to the good one, the faster tier, the better quant class, a prediction
that is really faster. What is left is decided by llama.cpp's own order of backends (it takes a GPU that two of them
list by the first: CUDA before Vulkan), by the instruction sets that a build uses, and by the order of the builds, the
environment's first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from launcher.errors import DoesNotFitError, UsageError
from launcher.hardware.types import EngineBuild, Hardware
from launcher.planner.placement import Placement, n_ctx_seq
from launcher.planner.search import GOOD_N_CTX
from launcher.planner.types import EngineCandidate, Plan, PlanRequest

_SAME_SPEED = 0.95  # predictions within 5 % do not tell two builds apart
_AS_PREDICTED = 0.8
"""Nor does a prediction within 20 % of what was measured with another build: published runs lie so far from theirs
(planner/README.md, tests/data/planner)."""
_NO_PROGRAMS = "it has no llama-server"
_SLOWER_TIER = "less of the model is on a GPU; --prefer speed goes by the speeds"
_AS_GOOD = "no better than the choice"
_ORDER = ("CUDA", "ROCm", "MUSA", "MTL", "SYCL", "Vulkan", "WebGPU", "OpenCL", "CANN", "BLAS", "RPC", "OPENVINO")
"""Registry names in the order in which ggml registers backends (ggml/src/ggml-backend-reg.cpp, the constructor of
ggml_backend_registry); ROCm and MUSA are builds of the CUDA backend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """The best plan with one build."""

    plan: Plan
    n_params: int
    """Of the plan's model."""
    measured: bool = False
    """Whether runs of its file with this build are behind the plan's speed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A build that nothing can be planned with."""

    hardware: Hardware
    error: DoesNotFitError | UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedOver:
    """A build that is not planned with."""

    hardware: Hardware
    reason: str


def worth_planning(
    machines: Sequence[Hardware], *, with_programs: bool, measured: Collection[str] = ()
) -> tuple[tuple[Hardware, ...], tuple[PassedOver, ...]]:
    """The builds that are worth a plan, in their order, and the others: they would get the same, or lack programs.

    Args:
        machines: one machine by its builds.
        with_programs: take those with llama.cpp's programs, if there are any.
        measured: names of builds that runs were measured with. Two of one kind get the same prediction otherwise.
    """
    passed = []
    if with_programs and any(machine.engine.bin_dir is not None for machine in machines):
        bare = [machine for machine in machines if machine.engine.bin_dir is None]
        passed += [PassedOver(hardware=machine, reason=_NO_PROGRAMS) for machine in bare]
        names = {machine.engine.name for machine in bare}
        machines = [_without(machine, names) for machine in machines if machine.engine.bin_dir is not None]
    first: dict[object, Hardware] = {}
    more = []
    for machine in machines:
        like = first.setdefault(_computes_on(machine), machine)
        if like is machine:
            continue
        if {like.engine.name, machine.engine.name}.issubset(measured):
            more.append(machine)
        else:
            reason = f"computes on the same devices as {like.engine.name}"
            passed.append(PassedOver(hardware=machine, reason=reason))
    return (*first.values(), *more), tuple(passed)


def _without(machine: Hardware, names: set[str]) -> Hardware:
    """The record, saying that the others of these names are left out: a server on the CPU beside a GPU must say why."""
    others = (replace(o, left_out=_NO_PROGRAMS) if o.name in names else o for o in machine.other_engines)
    return replace(machine, other_engines=tuple(others)) if names else machine


def _computes_on(machine: Hardware) -> object:
    devices = tuple((d.name, d.backend, d.description, d.device_id, d.total_bytes) for d in machine.devices)
    return devices, machine.cpu.isa


def choose_engine(options: Sequence[Option], request: PlanRequest) -> Option:
    """The best of several plans for one machine, each of which fits."""
    left = _fast_enough(options) if request.prefer == "speed" else options
    left = _most(left, lambda one: one.n_params)
    if request.prefer != "speed":
        longest = max(_n_ctx(one) for one in left)
        enough = longest if request.prefer == "context" else min(GOOD_N_CTX, longest)
        left = [one for one in left if _n_ctx(one) >= enough]
        left = _most(left, lambda one: -_tier_rank(one.plan))
    left = _most(left, lambda one: round(_dense_bpw(one.plan), 1))
    left = _fast_enough(left)
    left = _most(left, lambda one: -_backend_rank(one.plan))
    # max keeps the first of equals.
    return max(left, key=lambda one: len(one.plan.hardware.cpu.isa))


def _most(options: Sequence[Option], key: Callable[[Option], float]) -> list[Option]:
    best = max(key(one) for one in options)
    return [one for one in options if key(one) == best]


def _fast_enough(options: Sequence[Option]) -> Sequence[Option]:
    """Those that no other is really faster than. An unknown speed compares with no other: then the tier decides."""
    if any(one.plan.tg_ts is None for one in options):
        return _most(options, lambda one: -_tier_rank(one.plan))
    return [one for one in options if not any(_is_slower(one, other) for other in options)]


def _is_slower(option: Option, other: Option) -> bool:
    """Whether it is, by more than the two speeds may be off."""
    mine, best = option.plan.tg_ts, other.plan.tg_ts
    if mine is None or best is None:
        return False
    return mine < best * (_SAME_SPEED if option.measured == other.measured else _AS_PREDICTED)


def _n_ctx(option: Option) -> int:
    return n_ctx_seq(option.plan.load_params)


def _tier_rank(plan: Plan) -> int:
    placed = Placement(tier=plan.tier, params=plan.load_params, memory=plan.memory, n_layer=plan.spec.n_layer)
    return placed.tier_rank


def _dense_bpw(plan: Plan) -> float:
    return next((row.dense_bpw for row in plan.candidates if row.name == plan.file.name), plan.file.dense_bpw or 0.0)


def _backend_rank(plan: Plan) -> int:
    """Of the device that its plan uses first; the CPU comes last."""
    used = [device.backend for device in plan.hardware.devices if device.name in plan.load_params.devices]
    return min((_ORDER.index(name) if name in _ORDER else len(_ORDER) for name in used), default=len(_ORDER) + 1)


def nearest_refusal(refusals: Sequence[Refusal]) -> DoesNotFitError | UsageError:
    """What to tell where no build has a plan: the nearest miss. What one of them can't do another may be asked for."""
    misses = [refusal.error for refusal in refusals if isinstance(refusal.error, DoesNotFitError)]
    if misses:
        return min(misses, key=_lacks_bytes)
    # A device that none of them has: the one with the most tells the most names that there are.
    return max(refusals, key=lambda refusal: len(refusal.hardware.devices)).error


def _lacks_bytes(error: DoesNotFitError) -> int:
    return max(0, (error.needs_bytes or 0) - (error.has_bytes or 0))


def engine_rows(
    chosen: Option, options: Sequence[Option], refusals: Sequence[Refusal], passed: Sequence[PassedOver]
) -> tuple[EngineCandidate, ...]:
    """Every build that was weighed, the chosen one first; none where there was no choice."""
    others = [one for one in options if one is not chosen]
    if not (others or refusals or passed):
        return ()
    return (
        _row(chosen, "chosen"),
        *(_row(one, _why_not(one, chosen)) for one in others),
        *(_without_plan(refusal.hardware, refusal.error.message) for refusal in refusals),
        *(_without_plan(one.hardware, one.reason) for one in passed),
    )


def _row(option: Option, reason: str) -> EngineCandidate:
    plan = option.plan
    engine = plan.hardware.engine
    return EngineCandidate(
        name=engine.name,
        version=engine.version,
        backends=engine.backends,
        devices=plan.load_params.devices,
        fits=plan.fits,
        model=plan.file.model,
        quant=plan.file.quant,
        tier=plan.tier,
        n_ctx=plan.load_params.n_ctx,
        tg_ts=plan.tg_ts,
        reason=reason,
    )


def _without_plan(hardware: Hardware, reason: str) -> EngineCandidate:
    engine = hardware.engine
    return EngineCandidate(
        name=engine.name,
        version=engine.version,
        backends=engine.backends,
        devices=tuple(device.name for device in hardware.devices),
        fits=False,
        model=None,
        quant=None,
        tier=None,
        n_ctx=None,
        tg_ts=None,
        reason=reason,
    )


def _why_not(option: Option, chosen: Option) -> str:
    """The first rule that it lost by."""
    plan, best = option.plan, chosen.plan
    unmeasured = chosen.plan.hardware.engine.name if option.measured else plan.hardware.engine.name
    rules = (
        (option.n_params < chosen.n_params, f"a smaller model than with {best.hardware.engine.name}"),
        (_n_ctx(option) < min(GOOD_N_CTX, _n_ctx(chosen)), f"only {_n_ctx(option)} tokens of context"),
        (
            _tier_rank(plan) > _tier_rank(best),
            _SLOWER_TIER if _may_gain(option, chosen) else "needs a slower placement",
        ),
        (round(_dense_bpw(plan), 1) < round(_dense_bpw(best), 1), "fewer bits"),
        (_is_slower(option, chosen), "slower than the choice"),
        (_may_be_faster(option, chosen), f"only one of the two was measured: gpt-oss bench --build {unmeasured}"),
        (_backend_rank(plan) > _backend_rank(best), "llama.cpp takes a GPU by the other backend first"),
        (len(plan.hardware.cpu.isa) < len(best.hardware.cpu.isa), "uses fewer of the CPU's instruction sets"),
    )
    return next((reason for lost, reason in rules if lost), _AS_GOOD)


def _may_gain(option: Option, chosen: Option) -> bool:
    """Whether `--prefer speed` would take it: a GPU may be slower than the processor beside it."""
    return option.plan.tg_ts is not None and chosen.plan.tg_ts is not None and _is_slower(chosen, option)


def _may_be_faster(option: Option, chosen: Option) -> bool:
    mine, best = option.plan.tg_ts, chosen.plan.tg_ts
    return option.measured != chosen.measured and mine is not None and best is not None and mine > best / _SAME_SPEED


def engine_note(rows: Sequence[EngineCandidate]) -> str | None:
    """One line: the chosen build with its speed, and the next best. None where no other has a plan that differs."""
    planned = [row for row in rows if row.model is not None and row.reason != _AS_GOOD]
    if len(planned) < 2:
        return None
    chosen = planned[0]
    other = max(planned[1:], key=lambda row: row.tg_ts or 0.0)
    model = "" if (other.model, other.quant) == (chosen.model, chosen.quant) else f"{other.model} {other.quant}, "
    return f"Engine {_with_speed(chosen, '')}; with {_with_speed(other, model)}: {other.reason}."


def _with_speed(row: EngineCandidate, model: str) -> str:
    where = "+".join(row.devices) or "CPU"
    speed = "speed not known" if row.tg_ts is None else f"about {row.tg_ts:.{0 if row.tg_ts >= 10 else 1}f} tok/s"
    return f"{row.name} ({where}): {model}{speed}"


def left_out_notes(hardware: Hardware) -> tuple[str, ...]:
    """A sentence for each build that no plan takes."""
    return tuple(
        f"Engine {other.name} is left out: {other.left_out}"
        for other in hardware.other_engines
        if other.left_out is not None
    )


def engine_words(engine: EngineBuild) -> str:
    """`cuda-0.3.36 (llama.cpp 0c1e570)`."""
    return f"{engine.name} (llama.cpp {engine.llama_cpp_commit or 'of an unknown commit'})"
