"""CPU and RAM of a Linux machine, from /proc and /sys. Functions take the file system's root, so tests give a tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.hardware.cgroup import CgroupLevel, cpu_quota, memory_levels
from launcher.hardware.seen import parse_int, read_text
from launcher.hardware.types import Cpu, HostMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# Kernel flag to ggml's name (ggml/src/ggml-cpu/ggml-cpu.cpp, ggml_backend_cpu_get_features), in ggml's order.
_ISA = {
    "pni": "SSE3",
    "ssse3": "SSSE3",
    "avx": "AVX",
    "avx_vnni": "AVX_VNNI",
    "avx2": "AVX2",
    "f16c": "F16C",
    "fma": "FMA",
    "bmi2": "BMI2",
    "avx512f": "AVX512",
    "avx512vbmi": "AVX512_VBMI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
    "asimd": "NEON",
    "asimdhp": "FP16_VA",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
    "asimddp": "DOTPROD",
    "sme": "SME",
    "sme2": "SME2",
}

BIG_CORE_SHARE = 0.8
"""On ARM, a core counts as a performance core from this share of the largest core's capacity: big cores of one chip
differ by a few percent in clock, little ones have 0.75 of a big one's capacity or less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuInfo:
    """/proc/cpuinfo: the name (None on most ARM machines) and the ISA in ggml's names."""

    name: str | None
    isa: tuple[str, ...]


def parse_cpuinfo(text: str) -> CpuInfo:
    """Read the first processor's name and flags; x86 says `flags`, ARM says `Features`."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    name = fields.get("model name") or fields.get("hardware") or fields.get("cpu model") or None
    return CpuInfo(name=name, isa=tuple(isa for flag, isa in _ISA.items() if flag in flags))


def parse_cpu_list(text: str) -> frozenset[int]:
    """`0-3,8,10-11` as sysfs writes lists of CPUs. What is no number is skipped."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        low = parse_int(first)
        high = parse_int(last) if dash else low
        # 8192 is the most that Linux can be built for (NR_CPUS): a damaged file must not fill the memory.
        if low is not None and high is not None and 0 <= low <= high < 8192:
            cpus.update(range(low, high + 1))
    return frozenset(cpus)


def parse_meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes (the file's `kB` are KiB)."""
    values = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        fields = value.split()
        number = parse_int(fields[0]) if colon and fields else None
        if number is not None and number >= 0:
            values[name.strip()] = number * (1024 if fields[1:] == ["kB"] else 1)
    return values


def host_memory(meminfo: Mapping[str, int], levels: Iterable[CgroupLevel]) -> HostMemory | None:
    """Combine what the kernel has available with what control groups leave of it. None where meminfo tells no total.

    A limit of the machine's whole RAM or more never binds (version 1 writes 8 EiB for `no limit`) and is left out.
    """
    total = meminfo.get("MemTotal", 0)
    if total <= 0:
        return None
    available = meminfo.get("MemAvailable")
    if available is None:  # kernels before 3.14
        cached = meminfo.get("Buffers", 0) + meminfo.get("Cached", 0) - meminfo.get("Shmem", 0)
        available = meminfo.get("MemFree", 0) + max(0, cached)
    available = min(available, total)
    used = total - available
    binding = [level for level in levels if level.limit_bytes < total]
    for level in binding:
        available = min(available, max(0, level.limit_bytes - level.used_bytes))
    tightest = min(binding, key=lambda level: level.limit_bytes, default=None)
    return HostMemory(
        total_bytes=total,
        available_bytes=available,
        used_bytes=used,
        limit_bytes=tightest.limit_bytes if tightest else None,
        limit_source=tightest.source if tightest else None,
        swap_total_bytes=meminfo.get("SwapTotal", 0),
    )


def read_memory(root: Path) -> HostMemory | None:
    """RAM of this machine as this process may use it; None where /proc tells nothing."""
    return host_memory(parse_meminfo(read_text(root / "proc/meminfo") or ""), memory_levels(root))


def read_cpu(root: Path, *, arch: str, cpus: frozenset[int]) -> Cpu:
    """The processor as this process may use it. `cpus` is its affinity mask."""
    info = parse_cpuinfo(read_text(root / "proc/cpuinfo") or "")
    cores = _cores(root, cpus)
    return Cpu(
        name=info.name or _board_name(root),
        arch=arch,
        n_physical=len(set(cores.values())) if cores else None,
        n_logical=max(1, len(cpus)),
        n_performance=_count_performance(root, cores),
        quota_cores=cpu_quota(root),
        isa=info.isa,
    )


def _cores(root: Path, cpus: frozenset[int]) -> dict[int, frozenset[int]]:
    """Each usable CPU with its core, told by the CPUs that share it. Empty where sysfs does not tell of every one."""
    cores = {}
    for cpu in cpus:
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        siblings = parse_cpu_list(
            read_text(folder / "core_cpus_list") or read_text(folder / "thread_siblings_list") or ""
        )
        if not siblings:
            return {}
        cores[cpu] = siblings
    return cores


def _count_performance(root: Path, cores: Mapping[int, frozenset[int]]) -> int | None:
    """Performance cores among the usable ones: Intel hybrid by its two event sources, ARM by relative capacity."""
    fast = parse_cpu_list(read_text(root / "sys/devices/cpu_core/cpus") or "")
    if not fast:
        capacities = {
            cpu: parse_int(read_text(root / f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity")) or 0 for cpu in cores
        }
        largest = max(capacities.values(), default=0)
        fast = frozenset(cpu for cpu, capacity in capacities.items() if capacity >= BIG_CORE_SHARE * largest > 0)
    chosen = {siblings for cpu, siblings in cores.items() if cpu in fast}
    return len(chosen) if chosen and len(chosen) < len(set(cores.values())) else None


def _board_name(root: Path) -> str | None:
    """ARM kernels name no processor: the device tree (or DMI) at least names the machine."""
    for file in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        text = (read_text(root / file) or "").strip("\0 \n")
        if text:
            return text
    return None
