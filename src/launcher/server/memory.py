"""Memory that a running server has, next to what its plan said."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.hardware.nvidia import driver_present, load_nvml
from launcher.planner.types import HOST
from launcher.server.usage import HostUsage, host_usage

_SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryRow:
    """One device: what is used and what the plan said. The host's parts are told apart where the system does."""

    name: str
    used_bytes: int | None
    planned_bytes: int | None
    anonymous_bytes: int | None = None
    """Buffers and repacked weights: the process's own."""
    mapped_bytes: int | None = None
    """Weights that are mapped from their file: the system can take them back."""

    @property
    def share(self) -> float | None:
        """In use, of the plan."""
        return self.used_bytes / self.planned_bytes if self.used_bytes is not None and self.planned_bytes else None


def read_memory(
    pid: int | None, planned: Mapping[str, int] | None, *, load: Callable[[], Any] = load_nvml, root: Path = Path("/")
) -> tuple[MemoryRow, ...]:
    """What a process uses now, by device; amounts that nobody tells are None. Never fails."""
    host = host_usage(pid) if pid is not None else None
    here = pid is not None and driver_present(root, _SYSTEMS.get(sys.platform, ""))
    return memory_rows(planned, host, gpu_usage(pid, load) if here and pid is not None else None)


def gpu_usage(pid: int, load: Callable[[], Any] = load_nvml) -> tuple[int, ...] | None:
    """Memory of a process on each GPU that it uses, by NVML; None where the driver does not tell.

    It does not on Windows, nor across the border of a container, whose process numbers are others.
    """
    try:
        nvml = load()
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001  # no library, no driver, a driver of another version: nothing is told
        return None
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        processes = [process for handle in handles for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()
    used = tuple(process.usedGpuMemory for process in processes if process.pid == pid)
    return tuple(int(amount) for amount in used) if used and None not in used else None


def memory_rows(
    planned: Mapping[str, int] | None, host: HostUsage | None, gpu_bytes: tuple[int, ...] | None
) -> tuple[MemoryRow, ...]:
    """Use next to plan, the host first.

    NVML numbers GPUs by their slots, CUDA by their speed: of several only the sum is told, in a row of its own.
    """
    planned = planned or {}
    gpus = [name for name in planned if name != HOST]
    rows = [
        MemoryRow(
            name=HOST,
            used_bytes=None if host is None else host.anonymous_bytes + (host.mapped_bytes or 0),
            planned_bytes=planned.get(HOST),
            anonymous_bytes=host.anonymous_bytes if host and host.mapped_bytes is not None else None,
            mapped_bytes=host.mapped_bytes if host else None,
        )
    ]
    used = sum(gpu_bytes) if gpu_bytes else None
    rows += [
        MemoryRow(name=name, used_bytes=used if len(gpus) == 1 else None, planned_bytes=planned[name]) for name in gpus
    ]
    if used is not None and len(gpus) != 1:
        together = sum(planned[name] for name in gpus) if gpus else None
        rows.append(MemoryRow(name="GPUs", used_bytes=used, planned_bytes=together))
    return tuple(rows)
