"""The one flow that every command follows: machine and catalogue in, a plan confirmed on the real header out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.catalogue.headers import ensure_header
from launcher.catalogue.types import Catalogue, ModelFile, ModelWeights
from launcher.errors import DamagedFileError, DoesNotFitError, NetworkError, UsageError
from launcher.flow.world import CalibrationOf, World, catalogues
from launcher.hardware.types import Hardware
from launcher.planner.choose import plan
from launcher.planner.engine_choice import (
    Option,
    Refusal,
    choose_engine,
    engine_note,
    engine_rows,
    left_out_notes,
    nearest_refusal,
    worth_planning,
)
from launcher.planner.placement import n_ctx_seq
from launcher.planner.search import GOOD_N_CTX
from launcher.planner.throughput import recipe_of, settings_of
from launcher.planner.tuned import apply_tuned
from launcher.planner.types import Calibration, Plan, PlanRequest, Purpose

_CONFIRMATIONS = 4  # each may dismiss a file whose header disagrees with its listing; more means a broken catalogue


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A machine and the plan for it."""

    hardware: Hardware
    plan: Plan
    weights: ModelWeights
    """Of the plan's file."""
    measured: bool = False
    """Whether runs of the file with this build are behind the plan's speed."""


def prepare(
    request: PlanRequest,
    world: World,
    *,
    offline: bool,
    refresh: bool = False,
    hardware: Hardware | None = None,
    purpose: Purpose | None = None,
    with_programs: bool = False,
) -> Prepared:
    """Detect, load the catalogue, plan with each build of llama.cpp, and take the best.

    A plan is confirmed on the chosen file's own header (13 MB of the file, kept afterwards), which is read from disk or
    from the hub; offline, a plan may rest on the shipped table, and says so. On this machine it has the settings that
    were tuned here for `purpose`, or for the nearest one; None takes none. `with_programs` takes a build with
    llama.cpp's own programs, if there is any.

    Raises:
        LauncherError: whatever detect, catalogue or planner refuse.
    """
    catalogue_of = catalogues(request, world, offline=offline, refresh=refresh)
    if hardware is not None:
        return _prepare_on(hardware, catalogue_of, request, world, offline=offline, purpose=None, here=False)
    detected = world.detect()
    world = replace(world, calibration=_once(world.calibration))
    measured = _measured_builds(detected, world) if len(detected) > 1 else frozenset()
    machines, passed = worth_planning(detected, with_programs=with_programs, measured=measured)
    prepared: dict[str, Prepared] = {}
    refusals = []
    for machine in machines:
        try:
            prepared[machine.engine.name] = _prepare_on(
                machine, catalogue_of, request, world, offline=offline, purpose=purpose, here=True
            )
        except (DoesNotFitError, UsageError) as error:
            refusals.append(Refusal(hardware=machine, error=error))
    if not prepared:
        refused = nearest_refusal(refusals)
        refused.details = (*refused.details, *left_out_notes(machines[0]))
        raise refused
    options = [Option(plan=one.plan, n_params=one.weights.n_params, measured=one.measured) for one in prepared.values()]
    chosen = choose_engine(options, request)
    rows = engine_rows(chosen, options, refusals, passed)
    best = prepared[chosen.plan.hardware.engine.name]
    notes = (*filter(None, [engine_note(rows)]), *left_out_notes(best.hardware), *best.plan.notes)
    return replace(best, plan=replace(best.plan, notes=notes, engines=rows))


def _once(calibration: CalibrationOf) -> CalibrationOf:
    """The same, fitted once for each build: which were measured is asked before any is planned with."""
    known: dict[tuple[str, Path | None], Calibration | None] = {}

    def read(machine: Hardware, state_dir: Path | None) -> Calibration | None:
        key = machine.engine.name, state_dir
        if key not in known:
            known[key] = calibration(machine, state_dir)
        return known[key]

    return read


