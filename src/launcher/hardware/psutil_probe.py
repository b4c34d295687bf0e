"""CPU and RAM through psutil: Windows and macOS, and Linux where /proc is not to be read."""

from __future__ import annotations

from launcher.hardware.types import Cpu, HostMemory


def read_memory() -> HostMemory:
    """RAM as psutil tells it; `available` is what can be taken without swapping."""
    import psutil

    memory = psutil.virtual_memory()
    return HostMemory(
        total_bytes=memory.total,
        available_bytes=memory.available,
        used_bytes=memory.total - memory.available,
        limit_bytes=None,
        limit_source=None,
        swap_total_bytes=psutil.swap_memory().total,
    )


def read_cpu(*, arch: str, name: str | None) -> Cpu:
    """Core counts as psutil tells them; physical ones are unknown where this process is kept to some CPUs only."""
    import psutil

    n_logical = psutil.cpu_count(logical=True) or 1
    n_usable = len(affinity()) or n_logical
    return Cpu(
        name=name,
        arch=arch,
        n_physical=psutil.cpu_count(logical=False) if n_usable == n_logical else None,
        n_logical=n_usable,
        n_performance=None,
        quota_cores=None,
        isa=(),
    )


def affinity() -> frozenset[int]:
    """CPUs that this process may run on; empty where the system has no such notion (macOS)."""
    import psutil

    process = psutil.Process()
    if not hasattr(process, "cpu_affinity"):
        return frozenset()
    return frozenset(process.cpu_affinity() or ())
