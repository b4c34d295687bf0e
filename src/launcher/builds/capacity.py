"""How many compilers at once, how much disk, and about how long. Pure.

Measured on llama-cpp-python 0.3.36 with gcc 12 and CUDA 13.0: see README.md in this folder.
"""

from __future__ import annotations

import math

from launcher.builds.compile_types import Capacity
from launcher.builds.types import Backend
from launcher.units import GIB, MIB, format_bytes

_JOB_BYTES: dict[Backend, int] = {
    "cpu": GIB,
    "cuda": 3 * GIB // 2,
    "rocm": 2 * GIB,
    "sycl": 2 * GIB,
    "vulkan": 2 * GIB,
    "metal": GIB,
}
"""Of one compiler, with room to spare."""
SOURCE_BYTES = 310 * MIB
"""The archive (73 MiB) and what is in it (224 MiB)."""
_TREE_BYTES: dict[Backend, int] = {
    "cpu": 250 * MIB,
    "cuda": 450 * MIB,
    "rocm": 700 * MIB,
    "sycl": 900 * MIB,
    "vulkan": 500 * MIB,
    "metal": 250 * MIB,
}
"""Build tree and installed files of one architecture; each further one adds a third of it."""
CUBLAS_BYTES = 1500 * MIB
"""The package (400 MiB), its libraries (568 MiB), and those once more in the engine."""
_CORE_S: dict[Backend, float] = {
    "cpu": 1_200.0,
    "cuda": 5_000.0,
    "rocm": 5_000.0,
    "sycl": 4_000.0,
    "vulkan": 2_400.0,
    "metal": 1_200.0,
}
"""Seconds on one core, of one architecture."""


def capacity(backend: Backend, *, asked: int | None, n_cpus: int, available_bytes: int | None) -> Capacity:
    """Compilers at once: one for each CPU that this process may use, as far as memory bears them.

    What a person asks for is done, and told of where memory may not bear it.
    """
    each = _JOB_BYTES[backend]
    borne = None if available_bytes is None else max(1, available_bytes // each)
    if asked is not None:
        if borne is None or asked <= borne:
            return Capacity(jobs=asked, why=None)
        why = (
            f"{format_bytes(available_bytes)} of memory bear about {borne}: a compiler takes up to {format_bytes(each)}"
        )
        return Capacity(jobs=asked, why=f"{asked} jobs as asked for; {why}")
    if borne is None or borne >= n_cpus:
        return Capacity(jobs=max(1, n_cpus), why=None)
    why = f"{_jobs(borne)} rather than {n_cpus}: a compiler takes up to {format_bytes(each)}"
    return Capacity(jobs=borne, why=f"{why}, and {format_bytes(available_bytes)} of memory are free")


def _jobs(n: int) -> str:
    return "1 job" if n == 1 else f"{n} jobs"


def usable_cpus(n_logical: int, quota_cores: float | None) -> int:
    """CPUs of the affinity mask, and no more than the cgroup's time limit."""
    return max(1, n_logical if quota_cores is None else min(n_logical, math.ceil(quota_cores)))


def needed_bytes(backend: Backend, *, n_architectures: int, cublas: bool) -> int:
    """Disk that the work takes from nothing, the finished engine included."""
    tree = _TREE_BYTES[backend] * (2 + n_architectures) // 3
    return SOURCE_BYTES + tree + (CUBLAS_BYTES if cublas else 0)


def expected_s(backend: Backend, *, n_architectures: int, jobs: int) -> float:
    """About how long it takes, on cores like those of the measurement."""
    return _CORE_S[backend] * (1 + 0.8 * (n_architectures - 1) if backend in {"cuda", "rocm"} else 1) / jobs
