"""Choose the file, its placement and its context: the product's rule, to the letter. Pure.

The largest model that fits; of it the best quant class (bits per dense weight), unless that costs a slower tier or a
context under 32K. Within a tier a class above the native release must not push more layers off the GPU, and one below
it is not taken to keep more there. `--prefer speed` takes the fastest prediction, `--prefer context` the longest
context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from launcher.catalogue.types import Catalogue
from launcher.errors import DoesNotFitError, UsageError
from launcher.hardware.types import Hardware
from launcher.planner.explain import candidate_row, shortfall_lines, worst_row
from launcher.planner.notes import plan_notes
from launcher.planner.pins import check_request, plan_command
from launcher.planner.placement import shortfall_bytes
from launcher.planner.search import GOOD_N_CTX, Machine, Weighed, unknown_rates, weigh
from launcher.planner.throughput import active_bytes, predict
from launcher.planner.types import Calibration, Plan, PlanRequest, Rate
from launcher.units import format_bytes

NATIVE_BPW = 8.4  # MXFP4 = Q8_0 have 8.5: what OpenAI released; below it quality is given away
_SAME_SPEED = 0.95  # predictions within 5 % do not tell two files apart


def plan(
    hardware: Hardware,
    catalogue: Catalogue,
    request: PlanRequest,
    *,
    rates: Mapping[str, Rate] | None = None,
    calibration: Calibration | None = None,
) -> Plan:
    """The plan for this machine and wish. `rates` by device name and `CPU`; `calibration` from runs measured here.

    Raises:
        DoesNotFitError: nothing fits; it says what is needed, what is here and what would fit.
        UsageError: the request contradicts itself, the machine or the model (a context beyond n_ctx_train).
    """
    check_request(request, hardware)
    machine = Machine(hardware=hardware, rates=rates or {}, calibration=calibration)
    weighed = _weigh_all(machine, catalogue, request)
    if not weighed:
        raise UsageError(
            "no GPT OSS file is known that can be planned for", hint="gpt-oss plan --refresh", details=catalogue.notes
        )
    fitting = [w for w in weighed if w.fits]
    if not fitting:
        raise _does_not_fit(machine, weighed, request, _longest_that_fits(machine, catalogue, request))
    fast = [w for w in fitting if request.min_tps is None or (w.tg_ts or 0.0) >= request.min_tps]
    if not fast:
        raise _too_slow(machine, weighed, fitting, request)
    return _as_plan(machine, weighed, _choose(fast, request), request)


def _as_plan(machine: Machine, weighed: Sequence[Weighed], winner: Weighed, request: PlanRequest) -> Plan:
    """The plan of `winner`; where it does not fit, the nearest miss."""
    best = winner.best
    return Plan(
        file=winner.file,
        spec=winner.spec,
        tier=best.tier,
        load_params=best.params,
        memory=best.memory,
        throughput=predict(
            machine.hardware,
            winner.spec,
            winner.weights,
            best.params,
            machine.rates,
            streamed_bytes=best.memory[-1].streamed_bytes,
            calibration=machine.calibration,
        ),
        weights_basis=winner.weights.basis,
        candidates=tuple(candidate_row(w, winner, request) for w in sorted(weighed, key=_model_then_class)),
        notes=plan_notes(machine, weighed, winner, request, native_bpw=NATIVE_BPW) if winner.fits else (),
        hardware=machine.hardware,
        fits=winner.fits,
    )


def _weigh_all(machine: Machine, catalogue: Catalogue, request: PlanRequest) -> list[Weighed]:
    known: dict[tuple[str, int], Weighed] = {}
    weighed = []
    for file in catalogue.files:
        weights, spec = catalogue.weights.get(file.name), catalogue.spec_of(file)
        if weights is None or spec is None:
            continue
        # Files of one recipe share their weight table, and so their placements.
        same = known.get((file.model, id(weights)))
        if same is None:
            same = known[file.model, id(weights)] = weigh(machine, file, spec, weights, request)
        weighed.append(replace(same, file=file))
    return weighed


def _model_then_class(weighed: Weighed) -> tuple[int, float]:
    return -weighed.weights.n_params, -weighed.weights.dense_bpw


def _choose(fitting: Sequence[Weighed], request: PlanRequest) -> Weighed:
    if request.prefer == "speed":
        return _fastest(fitting)
    largest = max(w.weights.n_params for w in fitting)
    options = [w for w in fitting if w.weights.n_params == largest]
    longest = max(w.n_ctx for w in options)
    enough = longest if request.prefer == "context" else min(GOOD_N_CTX, longest)
    options = [w for w in options if w.n_ctx >= enough]
    tier = min(w.best.tier_rank for w in options)
    options = [w for w in options if w.best.tier_rank == tier]
    options = [w for w in options if w.weights.dense_bpw >= NATIVE_BPW] or options
    n_off = min(w.best.n_off for w in options)
    options = [w for w in options if w.best.n_off == n_off]
    # max keeps the first of equals: the catalogue's order of preference.
    return max(options, key=lambda w: (round(w.weights.dense_bpw, 1), _on_disk(w)))


def _fastest(fitting: Sequence[Weighed]) -> Weighed:
    speeds = [w.tg_ts for w in fitting if w.tg_ts is not None]
    if len(speeds) < len(fitting):
        # An unknown speed compares with no other: the best tier, and there the fewest bytes per token.
        return min(fitting, key=lambda w: (w.best.tier_rank, sum(active_bytes(w.spec, w.weights, w.best.params))))
    near = [w for w in fitting if w.tg_ts is not None and w.tg_ts >= max(speeds) * _SAME_SPEED]
    return max(near, key=lambda w: (w.weights.n_params, w.weights.dense_bpw, _on_disk(w)))


def _on_disk(weighed: Weighed) -> bool:
    return weighed.file.local_path is not None


def _longest_that_fits(machine: Machine, catalogue: Catalogue, request: PlanRequest) -> int | None:
    """Where a pinned context is what does not fit: the longest one that does."""
    if request.n_ctx is None and request.min_ctx is None:
        return None
    free = _weigh_all(machine, catalogue, replace(request, n_ctx=None, min_ctx=None, prefer="context"))
    return max((w.best.params.n_ctx for w in free if w.fits), default=None)


def _does_not_fit(
    machine: Machine, weighed: Sequence[Weighed], request: PlanRequest, n_ctx: int | None
) -> DoesNotFitError:
    closest = min(weighed, key=lambda w: shortfall_bytes(w.best))
    row = worst_row(closest.best)
    has = row.free_bytes - row.headroom_bytes
    details = shortfall_lines(closest.best)
    if n_ctx is not None:
        hint = plan_command(request, f"--ctx-size {n_ctx}")
        details = (*details, f"A context of {n_ctx} tokens would fit.")
    else:
        pinned = request.model != "auto" or request.quant is not None
        hint = "gpt-oss plan --model auto" if pinned else "gpt-oss chat --demo"
    needs = row.used_bytes + row.shared_bytes
    return DoesNotFitError(
        f"{closest.file.model} ({closest.file.quant}) does not fit: {row.name} needs {format_bytes(needs)} "
        f"and has {format_bytes(has)}",
        needs_bytes=needs,
        has_bytes=has,
        hint=hint,
        details=details,
        closest=_as_plan(machine, weighed, closest, request),
    )


def _too_slow(
    machine: Machine, weighed: Sequence[Weighed], fitting: Sequence[Weighed], request: PlanRequest
) -> DoesNotFitError:
    """Something fits, but nothing is predicted to be as fast as asked."""
    closest = max(fitting, key=lambda w: w.tg_ts or 0.0)
    row = worst_row(closest.best)
    if closest.tg_ts is None:
        unknown = ", ".join(unknown_rates(machine, closest.best))
        message = f"--min-tps {request.min_tps:g}: no speed can be predicted, the bandwidth of {unknown} is not known"
        hint = "gpt-oss plan --prefer speed"
    else:
        message = (
            f"nothing here is predicted to reach {request.min_tps:g} tok/s: the fastest is {closest.file.model} "
            f"{closest.file.quant} at about {closest.tg_ts:.0f}"
        )
        hint = plan_command(request, f"--min-tps {int(closest.tg_ts)}") if closest.tg_ts >= 1 else "gpt-oss plan"
    return DoesNotFitError(
        message,
        needs_bytes=row.used_bytes + row.shared_bytes,
        has_bytes=row.free_bytes - row.headroom_bytes,
        hint=hint,
        closest=replace(_as_plan(machine, weighed, closest, request), fits=False),
    )
