"""All that is known of the machine's GPUs and of the engines that can drive them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from launcher.builds.types import AUTO, ENVIRONMENT, Build, DamagedBuild
from launcher.doctor.remedies import Means
from launcher.doctor.types import Nodes, Nvidia, Platform, Toolkit

if TYPE_CHECKING:
    from launcher.hardware.crashes import Crash
    from launcher.hardware.engine_devices import EngineDevice, EngineReport
    from launcher.hardware.seen import SeenGpu


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An engine of the store that plans may take."""

    name: str
    report: EngineReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """The engines beside the environment's."""

    chosen: str = AUTO
    """What `gpt-oss engine use` chose."""
    engines: tuple[Stored, ...] = ()
    """Those that passed their self-test."""
    builds: tuple[Build, ...] = ()
    """All that are whole."""
    damaged: tuple[DamagedBuild, ...] = ()
    crashed: tuple[Crash, ...] = ()
    """How engines ended that no plan takes since then."""

    @property
    def working(self) -> tuple[Stored, ...]:
        """Those that could be asked and that plans may take."""
        asked = tuple(each for each in self.engines if each.report.devices is not None)
        only = tuple(each for each in asked if each.name == self.chosen)
        return () if self.chosen == ENVIRONMENT else (only or asked)


def together(engine: EngineReport, store: Store) -> EngineReport:
    """All that plans can compute with, as one engine: the environment's and those of the store, or the chosen one."""
    working = store.working
    alone = [each.report for each in working if each.name == store.chosen]
    reports = alone or [*([engine] if engine.devices is not None else []), *(each.report for each in working)]
    if not reports:
        return engine
    devices: dict[str, EngineDevice] = {}
    for report in reports:
        for device in report.devices or ():
            devices.setdefault(device.device_id or device.name, device)
    return replace(
        reports[0],
        devices=tuple(devices.values()),
        backends=tuple(dict.fromkeys(name for report in reports for name in report.backends)),
        cpu_features=max((report.cpu_features for report in reports), key=len),
    )


def engine_of(reports: Sequence[Stored], device: EngineDevice) -> str | None:
    """The engine of the store that has a device; None where it is not one of theirs."""
    return next((each.name for each in reports if device in (each.report.devices or ())), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What judgements on GPUs look at. None is what could not be had."""

    platform: Platform
    engine: EngineReport | None
    """All that plans can compute with."""
    seen: tuple[SeenGpu, ...]
    """GPUs of the machine, each once."""
    nvidia: Nvidia | None
    toolkit: Toolkit | None
    nodes: Nodes | None
    environ: Mapping[str, str]
    """Has the variables that hide GPUs."""
    store: Store = Store()
    ready_made: frozenset[str] = frozenset()
    """Backends that a pre-built engine for this machine has."""

    @property
    def means(self) -> Means:
        """What an engine can be got with."""
        drivers = self.nodes.vulkan_drivers if self.nodes is not None else None
        return Means(platform=self.platform, toolkit=self.toolkit, ready_made=self.ready_made, vulkan_drivers=drivers)
