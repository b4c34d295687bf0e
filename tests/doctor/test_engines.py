"""What the doctor says of the engines in the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.builds import store as engines
from launcher.builds.types import Build, BuildRecord, DamagedBuild, SelfTest, Source
from launcher.doctor.checks_driver import check_store
from launcher.doctor.examine import examine
from launcher.doctor.gather import ask_all, facts_of, machine_probes
from launcher.doctor.scene import Store, Stored
from launcher.hardware.crashes import Crash
from launcher.hardware.engine_devices import EngineDevice, EngineReport
from launcher.units import GIB
from tests.doctor.machines import MACHINES, sources
from tests.hardware.test_match import report

PASSED = SelfTest(passed=True, date="2026-01-02", why=None, devices=("CUDA0",), driver="NVIDIA 550.54.14")
RECORD = BuildRecord(
    name="cuda-0.3.36", backend="cuda", version="0.3.36", commit="0c1e570",
    source=Source(kind="source", what="llama-cpp-python 0.3.36", sha256=None), options=("GGML_CUDA=ON",),
    system="Linux", arch="x86_64", made_at="2026-01-02", self_test=PASSED,
)  # fmt: skip
SITE = Path("/data/engines/cuda-0.3.36/site")


def gpu(name: str) -> EngineDevice:
    return EngineDevice(
        name=name, description="a GPU", type="GPU", backend="CUDA", free_bytes=GIB, total_bytes=GIB, device_id=None
    )


def build(**changes: object) -> Build:
    return Build(name="cuda-0.3.36", site=SITE, record=replace(RECORD, **changes))  # type: ignore[arg-type]


def seen(*devices: EngineDevice, note: str | None = None) -> tuple[Stored, ...]:
    found: EngineReport = replace(report(), devices=None if note else devices, note=note)
    return (Stored(name="cuda-0.3.36", report=found),)


def lines(store: Store, driver: str | None = "550.54.14", wanted: str | None = "0.3.36") -> list[tuple[str, str, str]]:
    return [(check.status, check.what, check.remedy or "") for check in check_store(store, driver, wanted)]


def test_nothing_is_said_of_an_empty_store() -> None:
    assert lines(Store()) == []
    assert lines(Store(chosen="environment")) == []


@pytest.mark.parametrize(("chosen", "takes"), [("auto", "the best"), ("cuda-0.3.36", "cuda-0.3.36")])
def test_all_is_well(chosen: str, takes: str) -> None:
    here = Store(chosen=chosen, builds=(build(),), engines=seen(gpu("CUDA0")))
    assert lines(here) == [("ok", f"cuda-0.3.36 passed the self-test; plans take {takes}", "")]
    # Where no driver tells its number, nothing is known to have changed.
    assert [status for status, *_ in lines(here, driver=None)] == ["ok"]


def test_engines_of_other_machines_and_launchers_are_no_trouble() -> None:
    """A home folder that machines share: nothing is to be mended, nor to be removed."""
    other = replace(build(self_test=None), name="cuda-0.3.35", elsewhere="Linux on aarch64")
    newer = DamagedBuild(name="rocm-1", folder=SITE, why="a newer launcher made it", newer=True)
    assert lines(Store(builds=(other,), damaged=(newer,))) == []
    here = Store(builds=(other, build()), damaged=(newer,), engines=seen(gpu("CUDA0")))
    assert lines(here) == [("ok", "cuda-0.3.36 passed the self-test; plans take the best", "")]


TEST = "gpt-oss engine test cuda-0.3.36"


@pytest.mark.parametrize(
    ("store", "what", "remedy"),
    [
        (Store(builds=(build(self_test=None),)), "cuda-0.3.36 has not been tested", TEST),
        (
            Store(builds=(build(self_test=replace(PASSED, passed=False, why="it hung while starting")),)),
            "cuda-0.3.36 failed its self-test: it hung while starting",
            TEST,
        ),
        (
            Store(
                builds=(build(),),
                crashed=(Crash(name="cuda-0.3.36", doing="chat", how="Aborted", at_s=1.8e9),),
            ),
            "cuda-0.3.36: the last chat with it ended in a crash of the engine (Aborted, 2027-01-15 08:00 UTC)",
            TEST,
        ),
        (
            Store(builds=(build(version="0.3.35"),), engines=seen(gpu("CUDA0"))),
            "cuda-0.3.36 is of llama-cpp-python 0.3.35; this launcher is made for 0.3.36",
            "gpt-oss engine build cuda",
        ),
        (
            Store(builds=(build(),), engines=seen(note="libcudart.so.12 is missing")),
            "cuda-0.3.36 passed its self-test and does not start now",
            TEST,
        ),
        (
            Store(builds=(build(),), engines=seen(gpu("CUDA0"), gpu("CUDA1"))),
            "cuda-0.3.36 was tested without CUDA1",
            TEST,
        ),
        (
            Store(
                builds=(build(self_test=replace(PASSED, driver="NVIDIA 535.1")),),
                engines=seen(gpu("CUDA0")),
            ),
            "cuda-0.3.36 was tested with NVIDIA 535.1; the driver is NVIDIA 550.54.14 now",
            TEST,
        ),
        (
            Store(chosen="vulkan-0.3.36", builds=(build(),), engines=seen(gpu("CUDA0"))),
            "vulkan-0.3.36, which `gpt-oss engine use` chose, is not there",
            "gpt-oss engine use auto",
        ),
        (
            Store(damaged=(DamagedBuild(name="cuda-0.3.36", folder=SITE, why="engine.json is not there"),)),
            "cuda-0.3.36 is damaged: engine.json is not there",
            "gpt-oss engine remove cuda-0.3.36",
        ),
    ],
)
def test_what_has_to_be_mended(store: Store, what: str, remedy: str) -> None:
    assert lines(store) == [("warn", what, remedy)]


def test_the_store_is_read_from_the_data_folder(tmp_path: Path) -> None:
    machine = sources(next(iter(MACHINES)), tmp_path)
    engines.choose(machine.folders.data, "cuda-0.3.36")
    (machine.folders.data / "engines" / "cpu-0.3.36").mkdir()
    wanted = {name: probe for name, probe in machine_probes(machine).items() if name in {"platform", "store"}}
    facts = facts_of(machine, ask_all(wanted))
    told = [check.what for check in examine(facts) if check.name == "engines"]
    assert len(told) == 2
    assert told[0].startswith("cpu-0.3.36 is damaged: ")
    assert told[1].startswith("cuda-0.3.36, which ")
