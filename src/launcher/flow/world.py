"""What the flow takes from outside: this machine, the catalogue, what was measured. Tests give fakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from launcher.catalogue.headers import OpenRemote
from launcher.catalogue.load import load_catalogue
from launcher.catalogue.types import Catalogue, ModelFile
from launcher.hardware.types import Hardware
from launcher.planner.types import Calibration, PlanRequest, Purpose, Rate, Tuned

CalibrationOf = Callable[[Hardware, Path | None], Calibration | None]
"""The model of speed, fitted to what was measured on a machine with its build; None where nothing was."""


def detect_here(build: str | None = None, *, tell: Callable[[str], None] = lambda _: None) -> tuple[Hardware, ...]:
    """This machine by each build of llama.cpp that plans may take.

    Args:
        build: `auto`, or the name of the only one; None for what `gpt-oss engine use` chose.
        tell: told which build is waited for.

    Raises:
        LauncherError: the build that is named cannot be used.
    """
    from launcher.builds.detect import detect_all

    return detect_all(build, tell=tell)


def _rates(hardware: Hardware, state_dir: Path | None) -> Mapping[str, Rate]:
    """Rates of every device and of the host, by name. `state_dir` is that of this machine; None for another one."""
    from launcher.hardware.ram_probe import measured_ram
    from launcher.hardware.rates import rates_of

    if state_dir is None:
        return rates_of(hardware)
    rates = rates_of(hardware, measured_ram=measured_ram(hardware, state_dir=state_dir))
    if not hardware.devices:
        return rates
    from launcher.hardware.calibration import kept_runs
    from launcher.planner.measured_rates import with_measured

    return with_measured(rates, hardware, kept_runs(hardware, state_dir=state_dir))


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
    calibration: CalibrationOf = _calibration
    tuned: Callable[[Hardware, ModelFile, Purpose, Path | None], Tuned | None] = _tuned
    load_catalogue: Callable[..., Catalogue] = load_catalogue
    open_remote: OpenRemote | None = None
    """None: the hub's, where the command is online."""
    tell: Callable[[str], None] = lambda _: None
    """Told of what may take a while."""

    def remote(self, *, offline: bool) -> OpenRemote | None:
        """How headers on the hub are read; None offline."""
        return None if offline else _telling(self.open_remote or _hub_open_remote(), self.tell)


def catalogues(request: PlanRequest, world: World, *, offline: bool, refresh: bool) -> Callable[[Hardware], Catalogue]:
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


def _telling(open_remote: OpenRemote, tell: Callable[[str], None]) -> OpenRemote:
    """The same, saying which file is read: a header of 13 MB takes ten seconds on a slow line."""

    def opened(repo: str, path: str, *, revision: str | None) -> AbstractContextManager[BinaryIO]:
        tell(f"reading the header of {repo}/{path}")
        return open_remote(repo, path, revision=revision)

    return opened


def _hub_open_remote() -> OpenRemote:
    from launcher.store.remote import open_remote

    return open_remote
