"""What a decision on engines looks at, read of this machine. Nothing here raises for what a machine lacks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launcher.builds import store
from launcher.builds.compat import judge
from launcher.builds.decision import Facts
from launcher.builds.shelf import Target, Version, as_version
from launcher.builds.toolchain import Places, probe_toolchain
from launcher.builds.types import BACKENDS
from launcher.hardware import apple, linux, nvidia, sysfs, windows
from launcher.hardware.detect import WIDE_ISA, Machine
from launcher.hardware.engine_devices import EngineReport
from launcher.hardware.match import REGISTRIES, merge_seen
from launcher.hardware.packages import Need
from launcher.hardware.seen import SeenGpu

_VULKAN_DRIVERS = ("usr/share/vulkan/icd.d", "etc/vulkan/icd.d", "usr/local/share/vulkan/icd.d")


def read_facts(
    data_dir: Path,
    *,
    packages: Mapping[Need, str | None],
    places: Places | None = None,
    glibc: Callable[[], Version | None] | None = None,
) -> Facts:
    """Look at this machine: a second or two, for its compilers and for the environment's engine.

    Args:
        data_dir: where the store is.
        packages: what to type for what is missing.
        places: where to look; this machine by default.
        glibc: how its version is read; of this process by default.
    """
    places = places or Places()
    machine = places.machine
    nvml, driver_cuda = _nvidia(machine)
    tegra = sysfs.read_tegra(machine.root) if machine.system == "Linux" else ()
    tools = probe_toolchain(places)
    engine = machine.engine()
    builds, _ = store.installed(data_dir)
    is_linux = machine.system == "Linux"
    return Facts(
        target=Target(system=machine.system, arch=machine.arch, glibc=(glibc or _glibc)() if is_linux else None),
        gpus=merge_seen(nvml, (*_others(machine), *tegra)),
        driver_cuda=driver_cuda,
        tegra=bool(tegra),
        vulkan_driver=any(True for folder in _VULKAN_DRIVERS for _ in (machine.root / folder).glob("*.json"))
        if is_linux
        else None,
        missing_isa=_missing_isa(machine, engine),
        own=frozenset(name for name in BACKENDS if {"cpu": "CPU", **REGISTRIES}[name] in engine.backends),
        own_version=engine.version,
        builds=builds,
        verdicts={backend: judge(backend, tools) for backend in BACKENDS},
        packages=packages,
    )


def _others(machine: Machine) -> tuple[SeenGpu, ...]:
    if machine.system == "Linux":
        return sysfs.read_gpus(machine.root)
    if machine.system == "Darwin":
        return apple.parse_displays(machine.run(apple.SYSTEM_PROFILER) or "")
    return windows.parse_controllers(machine.run(windows.CONTROLLERS) or "")


def _nvidia(machine: Machine) -> tuple[tuple[SeenGpu, ...], Version | None]:
    """NVIDIA's GPUs, and the newest CUDA that their driver knows."""
    if not nvidia.driver_present(machine.root, machine.system):
        return (), None
    try:
        gpus, _ = nvidia.read_gpus(machine.load_nvml)
        return gpus, _driver_cuda(machine.load_nvml()) if gpus else None
    except Exception:  # noqa: BLE001  # the driver's library fails in its own ways: then nothing is known of it
        return (), None


def _driver_cuda(nvml: Any) -> Version | None:
    nvml.nvmlInit()
    try:
        told = nvidia.ask(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    finally:
        nvml.nvmlShutdown()
    # 12060 is 12.6
    return (told // 1000, told % 1000 // 10) if told else None


def _missing_isa(machine: Machine, engine: EngineReport) -> tuple[str, ...]:
    """Only Linux tells a CPU's own instruction sets; an engine that cannot be asked tells none of its own."""
    if machine.system != "Linux" or not engine.cpu_features:
        return ()
    cpu = linux.read_cpu(machine.root, arch=machine.arch, cpus=machine.affinity())
    return tuple(name for name in WIDE_ISA if name in cpu.isa and name not in engine.cpu_features)


def _glibc() -> Version | None:
    """`glibc 2.36` as numbers; None on musl."""
    if sys.platform == "win32":
        return None
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return None
    return (as_version(version) or None) if name == "glibc" else None
