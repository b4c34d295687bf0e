"""What the tests of scripts/gpu_check.py share: a machine, a clock, a driver and an engine that are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpu_stages.grid import Grid, MemoryCase
from gpu_stages.kept import RESULTS, Budget, Kept
from gpu_stages.lab import Lab
from gpu_stages.memory import Asked, Loads
from gpu_stages.records import Gpu, HostHeld, MachineRow

from launcher.engines.oracle import OracleRow
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from tests.builders import gpu, machine
from tests.planner.builders import gpu_params

GRID = Grid()
MACHINE = MachineRow(
    rehearsal=False,
    gpus=(
        Gpu(
            name="CUDA0",
            description="NVIDIA H100 80GB HBM3",
            backend="CUDA",
            total_bytes=85_520_809_984,
            compute_capability="9.0",
        ),
    ),
    cpu="a CPU",
    n_threads=16,
    ram_bytes=128 * 2**30,
    driver="580.159.04",
    launcher_version="0.1.0",
    engine_version="0.3.36",
    llama_cpp_commit="0c1e570",
    backends=("CUDA", "CPU"),
    date="2026-11-25",
)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class FakeDriver:
    """What is in use of a device, and of the host, step by step: the first of each case counts from 0."""

    def __init__(self, *, refuse: str | None = None) -> None:
        self.used = 500
        self.loads = 0
        self.refuse = refuse
        self.ran: list[bool] = []
        self._opened = 0

    @contextmanager
    def load(self, params: LoadParams) -> Iterator[FakeDriver]:
        if self.refuse == "load":
            raise EngineError("out of memory")
        self.loads += 1
        self.used += 1000
        try:
            yield self
        finally:
            self.used = 500

    def open(self, params: LoadParams) -> tuple[OracleRow, ...]:
        if self.refuse == "open":
            raise EngineError("no context")
        self._opened = params.n_ctx // 100
        self.used += self._opened
        return (OracleRow(device="CUDA0", model_bytes=900, context_bytes=30, compute_bytes=10),)

    def run(self, *, deep: bool) -> None:
        self.ran.append(deep)
        self.used += 7

    def close(self) -> None:
        if self.refuse == "close":
            raise EngineError("died")
        self.used -= self._opened

    def host(self) -> HostHeld:
        return HostHeld(anon_bytes=1, file_bytes=2, shmem_bytes=3)


def loads_of(driver: FakeDriver) -> Loads:
    return Loads(driver.load, lambda _name: driver.used, lambda: {"CUDA0": driver.used})


def asked(n_ctx: int = 4000, n_cpu_moe: int = 0, *, deep: bool = False) -> Asked:
    case = MemoryCase(file="20b", params=gpu_params(25, n_cpu_moe, n_ctx=n_ctx), deep=deep)
    return Asked(case=case, planned=(), stated=(), backends=("CUDA",))


def a_lab(tmp_path: Path, **changes: Any) -> Lab:
    plain: dict[str, Any] = {"hardware": machine(devices=[gpu()]), "used": {}, "stand_in": False, "grid": GRID}
    kept = Kept(tmp_path / RESULTS)
    return Lab(out=tmp_path, work=tmp_path, kept=kept, budget=Budget(limit_s=1), **plain | changes)
