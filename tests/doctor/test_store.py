"""Engines of the store beside the environment's: what the doctor says of a machine that has them."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.builds import store
from launcher.builds.types import Backend, Build, BuildRecord, SelfTest, Source
from launcher.doctor.examine import examine
from launcher.doctor.gather import ask_all, facts_of, machine_probes
from launcher.doctor.types import Check
from launcher.hardware.engine_devices import EngineReport
from tests.doctor.machines import sources
from tests.hardware.test_match import listed, report


def shelve(data_dir: Path, backend: Backend, *, passed: bool = True) -> str:
    """An engine in the store, as an installation leaves it."""
    name = f"{backend}-0.3.36"
    with store.staged(data_dir, name) as staging:
        (staging / "site" / "llama_cpp").mkdir(parents=True)
        (staging / "site" / "llama_cpp" / "__init__.py").touch()
        record = BuildRecord(
            name=name,
            backend=backend,
            version="0.3.36",
            commit="0c1e570",
            source=Source(kind="source", what="llama-cpp-python 0.3.36", sha256=None),
            options=(),
            system=platform.system(),
            arch=platform.machine(),
            made_at="2026-11-25T00:00:00+00:00",
            self_test=SelfTest(passed=passed, date="2026-11-25T00:00:00+00:00", why=None if passed else "nonsense"),
        )
        store.add(staging, record)
    return name


def examined(machine: str, root: Path, reports: dict[str, EngineReport]) -> dict[str, Check]:
    """Lines by name, the last of each."""
    asked = []

    def read(build: Build) -> EngineReport:
        asked.append(build.name)
        return reports[build.name]

    source = replace(sources(machine, root), read_build=read)
    facts = facts_of(source, ask_all(machine_probes(source)))
    assert facts.missing == {}
    assert set(asked) == set(reports)
    return {check.name: check for check in examine(facts)}


RTX_4090 = report(listed(), backends=("CUDA",))


def test_a_gpu_that_an_engine_of_the_store_uses_is_used(tmp_path: Path) -> None:
    name = shelve(tmp_path / "data", "cuda")
    gpu = examined("rtx-4090-cpu-engine", tmp_path, {name: RTX_4090})["gpu"]
    assert gpu.status == "ok"
    assert gpu.what == "CUDA0: NVIDIA GeForce RTX 4090, 22.0 GiB free of 24.0 GiB, by the engine cuda-0.3.36"
    assert gpu.data["engine"] == name


def test_an_engine_that_failed_its_test_is_not_asked_and_uses_nothing(tmp_path: Path) -> None:
    shelve(tmp_path / "data", "cuda", passed=False)
    gpu = examined("rtx-4090-cpu-engine", tmp_path, {})["gpu"]
    assert (gpu.status, gpu.remedy) == ("fail", "gpt-oss engine install cuda")


@pytest.mark.parametrize(("choice", "status"), [("environment", "warn"), ("cuda-0.3.36", "ok"), ("auto", "ok")])
def test_what_was_chosen_decides_whether_a_gpu_is_used(tmp_path: Path, choice: str, status: str) -> None:
    name = shelve(tmp_path / "data", "cuda")
    store.choose(tmp_path / "data", choice)
    assert examined("rtx-4090-cpu-engine", tmp_path, {name: RTX_4090})["gpu"].status == status


def test_an_engine_that_was_passed_over_is_told(tmp_path: Path) -> None:
    name = shelve(tmp_path / "data", "cuda")
    store.choose(tmp_path / "data", "environment")
    gpu = examined("rtx-4090-cpu-engine", tmp_path, {name: RTX_4090})["gpu"]
    assert (gpu.status, gpu.remedy) == ("warn", "gpt-oss engine use auto")
    assert str(gpu.why).startswith("the engine cuda-0.3.36 would use it, but plans take environment")


def test_a_gpu_under_two_engines_is_one_line(tmp_path: Path) -> None:
    names = [shelve(tmp_path / "data", "cuda"), shelve(tmp_path / "data", "vulkan")]
    vulkan = report(listed(name="Vulkan0", backend="Vulkan"), backends=("Vulkan",))
    checks = examined("rtx-4090-cpu-engine", tmp_path, dict(zip(names, (RTX_4090, vulkan), strict=True)))
    assert checks["gpu"].what.startswith("CUDA0: NVIDIA GeForce RTX 4090")


def test_an_engine_that_does_not_start_matters_less_beside_one_that_does(tmp_path: Path) -> None:
    name = shelve(tmp_path / "data", "cpu")
    engine = examined("engine-for-another-processor", tmp_path, {name: report()})["engine"]
    assert engine.status == "warn"
    assert str(engine.why).endswith("models run with cpu-0.3.36 instead")


def test_an_engine_of_the_store_that_cannot_be_asked_changes_nothing(tmp_path: Path) -> None:
    name = shelve(tmp_path / "data", "cuda")
    checks = examined("rtx-4090-cpu-engine", tmp_path, {name: report(note="it crashed")})
    assert checks["gpu"].status == "fail"
    assert checks["engine"].status == "ok"


def test_rocm_that_computes_nonsense_is_no_matter_where_another_engine_was_chosen(tmp_path: Path) -> None:
    name = shelve(tmp_path / "data", "vulkan")
    radeon = listed(name="Vulkan0", backend="Vulkan", description="Radeon 8060S Graphics", device_id="0000:c1:00.0")
    reports = {name: report(radeon, backends=("Vulkan",))}
    source = replace(sources("strix-halo-rocm", tmp_path), read_build=lambda build: reports[build.name])

    def told() -> bool:
        checks = examine(facts_of(source, ask_all(machine_probes(source))))
        return any("gfx1151" in check.what for check in checks)

    assert told()
    store.choose(tmp_path / "data", name)
    assert not told()
