"""The one flow that every command follows: machine and catalogue in, a plan confirmed on the real header out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from launcher.catalogue.headers import OpenRemote, ensure_header
from launcher.catalogue.load import load_catalogue
from launcher.catalogue.types import Catalogue, ModelFile, ModelWeights
from launcher.errors import DamagedFileError, DoesNotFitError, NetworkError, UsageError
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
from launcher.planner.tuned import apply_tuned
from launcher.planner.types import HOST, Calibration, Plan, PlanRequest, Purpose, Rate, Tuned

if TYPE_CHECKING:
    from launcher.hardware.profiles import Profile
    from launcher.planner.whatif import Upgrade

_CONFIRMATIONS = 4  # each may dismiss a file whose header disagrees with its listing; more means a broken catalogue


def detect_here(build: str | None = None) -> tuple[Hardware, ...]:
    """This machine by each build of llama.cpp that plans may take.

    Args:
        build: `auto`, or the name of the only one; None for what `gpt-oss engine use` chose.

    Raises:
        LauncherError: the build that is named cannot be used.
    """
    from launcher.builds.detect import detect_all

    return detect_all(build)


def _rates(hardware: Hardware, state_dir: Path | None) -> Mapping[str, Rate]:
    """Rates of every device and of the host, by name. `state_dir` is that of this machine; None for another one."""
    from launcher.hardware.ram_probe import measured_ram
    from launcher.hardware.rates import rates_of

    return rates_of(hardware, measured_ram=None if state_dir is None else measured_ram(hardware, state_dir=state_dir))


def _calibration(hardware: Hardware, state_dir: Path | None) -> Calibration | None:
    """What measured runs said of predictions on this machine, with this engine."""
    from launcher.hardware.calibration import kept_runs
    from launcher.planner.costs import unit_costs
    from launcher.planner.fit import fit

    runs = () if state_dir is None else kept_runs(hardware, state_dir=state_dir)
    return fit(runs, unit_costs(hardware, _rates(hardware, state_dir))) if runs else None


def _tuned(hardware: Hardware, file: ModelFile, purpose: Purpose, state_dir: Path | None) -> Tuned | None:
    """What won measured runs of this file on this machine, with this engine."""
    from launcher.hardware.tuned import load_tuned

    return None if state_dir is None else load_tuned(hardware, file, purpose=purpose, state_dir=state_dir)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Everything that the flow takes from outside. The defaults are the real ones; tests give fakes."""

    cache_dir: Path
    """The launcher's own cache folder, not the hub's."""
    detect: Callable[[], tuple[Hardware, ...]] = detect_here
    """This machine, once for each build of llama.cpp that a plan may take: the plan's is the best."""
    model_dirs: tuple[Path, ...] = ()
    """Folders of the person's own to look for models in."""
    state_dir: Path | None = None
    """Where measurements of this machine are kept; None measures nothing."""
    rates: Callable[[Hardware, Path | None], Mapping[str, Rate]] = _rates
    calibration: Callable[[Hardware, Path | None], Calibration | None] = _calibration
    tuned: Callable[[Hardware, ModelFile, Purpose, Path | None], Tuned | None] = _tuned
    load_catalogue: Callable[..., Catalogue] = load_catalogue
    open_remote: OpenRemote | None = None
    """None: the hub's, where the command is online."""
    tell: Callable[[str], None] = lambda _: None
    """Told of what may take a while."""

    def remote(self, *, offline: bool) -> OpenRemote | None:
        """How headers on the hub are read; None offline."""
        return None if offline else _telling(self.open_remote or _hub_open_remote(), self.tell)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A machine and the plan for it."""

    hardware: Hardware
    plan: Plan
    weights: ModelWeights
    """Of the plan's file."""


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
    catalogues = _catalogues(request, world, offline=offline, refresh=refresh)
    if hardware is not None:
        return _prepare_on(hardware, catalogues, request, world, offline=offline, purpose=None, here=False)
    machines, passed = worth_planning(world.detect(), with_programs=with_programs)
    prepared: dict[str, Prepared] = {}
    refusals = []
    for machine in machines:
        try:
            prepared[machine.engine.name] = _prepare_on(
                machine, catalogues, request, world, offline=offline, purpose=purpose, here=True
            )
        except (DoesNotFitError, UsageError) as error:
            refusals.append(Refusal(hardware=machine, error=error))
    if not prepared:
        refused = nearest_refusal(refusals)
        refused.details = (*refused.details, *left_out_notes(machines[0]))
        raise refused
    options = {name: Option(plan=one.plan, n_params=one.weights.n_params) for name, one in prepared.items()}
    chosen = choose_engine(tuple(options.values()), request)
    rows = engine_rows(chosen, tuple(options.values()), refusals, passed)
    best = prepared[chosen.plan.hardware.engine.name]
    notes = (*filter(None, [engine_note(rows)]), *left_out_notes(best.hardware), *best.plan.notes)
    return replace(best, plan=replace(best.plan, notes=notes, engines=rows))