def _measured_builds(machines: Sequence[Hardware], world: World) -> frozenset[str]:
    return frozenset(one.engine.name for one in machines if world.calibration(one, world.state_dir) is not None)


def _prepare_on(
    machine: Hardware,
    catalogue_of: Callable[[Hardware], Catalogue],
    request: PlanRequest,
    world: World,
    *,
    offline: bool,
    purpose: Purpose | None,
    here: bool,
) -> Prepared:
    """The plan with one build, on this machine (`here`) or another one."""
    catalogue = catalogue_of(machine)
    if here:
        catalogue = catalogue.loadable
    # What was measured here says nothing of another machine.
    state_dir = world.state_dir if here else None
    rates = world.rates(machine, state_dir)
    calibration = world.calibration(machine, state_dir)
    offline = offline or catalogue.hub_out_of_reach
    for _ in range(_CONFIRMATIONS):
        found = plan(machine, catalogue, request, rates=rates, calibration=calibration)
        if found.weights_basis == "header" or (offline and found.file.local_path is None):
            break
        try:
            catalogue = _confirmed(found.file, catalogue, machine, world, offline=offline)
        except NetworkError as error:
            note = f"The file's own header could not be read: {error.message}."
            catalogue = replace(catalogue, notes=(*catalogue.notes, note))
            break
    weights = catalogue.weights[found.file.name]
    if purpose is not None and state_dir is not None:
        wanted = purposes(purpose, request, found)
        tuned = next((t for p in wanted if (t := world.tuned(machine, found.file, p, state_dir)) is not None), None)
        if tuned is not None:
            found = apply_tuned(found, weights, tuned, request, rates=rates, calibration=calibration, purpose=wanted[0])
    return Prepared(
        hardware=machine,
        plan=replace(found, notes=(*found.notes, *catalogue.notes)),
        weights=weights,
        measured=calibration is not None and _is_measured(found, weights, calibration),
    )


def _is_measured(plan: Plan, weights: ModelWeights, calibration: Calibration) -> bool:
    settings = settings_of(plan.load_params, "tg")
    return calibration.residual(recipe_of(plan.spec, weights), settings, "tg") is not None


def purposes(purpose: Purpose, request: PlanRequest, plan: Plan) -> tuple[Purpose, ...]:
    """What tuned settings are looked for, the fittest first: those for long contexts where one was asked for.

    Settings for one stream do for any purpose that nothing was tuned for.
    """
    asked = request.n_ctx is not None or request.min_ctx is not None
    long = request.prefer == "context" or (asked and _asked_n_ctx(request, plan) >= GOOD_N_CTX)
    named: tuple[Purpose, ...] = ("long-context", purpose, "chat") if long else (purpose, "chat")
    return tuple(dict.fromkeys(named))


def _asked_n_ctx(request: PlanRequest, plan: Plan) -> int:
    """Tokens of context that one sequence was asked to have."""
    return max(request.min_ctx or 0, n_ctx_seq(plan.load_params) if request.n_ctx is not None else 0)


def _confirmed(file: ModelFile, catalogue: Catalogue, machine: Hardware, world: World, *, offline: bool) -> Catalogue:
    """The catalogue with the file's real header in place of its table, or without a file that is damaged."""
    try:
        known = ensure_header(
            file,
            cache_dir=world.cache_dir,
            isa=machine.cpu.isa,
            open_remote=world.remote(offline=offline),
        )
    except DamagedFileError as error:
        rest = tuple(other for other in catalogue.files if other.name != file.name)
        if not rest:
            raise
        return replace(catalogue, files=rest, notes=(*catalogue.notes, f"{file.name} is left out: {error.message}"))
    return replace(
        catalogue,
        files=tuple(known.file if other.name == file.name else other for other in catalogue.files),
        weights={**catalogue.weights, file.name: known.weights},
        specs={**catalogue.specs, file.name: known.spec},
    )
