"""Memory that a server has, next to its plan."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from launcher.server.memory import MemoryRow, gpu_usage, memory_rows, read_memory
from launcher.server.usage import HostUsage
from launcher.units import GIB
from tests.fakes.nvml import FakeGpu, FakeNvml, NVMLError


@dataclass(kw_only=True)
class BusyNvml(FakeNvml):
    """A driver that tells which process uses how much, for each GPU; None: it refuses."""

    used: list[dict[int, int | None]] | None = field(default_factory=list)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: FakeGpu) -> list[Any]:  # noqa: N802
        if self.used is None:
            raise NVMLError("Not Supported")
        amounts = self.used[next(i for i, gpu in enumerate(self.gpus) if gpu is handle)]
        return [SimpleNamespace(pid=pid, usedGpuMemory=amount) for pid, amount in amounts.items()]


def busy(*used: dict[int, int | None]) -> BusyNvml:
    return BusyNvml(gpus=[FakeGpu() for _ in used], used=list(used))


def test_only_what_the_server_uses_counts() -> None:
    nvml = busy({7: 8 * GIB, 9: GIB}, {9: GIB})
    assert gpu_usage(7, lambda: nvml) == (8 * GIB,)
    assert nvml.open_sessions == 0


def test_what_the_driver_does_not_tell_is_unknown() -> None:
    def missing() -> Any:
        raise ImportError("no pynvml")

    assert gpu_usage(7, missing) is None
    assert gpu_usage(7, lambda: FakeNvml(init_error="Driver/library version mismatch")) is None
    assert gpu_usage(7, lambda: BusyNvml(gpus=[FakeGpu()], used=None)) is None
    assert gpu_usage(7, lambda: busy({7: None})) is None, "as on Windows"
    assert gpu_usage(7, lambda: busy({123: GIB})) is None, "as from inside a container"


def test_one_gpu_of_the_plan_takes_what_is_used() -> None:
    host = HostUsage(anonymous_bytes=2 * GIB, mapped_bytes=3 * GIB)
    rows = memory_rows({"CPU": 6 * GIB, "CUDA0": 8 * GIB}, host, (7 * GIB,))
    assert rows == (
        MemoryRow(
            name="CPU",
            used_bytes=5 * GIB,
            planned_bytes=6 * GIB,
            anonymous_bytes=2 * GIB,
            mapped_bytes=3 * GIB,
        ),
        MemoryRow(name="CUDA0", used_bytes=7 * GIB, planned_bytes=8 * GIB),
    )
    assert rows[1].share == 7 / 8


def test_of_several_gpus_only_the_sum_is_told() -> None:
    """NVML's first GPU need not be CUDA's first."""
    rows = memory_rows({"CPU": GIB, "CUDA0": 8 * GIB, "CUDA1": 4 * GIB}, None, (3 * GIB, 7 * GIB))
    assert [(row.name, row.used_bytes, row.planned_bytes) for row in rows] == [
        ("CPU", None, GIB),
        ("CUDA0", None, 8 * GIB),
        ("CUDA1", None, 4 * GIB),
        ("GPUs", 10 * GIB, 12 * GIB),
    ]


def test_without_a_plan_or_a_process_there_is_one_row_of_nothing() -> None:
    (row,) = read_memory(None, None)
    assert row == MemoryRow(name="CPU", used_bytes=None, planned_bytes=None)
    assert row.share is None


def test_this_process_has_memory(tmp_path: Path) -> None:
    (row,) = read_memory(os.getpid(), {"CPU": GIB}, root=tmp_path)
    assert row.used_bytes is not None
    assert row.used_bytes > 1024**2
    if row.anonymous_bytes is not None:
        assert row.used_bytes == row.anonymous_bytes + (row.mapped_bytes or 0)


def test_a_driver_that_is_not_there_is_not_asked(tmp_path: Path) -> None:
    def load() -> Any:
        raise AssertionError("asked")

    if sys.platform == "linux":
        read_memory(os.getpid(), None, load=load, root=tmp_path)