def _prepare_on(
    machine: Hardware,
    catalogues: Callable[[Hardware], Catalogue],
    request: PlanRequest,
    world: World,
    *,
    offline: bool,
    purpose: Purpose | None,
    here: bool,
) -> Prepared:
    """The plan with one build, on this machine (`here`) or another one."""
    catalogue = catalogues(machine)
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
    return Prepared(hardware=machine, plan=replace(found, notes=(*found.notes, *catalogue.notes)), weights=weights)


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


def _catalogues(request: PlanRequest, world: World, *, offline: bool, refresh: bool) -> Callable[[Hardware], Catalogue]:
    """The catalogue for a machine, read once for each set of instructions: those decide what is repacked."""
    listed = False

    @cache
    def load(isa: tuple[str, ...]) -> Catalogue:
        nonlocal listed
        again, listed = refresh and not listed, True
        return world.load_catalogue(
            request_model=request.model,
            request_quant=request.quant,
            offline=offline,
            refresh=again,
            isa=isa,
            cache_dir=world.cache_dir,
            open_remote=world.remote(offline=offline),
            model_dirs=world.model_dirs,
            tell=world.tell,
        )

    return lambda machine: load(machine.cpu.isa)


def plan_profiles(
    profiles: Sequence[Profile], request: PlanRequest, world: World, *, offline: bool, refresh: bool = False
) -> list[tuple[Profile, Plan | None, str | None]]:
    """Plan for every profile: with the plan, or the nearest miss and why it was refused.

    Weights come from the catalogue: no header is read for machines that are not here.

    Raises:
        UsageError: what was asked can be kept on none of them.
    """
    catalogue = _catalogues(request, world, offline=offline, refresh=refresh)
    found: list[tuple[Profile, Plan | None, str | None]] = []
    refusal: UsageError | None = None
    for profile in profiles:
        machine = profile.hardware
        files = catalogue(machine)  # an unknown model is unknown on every machine: not a row, an error
        try:
            best = plan(machine, files, request, rates=world.rates(machine, None))
            found.append((profile, best, None))
        except DoesNotFitError as error:
            closest = error.closest if isinstance(error.closest, Plan) else None
            found.append((profile, closest, error.message))
        except UsageError as error:  # a pin that this machine cannot keep
            refusal = refusal or error
            found.append((profile, None, error.message))
    if refusal is not None and all(best is None for _, best, _ in found):
        raise refusal
    return found


def plan_upgrades(
    hardware: Hardware, request: PlanRequest, world: World, *, offline: bool, here: bool
) -> tuple[Upgrade, ...]:
    """What more memory or another GPU would buy.

    Args:
        hardware: the machine as it is.
        request: the wish.
        world: everything from outside.
        offline: ask nothing of the network.
        here: whether it is this machine, whose RAM was measured.
    """
    from launcher.planner.whatif import what_if

    return what_if(hardware, _planner_beside(hardware, request, world, offline=offline, here=here))


def plan_with(here: Hardware, instead: Hardware, request: PlanRequest, world: World, *, offline: bool) -> Plan:
    """The plan for this machine as it would be with other devices.

    Args:
        here: the machine as it is.
        instead: the same with what it would have.
        request: the wish.
        world: everything from outside.
        offline: ask nothing of the network.

    Raises:
        LauncherError: what catalogue or planner refuse.
    """
    return _planner_beside(here, request, world, offline=offline, here=True)(instead)


def _planner_beside(
    hardware: Hardware, request: PlanRequest, world: World, *, offline: bool, here: bool
) -> Callable[[Hardware], Plan]:
    """Plans for machines like this one: no header is read for them, and their devices have published rates."""
    catalogue = _catalogues(request, world, offline=offline, refresh=False)
    # The RAM stays what it is: a measured rate against one of a table would pass for a gain.
    ram = world.rates(hardware, world.state_dir if here else None).get(HOST)

    def planned(machine: Hardware) -> Plan:
        rates = world.rates(machine, None)
        return plan(machine, catalogue(machine), request, rates=rates if ram is None else {**rates, HOST: ram})

    return planned


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


def _telling(open_remote: OpenRemote, tell: Callable[[str], None]) -> OpenRemote:
    """The same, saying which file is read: a header of 13 MB takes ten seconds on a slow line."""

    def opened(repo: str, path: str, *, revision: str | None) -> AbstractContextManager[BinaryIO]:
        tell(f"reading the header of {repo}/{path}")
        return open_remote(repo, path, revision=revision)

    return opened


def _hub_open_remote() -> OpenRemote:
    from launcher.store.remote import open_remote

    return open_remote
