"""What scripts/gpu_check.py asks of a GPU, and its rows of memory and speed, with fakes for engine and driver."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gpu_stages.grid import Grid, SpeedCase, memory_cases, offload_cases, serve_cases, speed_tests
from gpu_stages.lab import LabError, devices_here, each_file, resident
from gpu_stages.memory_child import chunks
from gpu_stages.records import FileRow, StageRow
from gpu_stages.speed import Runs

from launcher.bench.probe import same_load
from launcher.bench.session import Case, Sample
from launcher.bench.types import BenchTest
from launcher.bench.watch import open_gauges
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from launcher.units import GIB
from tests.builders import gpu, machine
from tests.fakes.nvml import FakeGpu, FakeNvml
from tests.planner.builders import gpu_params
from tests.scripts.gpu import GRID, FakeDriver, a_lab, asked, loads_of


def test_the_grid_of_memory_is_whole_and_names_each_placement_once() -> None:
    cases = memory_cases("20b", gpu_params(0), 24, GRID)
    assert len({case.key for case in cases}) == len(cases) > 30
    params = [case.params for case in cases]
    assert {p.n_ctx for p in params} == set(GRID.contexts)
    assert {p.n_ubatch for p in params} == set(GRID.ubatches)
    assert {p.n_parallel for p in params} == {1, 4, 16}
    assert {(p.type_k, p.type_v) for p in params} == {
        ("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "q4_0"), ("q8_0", "f16"),
    }  # fmt: skip
    assert {p.n_cpu_moe for p in params} == {0, 6, 12, 18, 24}
    assert {p.n_gpu_layers for p in params} == {1, 6, 12, 18, 25}
    assert any(case.deep for case in cases)


def test_the_grid_loads_each_placement_once() -> None:
    cases = memory_cases("20b", gpu_params(0), 24, GRID)
    loads = sum(not same_load(a.params, b.params) for a, b in itertools.pairwise(cases)) + 1
    assert loads == len({(c.params.n_gpu_layers, c.params.n_cpu_moe) for c in cases})
    assert (cases[0].params.n_gpu_layers, cases[0].params.n_cpu_moe) == (25, 0)


def test_offload_goes_from_both_ends_to_the_middle() -> None:
    cases = offload_cases("120b", gpu_params(37), 36, GRID)
    assert list(dict.fromkeys(case.params.n_cpu_moe for case in cases)) == [0, 36, 12, 24, 6, 18, 30]
    assert {case.test.name for case in cases} == {"pp512", "tg64"}
    assert len(offload_cases("1-layer", gpu_params(2), 1, GRID)) == 4  # no step twice


def test_speed_goes_through_all_depths_one_after_the_other() -> None:
    tests = speed_tests(GRID)
    assert [test.n_depth for test in tests] == sorted(test.n_depth for test in tests)
    assert tests[-1].name == "tg64 @ d32768"
    assert [case.key for case in serve_cases("20b", Grid(streams=(1, 64)))] == ["20b 1 streams", "20b 64 streams"]


@pytest.mark.parametrize(
    ("n_ctx", "n_ubatch", "deep", "sizes"),
    [
        (4096, 512, False, [512]),
        (256, 512, False, [255]),
        (1024, 300, True, [123, 300, 300, 300]),
        (601, 300, True, [300, 300]),
    ],
)
def test_what_is_computed_ends_with_a_whole_micro_batch(
    n_ctx: int, n_ubatch: int, deep: bool, sizes: list[int]
) -> None:
    assert chunks(n_ctx, n_ubatch, deep=deep) == sizes


def test_a_row_of_memory_has_every_step_and_the_most_that_was_taken() -> None:
    driver = FakeDriver()
    loads = loads_of(driver)
    row = loads.measure(asked(deep=True))
    (held,) = row.devices
    assert [held.before_bytes, held.loaded_bytes, held.opened_bytes, held.ran_bytes, held.freed_bytes] == [
        500, 1500, 1540, 1547, 1507,
    ]  # fmt: skip
    assert held.taken_bytes == 1047
    assert replace(held, loaded_bytes=9000).taken_bytes == 8500  # what only loading takes counts as well
    assert row.host is not None
    assert row.host.taken_bytes == 6
    assert row.first
    assert driver.ran == [True]
    assert row.refused is None


def test_contexts_of_one_placement_share_a_load_and_the_first_is_told_apart() -> None:
    driver = FakeDriver()
    loads = loads_of(driver)
    rows = [loads.measure(one) for one in (asked(4000), asked(8000), asked(8000, 12), asked(4000, 12))]
    assert driver.loads == 2
    assert [row.first for row in rows] == [True, False, True, False]
    assert rows[2].devices[0].before_bytes == 500  # the first process is gone by then
    loads.close()
    assert driver.used == 500


@pytest.mark.parametrize("step", ["load", "open"])
def test_a_refusal_is_a_row_and_the_next_case_loads_anew(step: str) -> None:
    driver = FakeDriver(refuse=step)
    loads = loads_of(driver)
    row = loads.measure(asked())
    assert row.refused in {"out of memory", "no context"}
    assert row.devices == ()
    assert driver.used == 500
    driver.refuse = None
    assert loads.measure(asked()).devices[0].taken_bytes == 1047


def test_what_was_measured_is_kept_where_freeing_kills_the_engine() -> None:
    driver = FakeDriver(refuse="close")
    loads = loads_of(driver)
    row = loads.measure(asked())
    assert row.refused is None
    assert (row.devices[0].taken_bytes, row.devices[0].freed_bytes) == (1047, None)
    assert driver.used == 500
    assert loads.measure(asked(8000)).first  # in a process of its own


def test_kinds_of_resident_memory() -> None:
    text = "Name:\tpython\nVmRSS:\t 9 kB\nRssAnon:\t 5 kB\nRssFile:\t 3 kB\nRssShmem:\t 1 kB\nThreads:\t2\n"
    assert resident(text) == {"RssAnon": 5120, "RssFile": 3072, "RssShmem": 1024}
    assert resident("") == {}


class FakeBench:
    def __init__(self, *, refuse: bool = False) -> None:
        self.loads = 0
        self.refuse = refuse
        self.n_measured = 0

    @contextmanager
    def load(self, _params: LoadParams) -> Iterator[FakeBench]:
        self.loads += 1
        yield self

    def measure(self, case: Case) -> Sample:
        if self.refuse:
            raise EngineError("died")
        self.n_measured += 1
        return Sample(ns=10**9 * self.n_measured)


PROMPT = BenchTest(n_prompt=600)


def speed_case(n_cpu_moe: int = 0, test: BenchTest = PROMPT) -> SpeedCase:
    return SpeedCase(file="20b", params=gpu_params(25, n_cpu_moe), test=test)


def test_speed_is_tokens_over_time_beside_what_was_predicted() -> None:
    bench = FakeBench()
    runs = Runs(bench.load, lambda case: (500.0, f"of {case.test.name}"), 3)
    row = runs.measure(speed_case())
    assert row.samples_ts == (600.0, 300.0, 200.0)
    assert (row.predicted_ts, row.basis) == (500.0, "of pp600")
    runs.measure(speed_case(test=BenchTest(n_gen=8)))
    assert bench.loads == 1
    runs.measure(speed_case(12))
    assert bench.loads == 2


def test_a_speed_that_was_refused_keeps_the_prediction() -> None:
    bench = FakeBench(refuse=True)
    runs = Runs(bench.load, lambda _case: (None, None), 3)
    row = runs.measure(speed_case())
    assert (row.refused, row.samples_ts) == ("died", ())
    bench.refuse = False
    assert runs.measure(speed_case()).refused is None
    assert bench.loads == 2


def gauges_of(nvml: FakeNvml, root: Path) -> Any:
    """As the driver's library tells them."""
    driver = root / "proc/driver/nvidia/version"
    driver.parent.mkdir(parents=True)
    driver.write_text("NVRM version", encoding="utf-8")
    return partial(open_gauges, root=root, system="Linux", load_nvml=lambda: nvml)


