"""Which builds a plan gets after one of them crashed in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.builds import store
from launcher.builds.detect import detect_all
from launcher.builds.silent import SilentBuilds
from launcher.hardware.crashes import keep_crash
from launcher.hardware.types import Hardware
from tests.builds.copies import PASSED
from tests.builds.test_detect import REPORTS, add, left_out, names
from tests.fakes.nvml import FakeGpu, FakeNvml
from tests.hardware.test_detect import CPU_ONLY, machine
from tests.hardware.trees import plant, write

NAME = "vulkan-0.3.36"
LATER = "2999-01-01T00:00:00+00:00"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    add(tmp_path, NAME)
    keep_crash(tmp_path / "state", NAME, "chat", "Segmentation fault")
    return tmp_path


def found(data: Path, build: str | None = None, told: list[str] | None = None) -> tuple[Hardware, ...]:
    return detect_all(
        build,
        data_dir=data,
        machine=machine(data, engine=lambda: CPU_ONLY),
        read=lambda one: REPORTS[one.name],
        silent=SilentBuilds(state_dir=data / "state"),
        tell=(told if told is not None else []).append,
    )


def test_a_build_that_crashed_is_left_out_with_the_reason(data: Path) -> None:
    machines = found(data)
    assert names(machines) == ["environment"]
    why = left_out(machines[0])[NAME]
    assert why.startswith("the last chat with it ended in a crash of the engine (Segmentation fault, ")
    assert why.endswith("`gpt-oss engine test vulkan-0.3.36` passes")


def test_so_is_what_engine_use_chose(data: Path) -> None:
    store.choose(data, NAME)
    machines = found(data)
    assert names(machines) == ["environment"]
    assert left_out(machines[0])[NAME].startswith("`gpt-oss engine use` chose it, but the last chat with it ended in ")


def test_one_that_is_named_is_taken_with_a_warning(data: Path) -> None:
    told: list[str] = []
    assert names(found(data, NAME, told)) == [NAME]
    (line,) = told
    assert line.startswith("vulkan-0.3.36 is taken since it was named, though the last chat with it ended in a crash ")


def test_a_test_that_passed_since_forgives(data: Path) -> None:
    store.keep_test(store.find(data, NAME), replace(PASSED, date=LATER))
    assert names(found(data)) == ["environment", NAME]


def test_a_gpu_whose_engine_crashed_needs_no_other_installed(tmp_path: Path) -> None:
    """The offer of the first run would have the same engine compiled once more, for an hour."""
    root = plant("amd_desktop", tmp_path / "root")
    write(root, "dev/nvidiactl", "")
    card = machine(root, load_nvml=lambda: FakeNvml(gpus=[FakeGpu(bus_id="00000000:01:00.0")]))
    for name in ("cuda-0.3.36", "vulkan-0.3.36"):
        add(tmp_path, name)
    keep_crash(tmp_path / "state", "cuda-0.3.36", "chat", "Aborted")

    def seen() -> dict[str, tuple[str | None, str | None]]:
        silent = SilentBuilds(state_dir=tmp_path / "state")
        machines = detect_all(data_dir=tmp_path, machine=card, read=lambda one: REPORTS[one.name], silent=silent)
        idle = {one.engine.name: one.idle_devices for one in machines}
        return {
            name: next(((gpu.engine, gpu.remedy) for gpu in gpus if gpu.vendor == "NVIDIA"), (None, None))
            for name, gpus in idle.items()
        }

    by_vulkan = seen()
    assert by_vulkan["vulkan-0.3.36"] == (None, None), "it is not idle"
    assert by_vulkan["environment"][0] == "vulkan-0.3.36"
    keep_crash(tmp_path / "state", "vulkan-0.3.36", "chat", "Aborted")
    assert seen() == {"environment": ("cuda-0.3.36", "gpt-oss engine test cuda-0.3.36")}
