"""The machine that a stage works on: its devices, what tells of their memory, and where files go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import launcher
from gpu_stages.grid import Grid
from gpu_stages.kept import Budget, Kept, each
from gpu_stages.records import FileRow, Gpu, MachineRow
from launcher.bench.watch import Gauges, open_gauges
from launcher.catalogue.headers import KnownFile, file_from_path
from launcher.engines.stand_ins import stand_ins
from launcher.errors import LauncherError
from launcher.flow import World, prepare
from launcher.hardware.seen import read_text
from launcher.hardware.types import Device, EngineBuild, Hardware
from launcher.planner.types import LoadParams, PlanRequest, Rate
from launcher.units import MIB

_SETTLED_S = 0.2
_SETTLES_WITHIN_S = 5.0
"""A driver gives a dead process's memory back within a second."""
MACHINE = "machine"
SHARED_MEMORY = Path("/dev/shm")


class LabError(LauncherError):
    """What this script cannot do here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """Everything that a stage needs."""

    out: Path
    work: Path
    kept: Kept
    budget: Budget
    grid: Grid
    stand_in: bool
    hardware: Hardware
    """With the devices that are measured, and no others."""
    endpoints: tuple[str, ...] = ()
    """Of the loopback servers that stand for `hardware.devices`."""
    used: Mapping[str, Callable[[], int | None]]
    """What is in use of each device, by its name."""
    tell: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep

    @property
    def engine(self) -> EngineBuild:
        """The build that everything runs on."""
        return self.hardware.engine

    @property
    def files(self) -> tuple[FileRow, ...]:
        """The models that were made. Raises LabError where there are none."""
        found = tuple(row for row in self.kept.rows("files", FileRow) if Path(row.path).is_file())
        if not found:
            raise LabError("no model files are there: run the stage files first")
        return found

    def hardware_for(self, file: FileRow) -> Hardware:
        """With room for the file's pages, where it lies in RAM: mapped, they are not taken a second time."""
        if not Path(file.path).is_relative_to(SHARED_MEMORY):
            return self.hardware
        memory = self.hardware.memory
        return replace(self.hardware, memory=replace(memory, available_bytes=memory.available_bytes + file.size_bytes))

    def known(self, file: FileRow) -> KnownFile:
        """Its header."""
        return file_from_path(Path(file.path), isa=self.hardware.cpu.isa)

    def world(self) -> World:
        """Nothing tuned, nothing calibrated, and RAM as measured here."""
        state = self.work / "state"
        return World(cache_dir=self.work / "cache", state_dir=state)

    def rates(self) -> Mapping[str, Rate]:
        """Of the devices and of RAM."""
        world = self.world()
        return world.rates(self.hardware, world.state_dir)

    def planned(self, file: FileRow) -> LoadParams:
        """What a plan for this file on this machine is; without remote devices, which only memory is measured on."""
        hardware = replace(self.hardware, devices=()) if self.stand_in else self.hardware_for(file)
        request = PlanRequest(model=str(Path(file.path).absolute()), n_ctx=self.grid.contexts[-1])
        return prepare(request, self.world(), offline=True, hardware=hardware).plan.load_params

    def settled(self) -> dict[str, int]:
        """What is in use of each device, once that stays the same. Raises LabError where a device does not tell."""
        began = time.monotonic()
        last: dict[str, int] = {}
        while True:
            now = {name: self.now(name) for name in self.used}
            if now == last or time.monotonic() - began > _SETTLES_WITHIN_S:
                return now
            last = now
            self.sleep(_SETTLED_S)

    def now(self, device: str) -> int:
        """What is in use of a device. Raises LabError where it does not tell."""
        found = self.used[device]()
        if found is None:
            raise LabError(f"the driver does not tell how much of {device} is in use")
        return found


class Measurer(Protocol):
    """What measures the cases of one file."""

    def measure(self, case: Any) -> Any:
        """One case."""
        ...

    def close(self) -> None:
        """Free what it took."""
        ...


