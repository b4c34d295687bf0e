"""What is read while an engine is measured, and what of it a sample and a record get."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from launcher.bench.energy import Meter
from launcher.bench.memory import MemoryGauge, amd_gauge
from launcher.bench.records import records_of
from launcher.bench.run import Outcome
from launcher.bench.session import Case, HeldMemory, Sample
from launcher.bench.types import BenchTest
from launcher.bench.watch import Gauges, Watch, every, open_gauges
from launcher.hardware import nvidia
from tests.bench.measured import header, memory_row
from tests.builders import gpu
from tests.fakes.nvml import FakeGpu, FakeNvml
from tests.hardware.trees import plant, write

S = 1_000_000_000
CASE = Case(engine="embedded", test=BenchTest(n_gen=100))
NVIDIA_FILE = "proc/driver/nvidia/version"


@dataclass
class Machine:
    """A machine whose time goes on only while an engine is measured."""

    now_ns: int = 0
    joules: float = 0.0
    used: int | None = 1000
    held: dict[int, int] = field(default_factory=dict)
    read: Callable[[], None] = lambda: None
    meters: tuple[str, ...] = ("package-0",)

    def watch(self) -> Watch:
        meters = tuple(Meter(name=name, kind="joules", read=lambda: self.joules) for name in self.meters)
        gauge = MemoryGauge(name="CUDA0", used=lambda: self.used, by_process=lambda: dict(self.held))

        @contextmanager
        def again(read: Callable[[], None]) -> Iterator[None]:
            self.read = read
            yield

        return Watch(Gauges(meters=meters, memory=(gauge,)), again=again, clock=lambda: self.now_ns)

    def goes_on(self, seconds: float, watts: float) -> None:
        self.now_ns += round(seconds * S)
        self.joules += seconds * watts
        self.read()


class Engine:
    """Loads for two seconds at 50 W, then runs for four at 200 W."""

    def __init__(self, machine: Machine, *, pid: int | None = 7, test_s: float = 4.0, model: int = 500) -> None:
        self.machine = machine
        self.pid = pid
        self.test_s = test_s
        self.model = model

    @contextmanager
    def open(self) -> Iterator[Engine]:
        assert self.machine.used is not None
        self.machine.used += self.model
        yield self
        self.machine.used -= self.model

    def measure(self, case: Case) -> Sample:
        machine = self.machine
        machine.goes_on(2, 50)
        start_ns, before = machine.now_ns, machine.used
        machine.used = None if before is None else before + 250
        machine.goes_on(self.test_s / 2, 200)
        machine.goes_on(self.test_s / 2, 200)
        machine.used = before
        sample = Sample(ns=round(self.test_s * S), start_ns=start_ns, pid=self.pid)
        machine.goes_on(1, 50)
        return sample


def measured(machine: Machine, engine: Engine) -> Sample:
    with machine.watch().watched(engine.open)() as session:
        return session.measure(CASE)


def test_energy_is_that_of_the_clocked_part() -> None:
    machine = Machine(meters=("package-0", "dram-0"))
    sample = measured(machine, Engine(machine))
    assert sample.energy_j == pytest.approx(2 * 4 * 200), "both meters, without loading and ending"
    assert sample.energy_of == ("package-0", "dram-0")


def test_a_sample_that_is_over_too_soon_has_no_energy() -> None:
    machine = Machine()
    assert measured(machine, Engine(machine, test_s=0.5)).energy_j == pytest.approx(100)
    sample = measured(machine, Engine(machine, test_s=0.49))
    assert (sample.energy_j, sample.energy_of) == (None, ())


def test_one_meter_without_an_answer_leaves_no_sum() -> None:
    machine = Machine()
    watch = machine.watch()
    silent = Meter(name="CUDA0", kind="watts", read=lambda: None)
    watch._gauges = replace(watch._gauges, meters=(*watch._gauges.meters, silent))
    with watch.watched(Engine(machine).open)() as session:
        assert session.measure(CASE).energy_j is None


def test_a_meter_that_stands_still_is_none() -> None:
    machine = Machine()
    watch = machine.watch()
    stuck = Meter(name="dram-0", kind="joules", read=lambda: 7.0)
    watch._gauges = replace(watch._gauges, meters=(*watch._gauges.meters, stuck))
    with watch.watched(Engine(machine).open)() as session:
        sample = session.measure(CASE)
    assert sample.energy_j == pytest.approx(800)
    assert sample.energy_of == ("package-0",)


def test_a_process_that_is_told_apart_is_what_counts() -> None:
    machine = Machine(held={7: 640, 8: 9999})
    assert measured(machine, Engine(machine)).device_memory == {"CUDA0": HeldMemory(n_bytes=640, whole_device=False)}


def test_the_most_that_a_process_held_counts() -> None:
    machine = Machine(held={7: 640})
    engine = Engine(machine)
    measure = engine.measure

    def freed_before_the_end(case: Case) -> Sample:
        sample = measure(case)
        machine.held[7] = 10
        return sample

    engine.measure = freed_before_the_end  # type: ignore[method-assign]
    assert measured(machine, engine).device_memory["CUDA0"].n_bytes == 640


def test_otherwise_by_how_much_more_the_device_held() -> None:
    machine = Machine(held={8: 9999})
    assert measured(machine, Engine(machine)).device_memory == {"CUDA0": HeldMemory(n_bytes=750, whole_device=True)}
    machine = Machine()
    machine.used = 10**6
    freed = Engine(machine, model=-5000)
    assert measured(machine, freed).device_memory == {}, "others made room meanwhile"


def test_what_another_engine_holds_is_not_an_engines_own() -> None:
    machine = Machine()
    watch = machine.watch()
    one, other = Engine(machine, model=500), Engine(machine, model=3000)
    with watch.watched(one.open)() as first, watch.watched(other.open)() as second:
        assert first.measure(CASE).device_memory["CUDA0"].n_bytes == 750
        assert second.measure(CASE).device_memory["CUDA0"].n_bytes == 3250


def test_where_nothing_is_told_an_engine_is_left_alone() -> None:
    opener = Engine(Machine()).open
    assert Watch(Gauges()).watched(opener) is opener


def test_readings_go_on_until_the_block_ends() -> None:
    enough, n_read = threading.Event(), 0

    def read() -> None:
        nonlocal n_read
        n_read += 1
        if n_read == 3:
            enough.set()

    before = threading.active_count()
    with every(read, interval_s=0.001):
        assert enough.wait(20)
    assert threading.active_count() == before


# The machine's gauges


def test_an_nvidia_gpu_is_found_by_its_address(tmp_path: Path) -> None:
    write(plant("powercap_zen", tmp_path), NVIDIA_FILE, "x")
    other = FakeGpu(bus_id="00000000:0A:00.0", energy_mj=1)
    nvml = FakeNvml(gpus=[other, FakeGpu(energy_mj=5000, total_bytes=100, free_bytes=30, computing=[(7, 40)])])
    device = gpu()
    with open_gauges([device], root=tmp_path, system="Linux", load_nvml=lambda: nvml) as gauges:
        assert nvml.open_sessions == 1
        assert [(meter.name, meter.kind, meter.read()) for meter in gauges.meters] == [
            *(("package-0", "joules", 46223.819275), ("CUDA0", "joules", 5.0)),
        ]
        (memory,) = gauges.memory
        assert (memory.name, memory.used(), memory.by_process()) == ("CUDA0", 70, {7: 40})
    assert nvml.open_sessions == 0


def test_an_older_gpu_tells_its_power(tmp_path: Path) -> None:
    write(tmp_path, NVIDIA_FILE, "x")
    nvml = FakeNvml(gpus=[FakeGpu(power_mw=180_500)])
    device = gpu()
    with open_gauges([device], root=tmp_path, system="Linux", load_nvml=lambda: nvml) as gauges:
        assert [(meter.kind, meter.read()) for meter in gauges.meters] == [("watts", 180.5)]


def test_processes_without_a_number_are_none_and_the_larger_of_two_counts() -> None:
    told = FakeGpu(computing=[(7, 40), (8, None)], drawing=[(7, 60), (9, 5)])
    with nvidia.open_gpus(lambda: FakeNvml(gpus=[told, FakeGpu(bus_id="1:2:3.0")])) as gpus:
        assert gpus["0000:01:00.0"].bytes_by_process() == {7: 60, 9: 5}
        assert gpus["0001:02:03.0"].bytes_by_process() == {}
        assert gpus["0001:02:03.0"].energy_j() is gpus["0001:02:03.0"].power_w() is None


def test_nvml_that_does_not_start_or_is_not_there_tells_nothing(tmp_path: Path) -> None:
    def missing() -> object:
        raise ImportError("pynvml")

    write(tmp_path, NVIDIA_FILE, "x")
    for load in (missing, lambda: FakeNvml(init_error="Driver Not Loaded")):
        with open_gauges([gpu()], root=tmp_path, system="Linux", load_nvml=load) as gauges:
            assert gauges == Gauges()


def test_an_amd_gpu_by_the_kernels_files_and_none_that_shares_the_cpus_package(tmp_path: Path) -> None:
    folder = "sys/bus/pci/devices/0000:01:00.0"
    write(tmp_path, f"{folder}/hwmon/hwmon2/power1_average", "90000000\n")
    write(tmp_path, f"{folder}/mem_info_vram_used", "4096\n")
    device = gpu(backend="ROCm")
    with open_gauges([device], root=tmp_path, system="Linux") as gauges:
        assert [(meter.name, meter.read()) for meter in gauges.meters] == [("ROCm0", 90.0)]
        assert [(memory.name, memory.used(), memory.by_process()) for memory in gauges.memory] == [("ROCm0", 4096, {})]
    with open_gauges([replace(device, unified=True)], root=tmp_path, system="Linux") as gauges:
        assert gauges == Gauges()
    assert amd_gauge(tmp_path, "0000:02:00.0", "x") is None


# Records


def outcome(*samples: Sample) -> Outcome:
    return Outcome(samples={CASE: list(samples)}, began={CASE: "2026-11-25T13:00:00Z"})


def with_energy(joules: float, *, of: tuple[str, ...] = ("package-0",)) -> Sample:
    return Sample(ns=S, energy_j=joules, energy_of=of)


def test_a_record_has_the_mean_energy_and_that_of_a_token() -> None:
    (one,) = records_of(outcome(with_energy(100), with_energy(200)), header())
    assert (one.energy_j, one.j_per_token, one.energy_of) == (150.0, 1.5, ("package-0",))


def test_tokens_of_all_streams_share_the_energy() -> None:
    case = Case(engine="server", test=BenchTest(n_prompt=60, n_gen=40), n_streams=3)
    (one,) = records_of(Outcome(samples={case: [with_energy(600)]}, began={case: ""}), header())
    assert one.j_per_token == 2.0


@pytest.mark.parametrize("other", [Sample(ns=S), with_energy(1, of=("package-0", "CUDA0"))])
def test_samples_that_cannot_be_added_up_have_no_mean(other: Sample) -> None:
    (one,) = records_of(outcome(with_energy(100), other), header())
    assert (one.energy_j, one.j_per_token, one.energy_of) == (None, None, ())


def test_a_record_has_the_peak_of_each_device() -> None:
    rows = (replace(memory_row(640), name="CUDA0"), replace(memory_row(9), name="CUDA1"), memory_row(64))
    grown, own = HeldMemory(n_bytes=900, whole_device=True), HeldMemory(n_bytes=700, whole_device=False)
    samples = [
        Sample(ns=S, peak_bytes=5, device_memory={"CUDA0": grown, "CUDA1": grown}),
        Sample(ns=S, device_memory={"CUDA0": own}),
    ]
    (one,) = records_of(outcome(*samples), header(memory=rows))
    assert [(row.device, row.peak_bytes, row.planned_bytes, row.whole_device) for row in one.memory] == [
        ("CUDA0", 700, 640, False),
        ("CUDA1", 900, 9, True),
        ("CPU", 5, 64, False),
    ]
