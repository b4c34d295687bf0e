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
from launcher.catalogue.types import Catalogue, ModelFile
from launcher.errors import DamagedFileError, DoesNotFitError, NetworkError, UsageError
from launcher.hardware.types import Hardware
from launcher.planner.choose import plan
from launcher.planner.types import Calibration, Plan, PlanRequest, Rate

if TYPE_CHECKING:
    from launcher.hardware.profiles import Profile
    from launcher.planner.whatif import Upgrade

_CONFIRMATIONS = 4  # each may dismiss a file whose header disagrees with its listing; more means a broken catalogue


def _detect() -> Hardware:
    from launcher.hardware.detect import detect

    return detect()


def _rates(hardware: Hardware, state_dir: Path | None) -> Mapping[str, Rate]:
    """Rates of every device and of the host, by name. `state_dir` is that of this machine; None for another one."""
    from launcher.hardware.ram_probe import measured_ram
    from launcher.hardware.rates import rates_of

    return rates_of(hardware, measured_ram=None if state_dir is None else measured_ram(hardware, state_dir=state_dir))


def _calibration(hardware: Hardware, state_dir: Path | None) -> Calibration | None:
    """What measured runs said of predictions on this machine, with this engine."""
    from launcher.hardware.calibration import load_calibration

    return None if state_dir is None else load_calibration(hardware, state_dir=state_dir)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Everything that the flow takes from outside. The defaults are the real ones; tests give fakes."""

    cache_dir: Path
    """The launcher's own cache folder, not the hub's."""
    detect: Callable[[], Hardware] = _detect
    state_dir: Path | None = None
    """Where measurements of this machine are kept; None measures nothing."""
    rates: Callable[[Hardware, Path | None], Mapping[str, Rate]] = _rates
    calibration: Callable[[Hardware, Path | None], Calibration | None] = _calibration
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


def prepare(
    request: PlanRequest, world: World, *, offline: bool, refresh: bool = False, hardware: Hardware | None = None
) -> Prepared:
    """Detect, load the catalogue, plan, and confirm the plan on the chosen file's own header.

    The header (13 MB of the file, kept afterwards) is read from disk or from the hub; offline, a plan may rest on the
    shipped table, and says so.

    Raises:
        LauncherError: whatever detect, catalogue or planner refuse.
    """
    machine = hardware or world.detect()
    catalogue = _catalogues(request, world, offline=offline, refresh=refresh)(machine)
    # What was measured here says nothing of another machine.
    state_dir = world.state_dir if hardware is None else None
    rates = world.rates(machine, state_dir)
    calibration = world.calibration(machine, state_dir)
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
    return Prepared(hardware=machine, plan=replace(found, notes=(*found.notes, *catalogue.notes)))


def _catalogues(
    request: PlanRequest, world: World, *, offline: bool, refresh: bool
) -> Callable[[Hardware], Catalogue]:
    """The catalogue for a machine, read once for each set of instructions: those decide what is repacked."""

    @cache
    def load(isa: tuple[str, ...]) -> Catalogue:
        return world.load_catalogue(
            request_model=request.model,
            request_quant=request.quant,
            offline=offline,
            refresh=refresh,
            isa=isa,
            cache_dir=world.cache_dir,
            open_remote=world.remote(offline=offline),
        )

    return lambda machine: load(machine.cpu.isa)


def plan_profiles(
    profiles: Sequence[Profile], request: PlanRequest, world: World, *, offline: bool, refresh: bool = False
) -> list[tuple[Profile, Plan | None, str | None]]:
    """Plan for every profile: with the plan, or the nearest miss and why it was refused.

    Weights come from the catalogue: no header is read for machines that are not here.
    """
    catalogue = _catalogues(request, world, offline=offline, refresh=refresh)
    found: list[tuple[Profile, Plan | None, str | None]] = []
    for profile in profiles:
        machine = profile.hardware
        try:
            best = plan(machine, catalogue(machine), request, rates=world.rates(machine, None))
            found.append((profile, best, None))
        except DoesNotFitError as error:
            closest = error.closest if isinstance(error.closest, Plan) else None
            found.append((profile, closest, error.message))
        except UsageError as error:  # a pin that this machine cannot keep
            found.append((profile, None, error.message))
    return found


def plan_upgrades(
    now: Plan, request: PlanRequest, world: World, *, offline: bool, refresh: bool = False
) -> tuple[Upgrade, ...]:
    """What more memory or another GPU would buy on the machine of this plan."""
    from launcher.planner.whatif import what_if

    catalogue = _catalogues(request, world, offline=offline, refresh=refresh)

    def planned(machine: Hardware, wish: PlanRequest) -> Plan:
        return plan(machine, catalogue(machine), wish, rates=world.rates(machine, None))

    return what_if(now.hardware, request, planned_now(now, planned, request), planned)


def planned_now(now: Plan, planned: Callable[[Hardware, PlanRequest], Plan], request: PlanRequest) -> Plan | None:
    """The plan by the same tables as the upgrades, so that a measured rate does not pass for a gain."""
    try:
        return planned(now.hardware, request)
    except DoesNotFitError:
        return None


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
        specs={**catalogue.specs, file.model: known.spec},
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
