"""`detect()`: ask every probe and put together one record of the machine. Never raises for what a machine lacks."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from launcher.hardware import apple, cores, linux, nvidia, psutil_probe, registry, sysfs
from launcher.hardware.engine_devices import EngineAt, EngineReport, find_package, read_engine, read_engines
from launcher.hardware.match import idle_devices, install_command, merge_seen, usable_devices, with_others
from launcher.hardware.types import ENVIRONMENT, Cpu, EngineBuild, Hardware, HostMemory
from launcher.store.types import without_hub_login

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from launcher.hardware.seen import SeenGpu

TOOL_DEADLINE_S = 10.0
"""sysctl answers in milliseconds, system_profiler in half a second; ten seconds mean that it never will."""

Install = Literal["checkout", "package"]
"""How the launcher was installed: from a checkout with `uv sync`, or as a package."""

WIDE_ISA = ("AVX2", "AVX512", "AVX512_VNNI", "AVX512_BF16", "AMX_INT8", "DOTPROD", "MATMUL_INT8", "SVE")
"""What decoding gains from: told where the processor has one and the engine was compiled without."""


def run_tool(command: Sequence[str], *, timeout_s: float = TOOL_DEADLINE_S) -> str | None:
    """A tool's stdout, whatever it exits with; None where it is not there or does not answer."""
    try:
        done = subprocess.run(  # noqa: PLW1510
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            env=without_hub_login(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace")


def _affinity() -> frozenset[int]:
    if sys.platform == "linux":
        return frozenset(os.sched_getaffinity(0))
    return psutil_probe.affinity()


def _install() -> Install:
    """A checkout has pyproject.toml above src/launcher; a package has not."""
    return "checkout" if (Path(__file__).parents[3] / "pyproject.toml").is_file() else "package"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where detect() looks. The defaults are the machine it runs on; tests give a file tree and fakes."""

    system: str = field(default_factory=platform.system)
    arch: str = field(default_factory=platform.machine)
    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    affinity: Callable[[], frozenset[int]] = _affinity
    run: Callable[[Sequence[str]], str | None] = run_tool
    load_nvml: Callable[[], Any] = nvidia.load_nvml
    engine: Callable[[], EngineReport] = lambda: read_engine(find_package())
    host_memory: Callable[[], HostMemory] = psutil_probe.read_memory
    host_cpu: Callable[..., Cpu] = psutil_probe.read_cpu
    """What psutil says: for systems without a probe of their own, and where that probe fails."""
    read_registry: registry.ReadValues = registry.read_values
    read_cores: Callable[[], bytes] = cores.read_records
    """Records of Windows' cores, which tell the fast ones."""
    install: Install = field(default_factory=_install)
    python: str = sys.executable


def detect(machine: Machine | None = None) -> Hardware:
    """Read this machine with the environment's build: CPU, RAM as limits leave it, the engine's devices, idle GPUs.

    What cannot be read becomes a note of the record; nothing is guessed.
    """
    machine = machine or Machine()
    (only,) = detect_each((EngineAt(name=ENVIRONMENT, site=None, read=machine.engine),), machine)
    return only.hardware


@dataclass(frozen=True, kw_only=True, slots=True)
class Detected:
    """The machine as one build sees it."""

    hardware: Hardware
    problem: str | None
    """Why the build could not be asked; its record then has no devices."""


def detect_each(engines: Sequence[EngineAt], machine: Machine | None = None) -> tuple[Detected, ...]:
    """Read this machine once and ask each build what it can compute on, all at the same time. Never raises.

    NVML is read before the builds are asked, while no CUDA context of ours takes memory.
    """
    machine = machine or Machine()
    notes: list[str] = []
    sysctl = apple.parse_sysctl(machine.run(apple.SYSCTL) or "") if machine.system == "Darwin" else {}
    memory = _memory(machine, notes)
    cpu = _cpu(machine, sysctl, notes)
    nvml = _nvml(machine, notes)
    reports = read_engines(engines)
    seen = merge_seen(nvml, _other_gpus(machine, reports))
    found = [
        Detected(
            hardware=_seen_by(at, report, machine, _Facts(cpu=cpu, memory=memory, seen=seen, notes=tuple(notes))),
            problem=None if report.devices is not None else (report.note or "it could not be asked"),
        )
        for at, report in zip(engines, reports, strict=True)
    ]
    shown = with_others([(one.hardware, one.problem) for one in found])
    return tuple(replace(one, hardware=hardware) for one, hardware in zip(found, shown, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """What does not depend on the build."""

    cpu: Cpu
    memory: HostMemory
    seen: tuple[SeenGpu, ...]
    notes: tuple[str, ...]


def _seen_by(at: EngineAt, engine: EngineReport, machine: Machine, facts: _Facts) -> Hardware:
    notes = [*facts.notes, *([engine.note] if engine.note else [])]
    cpu = _with_engine_isa(facts.cpu, engine, notes)
    return Hardware(
        os=machine.system,
        cpu=cpu,
        memory=facts.memory,
        devices=usable_devices(engine, facts.seen, arch=machine.arch, memory=facts.memory),
        idle_devices=idle_devices(engine, facts.seen, environ=machine.environ),
        engine=EngineBuild(
            version=engine.version,
            llama_cpp_commit=engine.commit,
            backends=engine.backends,
            supports_rpc=engine.supports_rpc,
            bin_dir=engine.bin_dir,
            name=at.name,
            site=at.site,
            made_at=at.made_at,
        ),
        notes=tuple(notes),
    )


def _memory(machine: Machine, notes: list[str]) -> HostMemory:
    memory = linux.read_memory(machine.root) if machine.system == "Linux" else None
    if memory is None:
        if machine.system == "Linux":
            notes.append("/proc/meminfo could not be read: limits of control groups are not known")
        memory = machine.host_memory()
    return memory


def _cpu(machine: Machine, sysctl: Mapping[str, str], notes: list[str]) -> Cpu:
    cpu = None
    if machine.system == "Linux":
        cpu = linux.read_cpu(machine.root, arch=machine.arch, cpus=machine.affinity())
        if cpu.n_physical is None:
            notes.append("sysfs does not tell which CPUs share a core: threads are counted by logical cores")
    elif machine.system == "Darwin":
        cpu = apple.cpu_from_sysctl(sysctl, arch=machine.arch)
    if cpu is None and machine.system == "Windows":
        cpu = machine.host_cpu(arch=machine.arch, name=registry.processor_name(machine.read_registry))
        # Kept to some of its CPUs, this process may have none of the fast ones.
        fast = None if cpu.n_physical is None else cores.n_performance(machine.read_cores())
        cpu = replace(cpu, n_performance=fast)
    if cpu is None:
        cpu = machine.host_cpu(arch=machine.arch, name=platform.processor() or None)
    return cpu


def _with_engine_isa(cpu: Cpu, engine: EngineReport, notes: list[str]) -> Cpu:
    """Keep the instruction sets that the engine uses; say which of the processor's it was compiled without.

    Only Linux tells the processor's own; elsewhere those of the engine are known to be there, because it runs.
    """
    options = {"LLAMAFILE", "OPENMP", "REPACK", "ACCELERATE", "KLEIDIAI", "CPU_HBM"}
    used = tuple(name for name in engine.cpu_features if name not in options)
    if not used:
        return cpu
    missing = [name for name in WIDE_ISA if name in cpu.isa and name not in used]
    if missing:
        notes.append(
            f"this llama.cpp build does not use {', '.join(missing)}, which the CPU has; "
            f"one that does: {install_command('cpu')}"
        )
    return replace(cpu, isa=used)


def _nvml(machine: Machine, notes: list[str]) -> tuple[SeenGpu, ...]:
    if not nvidia.driver_present(machine.root, machine.system):
        return ()
    try:
        gpus, problems = nvidia.read_gpus(machine.load_nvml)
    except ImportError as error:
        gpus, problems = (), (f"NVML: {error}",)
    # On Windows, NVML that is not there is the ordinary case of a machine without an NVIDIA GPU.
    if machine.system == "Linux":
        notes.extend(problems)
    return gpus


def _other_gpus(machine: Machine, engines: Sequence[EngineReport]) -> tuple[SeenGpu, ...]:
    if machine.system == "Linux":
        return (*sysfs.read_gpus(machine.root), *sysfs.read_tegra(machine.root))
    if machine.system == "Darwin" and not any(
        device.type == "GPU" for engine in engines for device in engine.devices or ()
    ):
        # Half a second, so only where the engine shows no GPU on a Mac, which always has one.
        return apple.parse_displays(machine.run(apple.SYSTEM_PROFILER) or "")
    if machine.system == "Windows":
        return registry.read_gpus(machine.read_registry)
    return ()
