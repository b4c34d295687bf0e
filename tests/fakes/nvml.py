"""NVML without a GPU: the functions of pynvml that the launcher calls, over GPUs that a test describes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from launcher.units import GIB


class NVMLError(Exception):
    """What pynvml raises."""


@dataclass(kw_only=True)
class FakeGpu:
    """One GPU. What is None raises NVMLError, as the driver does for what a GPU does not support."""

    name: str | bytes | None = "NVIDIA GeForce RTX 4090"
    bus_id: str | bytes | None = "00000000:01:00.0"
    total_bytes: int | None = round(23.99 * GIB)
    free_bytes: int | None = round(23.02 * GIB)
    compute_capability: tuple[int, int] | None = (8, 9)
    answers: bool = True
    """False: its handle cannot be had, as for a GPU that has fallen off the bus."""
    energy_mj: int | None = None
    power_mw: int | None = None
    computing: list[tuple[int, int | None]] | None = None
    """Process ids with their bytes; None of these in a container or under Windows."""
    drawing: list[tuple[int, int | None]] | None = None
    mig: bool | None = None
    """Whether it is divided (Multi-Instance GPU); None of a GPU that cannot be."""


@dataclass(kw_only=True)
class FakeNvml:
    """Stands for the pynvml module."""

    gpus: list[FakeGpu] = field(default_factory=list)
    driver: str | bytes | None = "560.35.03"
    cuda: int | None = None
    """Newest CUDA version that it can run: 12060."""
    init_error: str | None = None
    open_sessions: int = 0
    NVMLError: type[Exception] = NVMLError

    def nvmlInit(self) -> None:  # noqa: N802 -- pynvml's own name, as all below
        if self.init_error:
            raise NVMLError(self.init_error)
        self.open_sessions += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open_sessions -= 1

    def nvmlSystemGetDriverVersion(self) -> Any:  # noqa: N802
        return _told(self.driver)

    def nvmlSystemGetCudaDriverVersion_v2(self) -> Any:  # noqa: N802
        return _told(self.cuda)

    def nvmlDeviceGetMigMode(self, handle: FakeGpu) -> Any:  # noqa: N802
        return [int(_told(handle.mig))] * 2

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        if not self.gpus[index].answers:
            raise NVMLError("GPU is lost")
        return self.gpus[index]

    def nvmlDeviceGetName(self, handle: FakeGpu) -> Any:  # noqa: N802
        return _told(handle.name)

    def nvmlDeviceGetMemoryInfo(self, handle: FakeGpu) -> Any:  # noqa: N802
        total, free = _told(handle.total_bytes), _told(handle.free_bytes)
        return SimpleNamespace(total=total, free=free, used=total - free)

    def nvmlDeviceGetCudaComputeCapability(self, handle: FakeGpu) -> Any:  # noqa: N802
        return _told(handle.compute_capability)

    def nvmlDeviceGetPciInfo(self, handle: FakeGpu) -> Any:  # noqa: N802
        return SimpleNamespace(busId=_told(handle.bus_id))

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: FakeGpu) -> Any:  # noqa: N802
        return _told(handle.energy_mj)

    def nvmlDeviceGetPowerUsage(self, handle: FakeGpu) -> Any:  # noqa: N802
        return _told(handle.power_mw)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: FakeGpu) -> Any:  # noqa: N802
        return _processes(handle.computing)

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: FakeGpu) -> Any:  # noqa: N802
        return _processes(handle.drawing)


def _processes(told: list[tuple[int, int | None]] | None) -> list[Any]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=n_bytes) for pid, n_bytes in _told(told)]


def _told(value: Any) -> Any:
    if value is None:
        raise NVMLError("Not Supported")
    return value
