"""`detect()`: ask every probe and put together one record of the machine. Never raises for what a machine lacks."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.hardware import apple, linux, nvidia, psutil_probe, sysfs
from launcher.hardware.engine_devices import EngineReport, find_package, read_engine
from launcher.hardware.match import Install, idle_devices, merge_seen, rebuild_command, usable_devices
from launcher.hardware.types import Cpu, EngineBuild, Hardware, HostMemory
from launcher.store.types import without_hub_login

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from launcher.hardware.seen import SeenGpu

TOOL_DEADLINE_S = 10.0
"""sysctl answers in milliseconds, system_profiler in half a second; ten seconds mean that it never will."""

# What decoding gains from: told where the processor has one and the engine was compiled without.
_WIDE_ISA = ("AVX2", "AVX512", "AVX512_VNNI", "AVX512_BF16", "AMX_INT8", "DOTPROD", "MATMUL_INT8", "SVE")


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
    install: Install = field(default_factory=_install)
    python: str = sys.executable


def detect(machine: Machine | None = None) -> Hardware:
    """Read this machine: CPU, RAM as limits leave it, the engine's devices, and GPUs that the engine cannot use.

    NVML is read before the engine is asked, while no CUDA context of ours takes memory. What cannot be read becomes a
    note of the record; nothing is guessed.
    """
    machine = machine or Machine()
    notes: list[str] = []
    sysctl = apple.parse_sysctl(machine.run(apple.SYSCTL) or "") if machine.system == "Darwin" else {}
    memory = _memory(machine, notes)
    cpu = _cpu(machine, sysctl, notes)
    nvml = _nvml(machine, notes)
    engine = machine.engine()
    seen = merge_seen(nvml, _other_gpus(machine, engine))
    if engine.note:
        notes.append(engine.note)
    cpu = _with_engine_isa(machine, cpu, engine, notes)
    return Hardware(
        os=machine.system,
        cpu=cpu,
        memory=memory,
        devices=usable_devices(engine, seen, arch=machine.arch, memory=memory),
        idle_devices=idle_devices(
            engine,
            seen,
            install=machine.install,
            system=machine.system,
            python=machine.python,
            environ=machine.environ,
        ),
        engine=EngineBuild(
            version=engine.version,
            llama_cpp_commit=engine.commit,
            backends=engine.backends,
            supports_rpc=engine.supports_rpc,
            bin_dir=engine.bin_dir,
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
    if cpu is None:
        cpu = machine.host_cpu(arch=machine.arch, name=platform.processor() or None)
    return cpu


def _with_engine_isa(machine: Machine, cpu: Cpu, engine: EngineReport, notes: list[str]) -> Cpu:
    """Keep the instruction sets that the engine uses; say which of the processor's it was compiled without.

    Only Linux tells the processor's own; elsewhere those of the engine are known to be there, because it runs.
    """
    options = {"LLAMAFILE", "OPENMP", "REPACK", "ACCELERATE", "KLEIDIAI", "CPU_HBM"}
    used = tuple(name for name in engine.cpu_features if name not in options)
    if not used:
        return cpu
    missing = [name for name in _WIDE_ISA if name in cpu.isa and name not in used]
    if missing:
        command = rebuild_command(
            "GGML_NATIVE",
            version=engine.version,
            install=machine.install,
            system=machine.system,
            python=machine.python,
        )
        notes.append(
            f"this llama.cpp build does not use {', '.join(missing)}, which the CPU has; compile it here: {command}"
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


def _other_gpus(machine: Machine, engine: EngineReport) -> tuple[SeenGpu, ...]:
    if machine.system == "Linux":
        return (*sysfs.read_gpus(machine.root), *sysfs.read_tegra(machine.root))
    if machine.system == "Darwin" and not any(device.type == "GPU" for device in engine.devices or ()):
        # Half a second, so only where the engine shows no GPU on a Mac, which always has one.
        return apple.parse_displays(machine.run(apple.SYSTEM_PROFILER) or "")
    return ()
