"""From facts to lines: each judgement on its own, so that one that fails is a line and not the end. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.doctor.checks_driver import check_driver, check_holders, check_store, check_toolkit
from launcher.doctor.checks_gpu import check_gpus
from launcher.doctor.checks_host import check_cpu, check_engine, check_memory, check_swap
from launcher.doctor.checks_place import check_clock, check_disk, check_folders, check_hub, check_port, check_speed
from launcher.doctor.known import KnownBad, check_known, present, toolkit_first
from launcher.doctor.scene import Scene, Store, together
from launcher.doctor.types import (
    Check,
    Clock,
    Disk,
    DiskSpeed,
    DrmMemory,
    EngineFiles,
    Folder,
    Hub,
    Nodes,
    Nvidia,
    Platform,
    Port,
    Ram,
    Toolkit,
    Versions,
)
from launcher.hardware.match import merge_seen
from launcher.hardware.seen import SeenGpu
from launcher.hardware.types import Cpu

if TYPE_CHECKING:
    from launcher.hardware.engine_devices import EngineReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Everything that probes found. None is what could not be had; `missing` says why."""

    platform: Platform
    environ: Mapping[str, str]
    known: KnownBad | None = None
    cpu: Cpu | None = None
    ram: Ram | None = None
    engine: EngineReport | None = None
    """The environment's."""
    engine_files: EngineFiles | None = None
    store: Store | None = None
    nvidia: tuple[Nvidia, tuple[SeenGpu, ...]] | None = None
    gpus: tuple[SeenGpu, ...] | None = None
    drm: DrmMemory | None = None
    toolkit: Toolkit | None = None
    nodes: Nodes | None = None
    versions: Versions | None = None
    disk: Disk | None = None
    speed: DiskSpeed | None = None
    folders: tuple[Folder, ...] | None = None
    hub: Hub | None = None
    port: Port | None = None
    clock: Clock | None = None
    ready_made: frozenset[str] = frozenset()
    """Backends that a pre-built engine for this machine has."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """By the name of a fact: why it could not be had."""


class _NoFactError(Exception):
    """A judgement wants a fact that could not be had."""


def examine(facts: Facts) -> tuple[Check, ...]:
    """All lines, in the order in which a person looks for a fault."""
    found: list[Check] = []
    for name, judge in _JUDGES:
        try:
            found += judge(facts)
        except _NoFactError as error:
            found.append(Check(name=name, status="warn", what=f"not checked: {error}"))
        except Exception as error:  # noqa: BLE001  # whatever it is, the other lines are worth reading
            reason = f"{type(error).__name__}: {error}"
            found.append(Check(name=name, status="warn", what=f"not checked, a fault of the launcher: {reason}"))
    return tuple(found)


def _scene(facts: Facts) -> Scene:
    nvidia, shown = facts.nvidia or (None, ())
    return Scene(
        platform=facts.platform,
        engine=_working(facts),
        seen=merge_seen(shown, facts.gpus or ()),
        nvidia=nvidia,
        toolkit=facts.toolkit,
        nodes=facts.nodes,
        environ=facts.environ,
        store=facts.store or Store(),
        ready_made=facts.ready_made,
    )


def _working(facts: Facts) -> EngineReport | None:
    """All that plans can compute with; None where the environment's engine could not be asked in time."""
    return None if facts.engine is None else together(facts.engine, facts.store or Store())


def _need(facts: Facts, name: str) -> _NoFactError:
    return _NoFactError(facts.missing.get(name, "nothing was found out"))


def _cpu(facts: Facts) -> tuple[Check, ...]:
    if facts.cpu is None:
        raise _need(facts, "cpu")
    return check_cpu(facts.cpu, _working(facts), _scene(facts).means)


def _memory(facts: Facts) -> tuple[Check, ...]:
    if facts.ram is None:
        raise _need(facts, "ram")
    return check_memory(facts.ram, _working(facts), facts.platform)


