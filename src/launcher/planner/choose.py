"""Choose the file, its placement and its context: the product's rule, to the letter. Pure.

The largest model that fits; of it the best quant class (bits per dense weight), unless that costs a slower tier or a
context under 32K. Within a tier a class above the native release must not push more layers off the GPU, and one below
it is not taken to keep more there. `--prefer speed` takes the fastest prediction, `--prefer context` the longest
context.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from launcher.catalogue.types import Catalogue, ModelFile, ModelSpec, ModelWeights
from launcher.errors import DoesNotFitError, UsageError
from launcher.hardware.types import Hardware
from launcher.planner.explain import candidate_row, plan_notes, shortfall_lines, worst_row
from launcher.planner.placement import Case, Placement, first_fit, placements, with_n_ctx
from launcher.planner.throughput import active_bytes, decode_tps
from launcher.planner.types import Estimate, Plan, PlanRequest
from launcher.units import format_bytes

GOOD_N_CTX = 32_768  # a better quant class never costs a context under this
_CTX_STEPS = (131_072, 98_304, 65_536, 49_152, 32_768, 24_576, 16_384, 12_288, 8_192, 6_144, 4_096)
NATIVE_BPW = 8.4  # MXFP4 = Q8_0 have 8.5: what OpenAI released; below it quality is given away
_SAME_SPEED = 0.95  # predictions within 5 % do not tell two files apart


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighed:
    """A file with the best placement that this machine allows, or the one that comes closest."""

    file: ModelFile
    spec: ModelSpec
    weights: ModelWeights
    best: Placement
    tps: Estimate | None

    @property
    def fits(self) -> bool:
        """Whether `best` stays within what is available."""
        return self.best.fits


def plan(
    hardware: Hardware,
    catalogue: Catalogue,
    request: PlanRequest,
    *,
    bandwidths: Mapping[str, Estimate] | None = None,
) -> Plan:
    """The plan for this machine and wish. `bandwidths` in bytes/s by device name and `Host`.

    Raises:
        DoesNotFitError: nothing fits; it says what is needed, what is here and what would fit.
        UsageError: the request contradicts the model (a context beyond n_ctx_train).
    """
    weighed = _weigh_all(hardware, catalogue, request, bandwidths or {})
    if not weighed:
        raise UsageError(
            "no GPT OSS file is known that can be planned for", hint="gpt-oss plan --refresh", details=catalogue.notes
        )
    fitting = [w for w in weighed if w.fits]
    if not fitting:
        raise _does_not_fit(weighed, request, _longest_that_fits(hardware, catalogue, request))
    winner = _choose(fitting, request)
    return Plan(
        file=winner.file,
        spec=winner.spec,
        tier=winner.best.tier,
        load_params=winner.best.params,
        memory=winner.best.memory,
        decode_tps=winner.tps,
        weights_basis=winner.weights.basis,
        candidates=tuple(candidate_row(w, winner, request) for w in sorted(weighed, key=_model_then_class)),
        notes=plan_notes(hardware, weighed, winner, request, good_n_ctx=GOOD_N_CTX, native_bpw=NATIVE_BPW),
    )


def _weigh_all(
    hardware: Hardware, catalogue: Catalogue, request: PlanRequest, bandwidths: Mapping[str, Estimate]
) -> list[Weighed]:
    known: dict[tuple[str, int], Weighed] = {}
    weighed = []
    for file in catalogue.files:
        weights, spec = catalogue.weights.get(file.name), catalogue.specs.get(file.model)
        if weights is None or spec is None:
            continue
        # Files of one recipe share their weight table, and so their placements.
        same = known.get((file.model, id(weights)))
        if same is None:
            case = Case(hardware=hardware, spec=spec, weights=weights, request=request)
            same = known[file.model, id(weights)] = weigh(case, file, bandwidths)
        weighed.append(replace(same, file=file))
    return weighed


def _model_then_class(weighed: Weighed) -> tuple[int, float]:
    return -weighed.weights.n_params, -weighed.weights.dense_bpw


def weigh(case: Case, file: ModelFile, bandwidths: Mapping[str, Estimate]) -> Weighed:
    """The best placement of one file here, whether it fits or not."""
    best = _best_placement(case)
    return Weighed(
        file=file,
        spec=case.spec,
        weights=case.weights,
        best=best,
        tps=decode_tps(case.spec, case.weights, best.params, bandwidths),
    )


def plan_command(request: PlanRequest, flags: str) -> str:
    """The command that plans for the same model with other flags."""
    model = "" if request.model == "auto" else f" --model {shlex.quote(request.model)}"
    quant = "" if request.quant is None else f" --quant {shlex.quote(request.quant)}"
    return f"gpt-oss plan{model}{quant} {flags}"


def context_steps(spec: ModelSpec, request: PlanRequest) -> tuple[int, ...]:
    """Context lengths to try, longest first. A pinned one is the only one; 0 means all that the model was trained for.

    Raises:
        UsageError: more than n_ctx_train, or a minimum that cannot be met.
    """
    if request.n_ctx:
        if request.n_ctx > spec.n_ctx_train:
            raise UsageError(
                f"a context of {request.n_ctx} tokens is beyond the {spec.n_ctx_train} that {spec.id} was trained for",
                hint=plan_command(request, f"--ctx-size {spec.n_ctx_train}"),
            )
        return (request.n_ctx,)
    if request.n_ctx == 0:
        return (spec.n_ctx_train,)
    at_least = request.min_ctx or 0
    if at_least > spec.n_ctx_train:
        raise UsageError(
            f"--min-ctx {at_least} is beyond the {spec.n_ctx_train} tokens that {spec.id} was trained for",
            hint=plan_command(request, f"--min-ctx {spec.n_ctx_train}"),
        )
    steps = (spec.n_ctx_train, *(n for n in _CTX_STEPS if n < spec.n_ctx_train), at_least)
    return tuple(sorted({n for n in steps if n >= max(at_least, 1)}, reverse=True))


def _best_placement(case: Case) -> Placement:
    """Fastest placement that keeps a good context, then the longest context that this placement still holds.

    With `--prefer context` the longest context comes first. Where nothing fits: the placement that is least short.
    """
    request = case.request
    steps = context_steps(case.spec, request)
    good = min(max(GOOD_N_CTX, request.min_ctx or 0), steps[0])
    floor = next((n for n in reversed(steps) if n >= good), steps[0])
    wanted = steps if request.prefer == "context" else (floor, *(n for n in steps if n < floor))
    for n_ctx in wanted:
        found = first_fit(case, n_ctx)
        if found is not None:
            return _stretch(case, found, steps)
    # The nearest miss: on a machine with a GPU the one that is short of RAM alone, which is what people can add.
    return min(placements(case, steps[-1]), key=lambda p: (any(not row.fits for row in p.memory[:-1]), _shortfall(p)))


def _stretch(case: Case, found: Placement, steps: Sequence[int]) -> Placement:
    """The same placement with the longest context that still fits."""
    longer = (with_n_ctx(case, found, n_ctx) for n_ctx in steps if n_ctx > found.params.n_ctx)
    return next((option for option in longer if option is not None), found)


def _shortfall(placement: Placement) -> int:
    """Bytes missing over all devices."""
    return sum(max(0, row.used_bytes - (row.free_bytes - row.headroom_bytes)) for row in placement.memory)


def _choose(fitting: Sequence[Weighed], request: PlanRequest) -> Weighed:
    if request.prefer == "speed":
        return _fastest(fitting)
    largest = max(w.weights.n_params for w in fitting)
    options = [w for w in fitting if w.weights.n_params == largest]
    longest = max(w.best.params.n_ctx for w in options)
    enough = longest if request.prefer == "context" else min(GOOD_N_CTX, longest)
    options = [w for w in options if w.best.params.n_ctx >= enough]
    tier = min(w.best.tier_rank for w in options)
    options = [w for w in options if w.best.tier_rank == tier]
    options = [w for w in options if w.weights.dense_bpw >= NATIVE_BPW] or options
    rank = min(w.best.speed_rank for w in options)
    options = [w for w in options if w.best.speed_rank == rank]
    # max keeps the first of equals: the catalogue's order of preference.
    return max(options, key=lambda w: (round(w.weights.dense_bpw, 1), _on_disk(w)))


def _fastest(fitting: Sequence[Weighed]) -> Weighed:
    speeds = [w.tps.value for w in fitting if w.tps is not None]
    if len(speeds) < len(fitting):
        # An unknown speed compares with no other: the best tier, and there the fewest bytes per token.
        return min(fitting, key=lambda w: (w.best.tier_rank, sum(active_bytes(w.spec, w.weights, w.best.params))))
    near = [w for w in fitting if w.tps is not None and w.tps.value >= max(speeds) * _SAME_SPEED]
    return max(near, key=lambda w: (w.weights.n_params, w.weights.dense_bpw, _on_disk(w)))


def _on_disk(weighed: Weighed) -> bool:
    return weighed.file.local_path is not None


def _longest_that_fits(hardware: Hardware, catalogue: Catalogue, request: PlanRequest) -> int | None:
    """Where a pinned context is what does not fit: the longest one that does."""
    if request.n_ctx is None and request.min_ctx is None:
        return None
    free = _weigh_all(hardware, catalogue, replace(request, n_ctx=None, min_ctx=None, prefer="context"), {})
    return max((w.best.params.n_ctx for w in free if w.fits), default=None)


def _does_not_fit(weighed: Sequence[Weighed], request: PlanRequest, n_ctx: int | None) -> DoesNotFitError:
    closest = min(weighed, key=lambda w: _shortfall(w.best))
    row = worst_row(closest.best)
    has = row.free_bytes - row.headroom_bytes
    details = shortfall_lines(closest.best)
    if n_ctx is not None:
        hint = plan_command(request, f"--ctx-size {n_ctx}")
        details = (*details, f"A context of {n_ctx} tokens would fit.")
    else:
        pinned = request.model != "auto" or request.quant is not None
        hint = "gpt-oss plan --model auto" if pinned else "gpt-oss chat --demo"
    return DoesNotFitError(
        f"{closest.file.model} ({closest.file.quant}) does not fit: {row.name} needs {format_bytes(row.used_bytes)} "
        f"and has {format_bytes(has)}",
        needs_bytes=row.used_bytes,
        has_bytes=has,
        hint=hint,
        details=details,
    )
