"""The best placement of one file on one machine: contexts, cache types and placements by the preference. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from launcher.catalogue.types import ModelFile, ModelSpec, ModelWeights
from launcher.errors import UsageError
from launcher.hardware.types import Hardware
from launcher.planner.pins import check_for_model, plan_command
from launcher.planner.placement import (
    Case,
    Placement,
    case_teams,
    cpu_placements,
    first_fit,
    may_fit,
    n_ctx_seq,
    nearest_miss,
    on_team,
    polished,
    same_with,
)
from launcher.planner.throughput import decode_ts
from launcher.planner.types import HOST, Calibration, PlanRequest, Rate

GOOD_N_CTX = 32_768  # a better quant class never costs a context under this
_CTX_STEPS = (131_072, 98_304, 65_536, 49_152, 32_768, 24_576, 16_384, 12_288, 8_192, 6_144, 4_096)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What is known of the machine: facts, rates by device name, corrections by measured runs."""

    hardware: Hardware
    rates: Mapping[str, Rate]
    calibration: Calibration | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighed:
    """A file with the best placement that this machine allows, or the one that comes closest."""

    file: ModelFile
    spec: ModelSpec
    weights: ModelWeights
    best: Placement
    tg_ts: float | None
    """Predicted decode tokens per second at an empty context."""

    @property
    def fits(self) -> bool:
        """Whether `best` stays within what is available."""
        return self.best.fits

    @property
    def n_ctx(self) -> int:
        """Tokens of context that one sequence has."""
        return n_ctx_seq(self.best.params)


def weigh(machine: Machine, file: ModelFile, spec: ModelSpec, weights: ModelWeights, request: PlanRequest) -> Weighed:
    """The best placement of one file here, whether it fits or not."""
    case = Case(hardware=machine.hardware, spec=spec, weights=weights, request=request, rates=machine.rates)
    best = best_placement(case, machine)
    return Weighed(file=file, spec=spec, weights=weights, best=best, tg_ts=speed(machine, case, best))


def speed(machine: Machine, case: Case, placement: Placement) -> float | None:
    """Predicted decode tokens per second at an empty context; None where a rate that counts is unknown."""
    return decode_ts(
        machine.hardware,
        case.spec,
        case.weights,
        placement.params,
        machine.rates,
        streamed_bytes=placement.memory[-1].streamed_bytes,
        calibration=machine.calibration,
    )


def context_steps(spec: ModelSpec, request: PlanRequest) -> tuple[int, ...]:
    """Values of n_ctx to try, longest first. A pinned one is the only one; 0 means all that the model was trained for.

    `min_ctx` and the steps are tokens of one sequence; n_ctx is what `n_parallel` sequences share where the context is
    not unified.

    Raises:
        UsageError: more than n_ctx_train, or a minimum that cannot be met.
    """
    check_for_model(request, spec)
    parts = request.n_parallel if request.kv_unified is False else 1
    longest = spec.n_ctx_train
    if request.n_ctx:
        if request.n_ctx > longest * parts:
            raise UsageError(
                f"a context of {request.n_ctx} tokens is beyond the {longest} that {spec.id} was trained for",
                hint=plan_command(request, f"--ctx-size {longest * parts}"),
            )
        return (request.n_ctx,)
    if request.n_ctx == 0:
        return (longest * parts,)
    at_least = request.min_ctx or 0
    if at_least > longest:
        raise UsageError(
            f"--min-ctx {at_least} is beyond the {longest} tokens that {spec.id} was trained for",
            hint=plan_command(request, f"--min-ctx {longest}"),
        )
    steps = (longest, *(n for n in _CTX_STEPS if n < longest), at_least)
    return tuple(sorted({n * parts for n in steps if n >= max(at_least, 1)}, reverse=True))


def cache_variants(case: Case) -> tuple[Case, ...]:
    """With the cache in f16, and where its type is not pinned, in q8_0: half as large, taken where f16 will not do."""
    request = case.request
    if request.type_k is not None or request.type_v is not None:
        return (case,)
    return (case, replace(case, request=replace(request, type_k="q8_0", type_v="q8_0")))


