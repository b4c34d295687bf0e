"""Meters that are read while an engine is measured: each sample gets its energy, and the most that it held of a GPU.

Every engine is watched the same way, from outside: a sample says when its clock began and of which process it is.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from launcher.bench.energy import SHORTEST_S, Meter, Reading, cpu_meters, gpu_meter, joules_between
from launcher.bench.memory import MemoryGauge, amd_gauge
from launcher.bench.session import Case, HeldMemory, OpenSession, Sample, Session
from launcher.hardware import nvidia
from launcher.hardware.types import Device

INTERVAL_S = 0.1
"""Between two readings. They take a millisecond at most, and NVIDIA's counters show nothing new sooner."""

Every = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Calls a function again and again, until the block ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauges:
    """What a machine tells of energy and of its devices' memory; mostly nothing."""

    meters: tuple[Meter, ...] = ()
    memory: tuple[MemoryGauge, ...] = ()
    refused: bool = False
    """Whether there are counters that only root may read."""


@contextmanager
def open_gauges(
    devices: Sequence[Device],
    *,
    root: Path = Path("/"),
    system: str | None = None,
    load_nvml: Callable[[], Any] = nvidia.load_nvml,
) -> Iterator[Gauges]:
    """What can be read here of the CPUs, of RAM and of the devices that an engine is to use."""
    meters, refused = cpu_meters(root)
    memory: list[MemoryGauge] = []
    with ExitStack() as stack:
        gpus: Mapping[str, nvidia.OpenGpu] = {}
        if devices and nvidia.driver_present(root, system or platform.system()):
            gpus = stack.enter_context(nvidia.open_gpus(load_nvml))
        for device in devices:
            gpu = gpus.get(device.device_id or "")
            if gpu is not None:
                meter = _nvidia_meter(gpu, device.name)
                memory.append(MemoryGauge(name=device.name, used=gpu.used_bytes, by_process=gpu.bytes_by_process))
            elif device.device_id is not None and not device.unified:  # what is in the CPU's package is counted there
                meter = gpu_meter(root, device.device_id, device.name)
                gauge = amd_gauge(root, device.device_id, device.name)
                memory += [] if gauge is None else [gauge]
            else:
                continue
            meters += () if meter is None else (meter,)
        yield Gauges(meters=meters, memory=tuple(memory), refused=refused)


def _nvidia_meter(gpu: nvidia.OpenGpu, name: str) -> Meter | None:
    if gpu.energy_j() is not None:
        return Meter(name=name, kind="joules", read=gpu.energy_j)
    return None if gpu.power_w() is None else Meter(name=name, kind="watts", read=gpu.power_w)


@contextmanager
def every(read: Callable[[], None], *, interval_s: float = INTERVAL_S) -> Iterator[None]:
    """Call it in a thread."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(interval_s):
            read()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Recording:
    """What the gauges showed during one repetition."""

    def __init__(self, gauges: Gauges, clock: Callable[[], int]) -> None:
        self._gauges = gauges
        self._clock = clock
        self._readings: dict[str, list[Reading]] = {meter.name: [] for meter in gauges.meters}
        self._used: dict[str, int] = {}
        self._held: dict[str, dict[int, int]] = {gauge.name: {} for gauge in gauges.memory}

    def read(self) -> None:
        """Note what all of them show now."""
        for meter in self._gauges.meters:
            value = meter.read()
            if value is not None:
                self._readings[meter.name].append((self._clock(), value))
        for gauge in self._gauges.memory:
            used, held = gauge.used(), self._held[gauge.name]
            if used is not None:
                self._used[gauge.name] = max(used, self._used.get(gauge.name, 0))
            for pid, n_bytes in gauge.by_process().items():
                held[pid] = max(n_bytes, held.get(pid, 0))

    def energy(self, sample: Sample) -> dict[str, float]:
        """Joules by meter, or nothing: where one did not answer, the others would pass for the whole.

        A counter that stands still is none: some machines have one for RAM they cannot measure, or for a virtual CPU.
        """
        if sample.start_ns is None or sample.ns < SHORTEST_S * 1e9:
            return {}
        end_ns = sample.start_ns + sample.ns
        found = {}
        for meter in self._gauges.meters:
            joules = joules_between(meter, self._readings[meter.name], sample.start_ns, end_ns)
            if joules is None:
                return {}
            found[meter.name] = joules
        return {name: joules for name, joules in found.items() if joules > 0}

    def device_memory(self, sample: Sample, before: Mapping[str, int]) -> dict[str, HeldMemory]:
        """Of each device what the engine's process held, else by how much more than `before` was in use."""
        found = {}
        for gauge in self._gauges.memory:
            own = self._held[gauge.name].get(sample.pid or 0)
            grown = self._used.get(gauge.name, 0) - before.get(gauge.name, self._used.get(gauge.name, 0))
            if own is not None or grown > 0:
                found[gauge.name] = HeldMemory(n_bytes=grown if own is None else own, whole_device=own is None)
        return found


class Watch:
    """Watches all engines of a bench."""

    def __init__(
        self, gauges: Gauges, *, again: Every | None = None, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._gauges = gauges
        self._again = again or every
        self._clock = clock
        self._opened: dict[int, tuple[Mapping[str, int], Mapping[str, int]]] = {}
        """By the turn in which they were opened: what was in use before and after."""
        self._n_opened = 0

    def watched(self, opener: OpenSession) -> OpenSession:
        """The same engine, whose samples tell of energy and of devices' memory; itself where nothing does."""
        return partial(self._open, opener) if self._gauges.meters or self._gauges.memory else opener

    @contextmanager
    def _open(self, opener: OpenSession) -> Iterator[Session]:
        self._n_opened += 1
        turn, before = self._n_opened, self._used()
        with opener() as session:
            self._opened[turn] = (before, self._used())
            try:
                yield _Watched(session, self, turn)
            finally:
                del self._opened[turn]

    def measure(self, session: Session, case: Case, turn: int) -> Sample:
        """One repetition while the gauges are read."""
        recording = _Recording(self._gauges, self._clock)
        recording.read()
        with self._again(recording.read):
            sample = session.measure(case)
        recording.read()
        energy = recording.energy(sample)
        return replace(
            sample,
            energy_j=sum(energy.values()) if energy else None,
            energy_of=tuple(energy),
            device_memory=recording.device_memory(sample, self._before(turn)),
        )

    def _before(self, turn: int) -> dict[str, int]:
        """What was in use before an engine came, and what those that came later hold: none of it is its own."""
        found = dict(self._opened[turn][0])
        for other, (before, after) in self._opened.items():
            if other > turn:
                for name in found:
                    found[name] += max(0, after.get(name, 0) - before.get(name, 0))
        return found

    def _used(self) -> dict[str, int]:
        told = {gauge.name: gauge.used() for gauge in self._gauges.memory}
        return {name: used for name, used in told.items() if used is not None}


class _Watched:
    """A session that is watched."""

    def __init__(self, session: Session, watch: Watch, turn: int) -> None:
        self._session = session
        self._watch = watch
        self._turn = turn

    def measure(self, case: Case) -> Sample:
        """One repetition, after a warm-up of its own."""
        return self._watch.measure(self._session, case, self._turn)