def test_the_first_gpu_is_measured_by_what_its_driver_says(tmp_path: Path) -> None:
    first, other = FakeGpu(bus_id="00000000:01:00.0"), FakeGpu(bus_id="00000000:02:00.0")
    nvml = FakeNvml(gpus=[other, first])
    here = machine(devices=[gpu(index=0), gpu(index=1)])
    with devices_here(here, gauges_of(nvml, tmp_path)) as (hardware, used):
        assert [device.name for device in hardware.devices] == ["CUDA0"]
        first.free_bytes = first.total_bytes - 3 * GIB  # type: ignore[operator]  # it has some
        assert {name: read() for name, read in used.items()} == {"CUDA0": 3 * GIB}
    assert nvml.open_sessions == 0


def test_a_machine_that_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    nvml = gauges_of(FakeNvml(gpus=[FakeGpu(bus_id="00000000:09:00.0")]), tmp_path)
    with pytest.raises(LabError, match="sees no GPU"), devices_here(machine(), nvml):
        pass
    with pytest.raises(LabError, match="no driver tells"), devices_here(machine(devices=[gpu()]), nvml):
        pass


def test_memory_is_read_once_it_stays_the_same(tmp_path: Path) -> None:
    """A driver takes a moment to give back what a process that died had."""
    shown = [900, 700, 500, 500, 400]
    waited: list[float] = []
    lab = a_lab(tmp_path, used={"CUDA0": lambda: shown.pop(0)}, sleep=waited.append)
    assert lab.settled() == {"CUDA0": 500}
    assert len(waited) == 3
    with pytest.raises(LabError, match="does not tell how much of CUDA0"):
        a_lab(tmp_path, used={"CUDA0": lambda: None}).settled()


def test_what_fails_of_one_file_keeps_no_other_from_its_turn(tmp_path: Path) -> None:
    lab = a_lab(tmp_path, tell=lambda _text: None)
    for name in ("20b", "120b"):
        path = tmp_path / name
        path.touch()
        row = FileRow(file=name, model="", recipe="", n_layer=None, path=str(path), size_bytes=0, took_s=0)
        lab.kept.add("files", name, row)
    closed: list[str] = []

    class Failing:
        def __init__(self, file: str) -> None:
            self.file = file

        def measure(self, case: SpeedCase) -> StageRow:
            if self.file == "20b":
                raise EngineError("died")
            return StageRow(took_s=0, n_left=0, why=None)

        def close(self) -> None:
            closed.append(self.file)

    def prepared(file: FileRow) -> tuple[list[SpeedCase], Failing]:
        return [replace(speed_case(), file=file.file)], Failing(file.file)

    with pytest.raises(LabError, match=r"^20b: died$"):
        each_file(lab, "speed", prepared)
    assert closed == ["20b", "120b"]
    assert [key for key in ("20b", "120b") if lab.kept.has("speed", replace(speed_case(), file=key).key)] == ["120b"]