def best_placement(case: Case, machine: Machine) -> Placement:
    """Fastest placement that keeps a good context, then the longest context that this placement still holds.

    With `--prefer context` the longest context comes first. Where nothing fits: the placement that is least short.
    """
    request = case.request
    steps = context_steps(case.spec, request)
    parts = request.n_parallel if request.kv_unified is False else 1
    good = min(max(GOOD_N_CTX, request.min_ctx or 0) * parts, steps[0])
    floor = next((n for n in reversed(steps) if n >= good), steps[0])
    shorter = [n for n in steps if n < floor]
    best = None
    if request.prefer == "context":
        best = _longest(case, steps)
    else:
        for variant, n_ctx in _tries(case, floor, shorter):
            found = first_fit(variant, n_ctx)
            if found is not None:
                best = polished(variant, _stretch(variant, found, steps))
                break
    if best is None:
        return nearest_miss(case, steps)
    return _faster(case, machine, best, shorter) if request.min_tps is not None else best


def _tries(case: Case, floor: int, shorter: Sequence[int]) -> Iterator[tuple[Case, int]]:
    """What to try, best first; no more than the first where even the smallest cache does not fit."""
    variants = cache_variants(case)
    if not may_fit(case):
        return
    yield variants[0], floor
    if first_fit(variants[-1], min((floor, *shorter))) is None:
        return
    yield from ((variants[0], n_ctx) for n_ctx in shorter)
    yield from ((variant, n_ctx) for variant in variants[1:] for n_ctx in (floor, *shorter))


def _longest(case: Case, steps: Sequence[int]) -> Placement | None:
    if not may_fit(case) or first_fit(cache_variants(case)[-1], steps[-1]) is None:
        return None
    for n_ctx in steps:
        for variant in cache_variants(case):
            found = first_fit(variant, n_ctx)
            if found is not None:
                return polished(variant, found)
    return None


def _stretch(case: Case, found: Placement, steps: Sequence[int]) -> Placement:
    """The same placement with the longest context that still fits, on more devices if those have room for it."""
    for n_ctx in steps:
        if n_ctx <= found.params.n_ctx:
            break
        option = same_with(case, found, n_ctx) or _elsewhere(case, found, n_ctx)
        if option is not None:
            return option
    return found


def _elsewhere(case: Case, found: Placement, n_ctx: int) -> Placement | None:
    """A placement of the same rank with this context: on other devices, or on the CPU with another load mode."""
    if found.tier == "streamed":
        return None
    params = found.params
    if not params.devices:
        options = (p for p in cpu_placements(case, n_ctx) if p.params.repack == params.repack)
    else:
        step = (params.n_gpu_layers, 3 * params.n_cpu_moe + params.n_cpu_moe_tensors)
        sets = (team for team in case_teams(case) if tuple(device.name for device in team) != params.devices)
        options = (on_team(case, team, n_ctx, step) for team in sets)
    return next((p for p in options if p.fits), None)


def _faster(case: Case, machine: Machine, best: Placement, shorter: Sequence[int]) -> Placement:
    """Where the best placement is slower than `min_tps`: one with a shorter context that is not, if there is one."""
    wanted = case.request.min_tps or 0.0
    for n_ctx in (best.params.n_ctx, *shorter):
        option = best if n_ctx == best.params.n_ctx else first_fit(case, n_ctx)
        if option is not None and (speed(machine, case, option) or 0.0) >= wanted:
            return option
    return best


def unknown_rates(machine: Machine, placement: Placement) -> tuple[str, ...]:
    """Devices whose bandwidth nobody knows, so that no speed can be predicted."""
    names = (*placement.params.devices, HOST)
    rates = (machine.rates.get(name) for name in names)
    return tuple(name for name, rate in zip(names, rates, strict=True) if rate is None or rate.bandwidth is None)