def _swap(facts: Facts) -> tuple[Check, ...]:
    if facts.ram is None:
        raise _need(facts, "ram")
    return check_swap(facts.ram, facts.platform)


def _engine(facts: Facts) -> tuple[Check, ...]:
    if facts.engine is None or facts.engine_files is None:
        raise _need(facts, "engine" if facts.engine is None else "engine_files")
    others = tuple(each.name for each in (facts.store or Store()).working)
    return check_engine(facts.engine, facts.engine_files, _scene(facts).means, others)


def _store(facts: Facts) -> tuple[Check, ...]:
    if facts.store is None:
        if "store" in facts.missing:
            raise _need(facts, "store")
        return ()
    driver = facts.nvidia[0].driver if facts.nvidia is not None else None
    return check_store(facts.store, driver, facts.engine_files.wanted if facts.engine_files is not None else None)


def _gpus(facts: Facts) -> tuple[Check, ...]:
    scene = _scene(facts)
    if scene.engine is None:
        raise _need(facts, "engine")
    for name in ("nvidia", "gpus"):
        if getattr(facts, name) is None:
            raise _need(facts, name)
    first = toolkit_first(facts.known, present(scene, facts.versions)) if facts.known is not None else None
    return check_gpus(scene, scene.engine, first)


def _driver(facts: Facts) -> tuple[Check, ...]:
    if facts.nvidia is None:
        raise _need(facts, "nvidia")
    oldest = facts.known.cuda_drivers if facts.known is not None else {}
    return check_driver(_scene(facts), facts.nvidia[0], oldest)


def _toolkit(facts: Facts) -> tuple[Check, ...]:
    if facts.toolkit is None:
        raise _need(facts, "toolkit")
    return check_toolkit(facts.toolkit, facts.ready_made)


def _holders(facts: Facts) -> tuple[Check, ...]:
    if facts.nvidia is None and not (facts.drm is not None and facts.drm.n_gpus):
        raise _need(facts, "nvidia")
    return check_holders(facts.nvidia[0] if facts.nvidia is not None else None, facts.drm, facts.platform)


def _known(facts: Facts) -> tuple[Check, ...]:
    if facts.known is None:
        raise _need(facts, "known")
    return check_known(facts.known, present(_scene(facts), facts.versions))


def _disk(facts: Facts) -> tuple[Check, ...]:
    if facts.disk is None:
        raise _need(facts, "disk")
    return check_disk(facts.disk, facts.platform)


def _speed(facts: Facts) -> tuple[Check, ...]:
    if facts.speed is None:
        raise _need(facts, "speed")
    return check_speed(facts.speed, facts.disk)


def _folders(facts: Facts) -> tuple[Check, ...]:
    if facts.folders is None:
        raise _need(facts, "folders")
    return check_folders(facts.folders, facts.platform)


def _hub(facts: Facts) -> tuple[Check, ...]:
    if facts.hub is None:
        raise _need(facts, "hub")
    return check_hub(facts.hub, facts.disk)


def _port(facts: Facts) -> tuple[Check, ...]:
    if facts.port is None:
        raise _need(facts, "port")
    return check_port(facts.port)


def _clock(facts: Facts) -> tuple[Check, ...]:
    if facts.clock is None:
        raise _need(facts, "clock")
    return check_clock(facts.clock, facts.hub, facts.platform)


_JUDGES: tuple[tuple[str, Callable[[Facts], tuple[Check, ...]]], ...] = (
    ("cpu", _cpu),
    ("memory", _memory),
    ("swap", _swap),
    ("engine", _engine),
    ("engines", _store),
    ("gpu", _gpus),
    ("driver", _driver),
    ("toolkits", _toolkit),
    ("gpu memory", _holders),
    ("known bad", _known),
    ("disk space", _disk),
    ("disk speed", _speed),
    ("folders", _folders),
    ("hub", _hub),
    ("port", _port),
    ("clock", _clock),
)
