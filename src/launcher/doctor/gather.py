"""Ask all probes at once, each apart: one that hangs or raises leaves a reason instead of a fact."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from launcher.configs import configs_dir
from launcher.doctor import probe_disk, probe_gpu, probe_holders, probe_net
from launcher.doctor.examine import Facts
from launcher.doctor.known import FILE_NAME, KnownBad, parse_known
from launcher.doctor.scene import Store, Stored
from launcher.doctor.sources import Sources
from launcher.doctor.system import read_platform
from launcher.doctor.types import Clock, EngineFiles, Folder, Missing, Nvidia, Platform, Ram
from launcher.errors import LauncherError
from launcher.hardware import apple, linux
from launcher.hardware.engine_devices import EngineAt, read_engines
from launcher.hardware.seen import read_text
from launcher.hardware.types import Cpu
from launcher.store.local import hub_cache_dir, hub_home

DEADLINE_S = 9.0
"""Of every probe. They run side by side, so the command takes no longer than that; the engine's own deadline is
shorter, and a hub that takes longer is too slow to work with."""

Probe = Callable[[], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What the settings and the command line say."""

    host: str
    port: int
    offline_by: str | None
    """Who forbids to ask the network; None where nobody does."""


def ask_all(
    probes: Mapping[str, Probe], *, deadline_s: float = DEADLINE_S, clock_s: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """What each probe found, or Missing with the reason. Never raises for a probe, and never waits past the deadline.

    Threads, because most of it is waiting; daemons, because nothing can end one that hangs in a driver.
    """
    answers: dict[str, queue.SimpleQueue[Any]] = {name: queue.SimpleQueue() for name in probes}

    def attempt(name: str, probe: Probe) -> None:
        try:
            answers[name].put(probe())
        except LauncherError as error:
            answers[name].put(Missing(why=error.message))
        except Exception as error:  # noqa: BLE001  # it becomes a line
            reason = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
            answers[name].put(Missing(why=reason))

    end_s = clock_s() + deadline_s
    for name, probe in probes.items():
        threading.Thread(target=attempt, args=(name, probe), daemon=True, name=f"doctor-{name}").start()
    found = {}
    for name, answer in answers.items():
        try:
            found[name] = answer.get(timeout=max(0.0, end_s - clock_s()))
        except queue.Empty:
            found[name] = Missing(why=f"no answer within {deadline_s:.0f} s")
    return found


def gather(wishes: Wishes, sources: Sources | None = None, *, deadline_s: float = DEADLINE_S) -> Facts:
    """All facts of this machine."""
    sources = sources or Sources()
    environ = sources.machine.environ
    cache = hub_cache_dir(environ)
    probes = machine_probes(sources) | {
        "disk": lambda: probe_disk.read_disk(cache, sources.machine.root),
        "speed": lambda: probe_disk.read_speed(cache, sources.clock_s),
        "folders": lambda: _folders(sources, cache, hub_home(environ) / "token"),
        "hub": lambda: probe_net.read_hub(offline_by=wishes.offline_by, environ=environ, now_s=sources.now_s),
        "port": lambda: probe_net.read_port(wishes.host, wishes.port, sources.folders.state),
        "clock": lambda: Clock(now_s=sources.now_s()),
    }
    return facts_of(sources, ask_all(probes, deadline_s=deadline_s))


def facts_of(sources: Sources, found: Mapping[str, Any]) -> Facts:
    """Facts from what probes answered."""
    missing = {name: value.why for name, value in found.items() if isinstance(value, Missing)}
    had = {name: value for name, value in found.items() if name not in missing}
    platform = had.pop("platform", None) or read_platform(replace(sources, groups=tuple))
    nvidia = had["nvidia"][0] if "nvidia" in had else None
    ready_made = _ready_made(platform, nvidia)
    return Facts(platform=platform, environ=sources.machine.environ, missing=missing, ready_made=ready_made, **had)


def _ready_made(platform: Platform, nvidia: Nvidia | None) -> frozenset[str]:
    """Backends that a pre-built engine which runs here has, by the table that is shipped; none where it is damaged."""
    from launcher.builds.shelf import Target, as_version, fitting, read_shelf
    from launcher.builds.types import BACKENDS

    try:
        shelf = read_shelf()
    except LauncherError:
        return frozenset()
    glibc = as_version(platform.glibc) if platform.glibc else None
    target = Target(system=platform.system, arch=platform.arch, glibc=glibc)
    gpus = nvidia.gpus if nvidia is not None else ()
    driver_cuda = as_version(nvidia.cuda) if nvidia is not None and nvidia.cuda else None
    capabilities = tuple(gpu.compute_capability for gpu in gpus)
    return frozenset(
        backend
        for backend in BACKENDS
        for archive in fitting(shelf, backend, target, capabilities=capabilities, driver_cuda=driver_cuda)
        if archive.brings and not (platform.jetson and backend == "cuda")
    )


def read_known() -> KnownBad:
    """The table that is shipped.

    Raises:
        DamagedFileError: the installation is not whole.
    """
    return parse_known((configs_dir() / FILE_NAME).read_text(encoding="utf-8"))


def machine_probes(sources: Sources) -> dict[str, Probe]:
    """Probes of the machine itself, without disk and network."""
    machine = sources.machine
    return {
        "platform": lambda: read_platform(sources),
        "known": read_known,
        "cpu": lambda: _cpu(sources),
        "ram": lambda: _ram(sources),
        "engine": machine.engine,
        "engine_files": lambda: _engine_files(sources),
        "store": lambda: _store(sources),
        "nvidia": lambda: probe_gpu.read_nvidia(sources),
        "gpus": lambda: probe_gpu.read_seen(machine),
        "drm": lambda: probe_holders.read_holders(sources),
        "toolkit": lambda: probe_gpu.read_toolkit(sources),
        "nodes": lambda: probe_gpu.read_nodes(sources),
        "versions": lambda: probe_gpu.read_versions(sources, read_platform(sources).packages),
    }


def _cpu(sources: Sources) -> Cpu:
    machine = sources.machine
    if machine.system == "Linux":
        return linux.read_cpu(machine.root, arch=machine.arch, cpus=machine.affinity())
    if machine.system == "Darwin":
        found = apple.cpu_from_sysctl(apple.parse_sysctl(machine.run(apple.SYSCTL) or ""), arch=machine.arch)
        if found is not None:
            return found
    return machine.host_cpu(arch=machine.arch, name=None)


def _ram(sources: Sources) -> Ram:
    machine = sources.machine
    host = linux.read_memory(machine.root) if machine.system == "Linux" else None
    used = None
    if host is not None:
        info = linux.parse_meminfo(read_text(machine.root / "proc/meminfo") or "")
        if "SwapFree" in info:
            used = max(0, info.get("SwapTotal", 0) - info["SwapFree"])
    return Ram(host=host or machine.host_memory(), swap_used_bytes=used)


def _engine_files(sources: Sources) -> EngineFiles:
    from launcher.engines.programs import engine_program

    there = engine_program("llama-server") is not None or sources.which("llama-server") is not None
    return EngineFiles(wanted=sources.wanted_engine(), llama_server=there)


def _store(sources: Sources) -> Store:
    """The engines of the store; those that passed their self-test are asked in child processes, all at once."""
    from launcher.builds import store
    from launcher.builds.crashed import last_crash

    data_dir = sources.folders.data
    builds, damaged = store.installed(data_dir)
    crashed = {build.name: crash for build in builds if (crash := last_crash(build, sources.folders.state)) is not None}
    usable = [build for build in builds if build.usable and build.name not in crashed]
    asked = [EngineAt(name=one.name, site=str(one.site), read=partial(sources.read_build, one)) for one in usable]
    reports = read_engines(asked) if asked else ()
    found = tuple(Stored(name=at.name, report=report) for at, report in zip(asked, reports, strict=True))
    return Store(
        chosen=store.chosen(data_dir),
        engines=found,
        builds=builds,
        damaged=damaged,
        crashed=tuple(crashed.values()),
    )


def _folders(sources: Sources, cache: Path, token: Path) -> tuple[Folder, ...]:
    own = sources.folders
    found = [
        probe_disk.read_folder("config", own.config, private=True),
        probe_disk.read_folder("data", own.data, private=True),
        probe_disk.read_folder("state", own.state, private=False),
        probe_disk.read_folder("cache", own.cache, private=False),
    ]
    hub = probe_disk.read_folder("hub cache", cache, private=False)
    with contextlib.suppress(OSError):
        if os.name == "posix" and token.stat().st_mode & 0o004:
            hub = replace(hub, exposed=token)
    return (*found, hub)