def each_file(lab: Lab, stage: str, prepared: Callable[[FileRow], tuple[Sequence[Any], Measurer]]) -> int:
    """Measure all cases of every file; how many were left out. What fails of one file keeps no other from its turn.

    Raises:
        LabError: something failed, once all files had their turn.
    """
    left, problems = 0, []
    for file in lab.files:
        try:
            cases, measurer = prepared(file)
            try:
                left += each(stage, cases, measurer.measure, kept=lab.kept, budget=lab.budget, tell=lab.tell)
            finally:
                measurer.close()
        except LauncherError as error:
            lab.tell(f"  {error.message}")
            problems.append(f"{file.file}: {error.message}")
    if problems:
        raise LabError("; ".join(problems))
    return left


@contextmanager
def devices_here(
    hardware: Hardware, gauges_of: Callable[[tuple[Device, ...]], AbstractContextManager[Gauges]] = open_gauges
) -> Iterator[tuple[Hardware, dict[str, Callable[[], int | None]]]]:
    """The machine with its first GPU alone, and what tells of its memory. Raises LabError where there is none."""
    gpu = next((device for device in hardware.devices if device.kind == "gpu"), None)
    if gpu is None:
        raise LabError("this engine sees no GPU: run the stage build there, or rehearse with --stand-in")
    with gauges_of((gpu,)) as gauges:
        used = {gauge.name: gauge.used for gauge in gauges.memory}
        if gpu.name not in used:
            raise LabError(f"no driver tells how much of {gpu.name} is in use")
        yield replace(hardware, devices=(gpu,)), used


@contextmanager
def stand_in_devices(
    hardware: Hardware,
) -> Iterator[tuple[Hardware, dict[str, Callable[[], int | None]], tuple[str, ...]]]:
    """The machine with a loopback server for a GPU, whose memory is that of its process."""
    import psutil

    me = psutil.Process()
    before = {child.pid for child in me.children()}
    with stand_ins(1, hardware.engine) as endpoints:
        (server,) = (child for child in me.children() if child.pid not in before)
        half = hardware.memory.available_bytes // 2
        device = Device(
            name="RPC0", description="loopback server", backend="RPC", kind="gpu", total_bytes=half, free_bytes=half,
            device_id=None, unified=False,
        )  # fmt: skip
        status = Path(f"/proc/{server.pid}/status")
        yield replace(hardware, devices=(device,)), {"RPC0": lambda: anonymous_bytes(status)}, tuple(endpoints)


def anonymous_bytes(status: Path) -> int | None:
    """`RssAnon` of a process."""
    return resident(read_text(status) or "").get("RssAnon")


def resident(status: str) -> dict[str, int]:
    """The kinds of resident memory in a /proc status file, in bytes."""
    lines = (line.partition(":") for line in status.splitlines())
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in lines if name in {"RssAnon", "RssFile", "RssShmem"}}


def machine_row(hardware: Hardware, *, rehearsal: bool, driver: str | None) -> MachineRow:
    """Where it was measured."""
    return MachineRow(
        rehearsal=rehearsal,
        gpus=tuple(
            Gpu(
                name=device.name,
                description=device.description,
                backend=device.backend,
                # A stand-in's is half of what is free, which is never the same twice.
                total_bytes=0 if rehearsal else device.total_bytes,
                compute_capability=device.compute_capability,
            )
            for device in hardware.devices
        ),
        cpu=hardware.cpu.name,
        n_threads=hardware.cpu.n_threads,
        ram_bytes=hardware.memory.total_bytes // MIB * MIB,
        driver=driver,
        launcher_version=launcher.__version__,
        engine_version=hardware.engine.version,
        llama_cpp_commit=hardware.engine.llama_cpp_commit,
        backends=hardware.engine.backends,
        date=datetime.now(UTC).date().isoformat(),
    )


def keep_machine(kept: Kept, row: MachineRow) -> None:
    """Note where it was measured. Raises LabError where the results are of another machine or engine."""
    known = kept.get(MACHINE, MACHINE, MachineRow)
    if known is not None and replace(known, date=row.date) != row:
        raise LabError("the results in this folder are of another machine or engine: take another --out")
    if known is None:
        kept.add(MACHINE, MACHINE, row)
