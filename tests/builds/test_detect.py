"""One machine by several builds: a CPU-only one, CUDA, Vulkan, one that crashes and one that hangs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.builds import store
from launcher.builds.detect import as_recorded, detect_all, read_build
from launcher.builds.record import RECORD, SITE
from launcher.builds.silent import Clock, SilentBuilds
from launcher.builds.types import BACKENDS, Build
from launcher.errors import DamagedFileError, EngineError, UsageError
from launcher.hardware import engine_probe
from launcher.hardware.engine_devices import EngineDevice, EngineReport, read_engine
from launcher.hardware.match import best_equipped
from launcher.hardware.types import Hardware
from launcher.units import GIB
from tests.builds.copies import FAILED, PASSED, compile_library, copy_build, needs_compiler, record, replace_file
from tests.fakes.nvml import FakeGpu, FakeNvml
from tests.hardware.test_detect import CPU_ONLY, machine
from tests.hardware.trees import plant, write

CARD = EngineDevice(
    name="CUDA0",
    description="NVIDIA GeForce RTX 4090",
    type="GPU",
    backend="CUDA",
    free_bytes=23 * GIB,
    total_bytes=24 * GIB,
    device_id="0000:01:00.0",
)
REPORTS = {
    "cuda-0.3.36": replace(CPU_ONLY, devices=(CARD,), backends=("CUDA", "CPU")),
    "vulkan-0.3.36": replace(
        CPU_ONLY, devices=(replace(CARD, name="Vulkan0", backend="Vulkan"),), backends=("Vulkan", "CPU")
    ),
    "cpu-0.3.36": CPU_ONLY,
    "crashing-0.3.36": replace(CPU_ONLY, devices=None, note="the engine was ended by signal 11"),
}


def add(data: Path, name: str, self_test: Any = PASSED, version: str = "0.3.36") -> None:
    backend: Any = name.partition("-")[0]
    made = replace(record(name, self_test=self_test), version=version)
    with store.staged(data, name) as staging:
        package = staging / SITE / "llama_cpp"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f'__version__ = "{version}"\n')
        store.add(staging, replace(made, backend=backend) if backend in BACKENDS else made)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def here(tmp_path: Path) -> Any:
    """A desktop with an NVIDIA card, whose environment's build is CPU-only."""
    root = plant("amd_desktop", tmp_path / "root")
    write(root, "dev/nvidiactl", "")
    return machine(root, load_nvml=lambda: FakeNvml(gpus=[FakeGpu(bus_id="00000000:01:00.0")]))


def found(data: Path, here: Any, build: str | None = None) -> tuple[Hardware, ...]:
    return detect_all(build, data_dir=data, machine=here, read=lambda build: REPORTS[build.name])


def names(machines: tuple[Hardware, ...]) -> list[str]:
    return [one.engine.name for one in machines]


def left_out(hardware: Hardware) -> dict[str, str]:
    return {other.name: other.left_out for other in hardware.other_engines if other.left_out is not None}


@pytest.mark.parametrize("build", [None, "auto"])
def test_without_a_store_there_is_one_record_as_ever(data: Path, here: Any, build: str | None) -> None:
    (only,) = found(data, here, build)
    assert (only.engine.name, only.engine.site, only.other_engines) == ("environment", None, ())
    assert any(idle.description == "NVIDIA GeForce RTX 4090" and idle.engine is None for idle in only.idle_devices)


def test_each_build_has_a_record_of_the_same_machine(data: Path, here: Any) -> None:
    for name in ("vulkan-0.3.36", "cuda-0.3.36"):
        add(data, name)
    own, cuda, vulkan = found(data, here)
    assert names((own, cuda, vulkan)) == ["environment", "cuda-0.3.36", "vulkan-0.3.36"]
    assert own.memory == cuda.memory == vulkan.memory
    assert cuda.engine.site == str(data / "engines" / "cuda-0.3.36" / "site")
    assert [device.name for one in (own, cuda, vulkan) for device in one.devices] == ["CUDA0", "Vulkan0"]
    assert cuda.devices[0].free_bytes == vulkan.devices[0].free_bytes, "as NVML says, for both"
    assert {other.name: other.devices for other in own.other_engines} == {
        "cuda-0.3.36": ("CUDA0",),
        "vulkan-0.3.36": ("Vulkan0",),
    }
    assert best_equipped((own, cuda, vulkan)) is cuda


def test_a_gpu_that_another_build_uses_is_not_told_to_need_one(data: Path, here: Any) -> None:
    add(data, "cuda-0.3.36")
    own, cuda = found(data, here)
    card = next(idle for idle in own.idle_devices if idle.vendor == "NVIDIA")
    assert (card.engine, card.remedy) == ("cuda-0.3.36", "gpt-oss plan --build cuda-0.3.36")
    assert card.reason == "the engine cuda-0.3.36 can use it."
    radeon = next(idle for idle in own.idle_devices if idle.vendor == "AMD")
    assert (radeon.engine, radeon.remedy) == (None, "gpt-oss engine install vulkan"), "no build uses it"
    assert [idle.vendor for idle in cuda.idle_devices] == ["AMD"]


def test_newer_builds_come_first(data: Path, here: Any) -> None:
    for version in ("0.3.9", "0.3.36"):
        add(data, f"cpu-{version}", version=version)
    machines = detect_all(data_dir=data, machine=here, read=lambda build: CPU_ONLY)
    assert names(machines) == ["environment", "cpu-0.3.36", "cpu-0.3.9"]


def test_what_cannot_be_used_is_left_out_and_named(data: Path, here: Any) -> None:
    add(data, "cpu-0.3.36")
    add(data, "crashing-0.3.36")
    add(data, "cuda-0.3.36", FAILED)
    add(data, "vulkan-0.3.36", None)
    (data / "engines" / "odd").mkdir()
    machines = found(data, here)
    assert names(machines) == ["environment", "cpu-0.3.36"]
    for one in machines:
        said = left_out(one)
        assert said["crashing-0.3.36"] == "the engine was ended by signal 11"
        assert said["cuda-0.3.36"] == "it failed its self-test: it computes wrongly on the CPU"
        assert said["vulkan-0.3.36"] == "it has not been tested"
        assert said["odd"].startswith("it is damaged: ")
        assert len(said) == 4


def test_a_store_beside_an_environment_that_cannot_be_asked(data: Path, here: Any) -> None:
    add(data, "cpu-0.3.36")
    broken = replace(here, engine=lambda: REPORTS["crashing-0.3.36"])
    (only,) = found(data, broken)
    assert only.engine.name == "cpu-0.3.36"
    assert left_out(only) == {"environment": "the engine was ended by signal 11"}
    store.remove(data, "cpu-0.3.36")
    (only,) = found(data, broken)
    assert only.engine.name == "environment"
    assert "the engine was ended by signal 11" in only.notes


def test_the_build_that_is_named_is_the_only_one_asked(data: Path, here: Any) -> None:
    add(data, "cuda-0.3.36")
    add(data, "crashing-0.3.36")
    asked: list[str] = []

    def read(build: Build) -> EngineReport:
        asked.append(build.name)
        return REPORTS[build.name]

    (only,) = detect_all("cuda-0.3.36", data_dir=data, machine=here, read=read)
    assert (only.engine.name, only.other_engines) == ("cuda-0.3.36", ())
    (own,) = detect_all("environment", data_dir=data, machine=here, read=read)
    assert own.engine.name == "environment"
    assert asked == ["cuda-0.3.36"]


def test_beside_the_only_build_that_was_asked_another_may_be_for_the_gpu(data: Path, here: Any) -> None:
    """Otherwise the person who chose the CPU is told to install what is there."""
    add(data, "cuda-0.3.36")
    store.choose(data, "environment")
    for build in (None, "environment"):
        (own,) = found(data, here, build)
        card = next(idle for idle in own.idle_devices if idle.vendor == "NVIDIA")
        assert (card.engine, card.remedy) == ("cuda-0.3.36", "gpt-oss plan --build cuda-0.3.36")
        assert next(idle for idle in own.idle_devices if idle.vendor == "AMD").engine is None
    add(data, "cuda-0.3.36", FAILED)
    (own,) = found(data, here)
    assert {idle.engine for idle in own.idle_devices} == {None}, "one that fails is no help"


def test_engines_of_another_machine_and_of_a_newer_launcher(data: Path, here: Any) -> None:
    """A home folder that machines share: no plan here names them, unless one is asked for."""
    for name, changes in (("cuda-0.3.36", {"arch": "riscv64"}), ("vulkan-0.3.36", {"schema": 2})):
        add(data, name)
        path = data / "engines" / name / "engine.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    (own,) = found(data, here)
    assert left_out(own) == {}
    for name, why in (
        ("cuda-0.3.36", "it was made for another kind of machine"),
        ("vulkan-0.3.36", "a newer launcher"),
    ):
        with pytest.raises(EngineError, match=why) as caught:
            found(data, here, name)
        assert caught.value.hint == "gpt-oss engine list"
        store.choose(data, name)
        (own,) = found(data, here)
        assert left_out(own)[name].startswith(f"`gpt-oss engine use` chose it, but {why}")


@pytest.mark.parametrize(
    ("name", "kind", "message", "hint"),
    [
        ("cuda", UsageError, "no engine is called cuda; did you mean cuda-0.3.36", "gpt-oss engine list"),
        ("odd", DamagedFileError, "odd is damaged", "gpt-oss engine remove odd"),
        ("cuda-0.3.36", EngineError, "it failed its self-test", "gpt-oss engine test cuda-0.3.36"),
        ("crashing-0.3.36", EngineError, "ended by signal 11", "gpt-oss engine test crashing-0.3.36"),
        ("environment", EngineError, "not installed", "gpt-oss doctor"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(  # noqa: PLR0917  # pytest gives them by name
    data: Path, here: Any, name: str, kind: type[EngineError], message: str, hint: str
) -> None:
    add(data, "crashing-0.3.36")
    add(data, "cuda-0.3.36", FAILED)
    (data / "engines" / "odd").mkdir()
    missing = replace(CPU_ONLY, devices=None, note="llama-cpp-python is not installed")
    with pytest.raises(kind, match=message) as caught:
        found(data, replace(here, engine=lambda: missing), name)
    assert caught.value.hint == hint


def test_what_engine_use_chose_is_the_only_one(data: Path, here: Any) -> None:
    for name in ("cuda-0.3.36", "cpu-0.3.36"):
        add(data, name)
    store.choose(data, "cpu-0.3.36")
    assert names(found(data, here)) == ["cpu-0.3.36"]
    assert names(found(data, here, "auto")) == ["environment", "cpu-0.3.36", "cuda-0.3.36"], "a flag goes before it"
    store.choose(data, "environment")
    assert names(found(data, here)) == ["environment"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("crashing-0.3.36", "the engine was ended by signal 11"),
        ("vulkan-0.3.36", "it failed its self-test: it computes wrongly on the CPU"),
        ("gone-0.3.36", "it is not there"),
    ],
)
def test_what_engine_use_chose_and_cannot_be_used_gives_way(data: Path, here: Any, name: str, why: str) -> None:
    add(data, "crashing-0.3.36")
    add(data, "cuda-0.3.36")
    add(data, "vulkan-0.3.36", FAILED)
    store.choose(data, name)
    machines = found(data, here)
    assert names(machines) == ["environment", "cuda-0.3.36"]
    assert machines[0].other_engines[0].name == name, "what was asked for is told first"
    assert left_out(machines[0])[name] == f"`gpt-oss engine use` chose it, but {why}"


def test_builds_are_asked_at_the_same_time(data: Path, here: Any) -> None:
    for name in ("cuda-0.3.36", "cpu-0.3.36"):
        add(data, name)
    together = threading.Barrier(2, timeout=10)

    def read(build: Build) -> EngineReport:
        together.wait()  # breaks where one waits for the other
        return REPORTS[build.name]

    assert len(detect_all(data_dir=data, machine=here, read=read)) == 3


@needs_compiler
def test_ctrl_c_ends_a_build_that_hangs(data: Path) -> None:
    """Keeps out: C code that never returns is ended by no handler of Python's, and Ctrl-C waited for the deadline."""
    build = copy_build(data, "hanging")
    compile_library(
        build.package / "lib" / "libllama.so",
        "#include <unistd.h>\n__attribute__((constructor)) static void start(void) "
        '{ write(2, "here", 4); for (;;) pause(); }',
    )
    probe = Path(engine_probe.__file__)
    command = [sys.executable, "-I", "-S", str(probe), str(build.package / "lib"), "mark"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.read(4) == b"here"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == -signal.SIGINT
        finally:
            process.kill()


@needs_compiler
def test_a_build_that_crashes_or_hangs_takes_nothing_down_with_it(data: Path, here: Any) -> None:
    """Real child processes, over libraries that do so as they are loaded."""
    copy_build(data, "cpu-0.3.36")
    start = "__attribute__((constructor)) static void start(void)"
    for name, source in (
        ("crashing", f"#include <signal.h>\n{start} {{ raise(SIGSEGV); }}"),
        ("hanging", f"#include <unistd.h>\n{start} {{ for (;;) pause(); }}"),
    ):
        copy_build(data, name)
        compile_library(data / "engines" / name / "site" / "llama_cpp" / "lib" / "libllama.so", source)

    def read(build: Build) -> EngineReport:
        return read_engine(build.package, deadline_s=1.0 if build.name == "hanging" else 30.0)

    machines = detect_all(data_dir=data, machine=here, read=read)
    assert names(machines) == ["environment", "cpu-0.3.36"]
    said = left_out(machines[0])
    assert "signal 11" in said["crashing"]
    assert "1 s" in said["hanging"]


# Builds that do not answer

HANGING = replace(CPU_ONLY, devices=None, note="the engine did not list its devices within 30 s", hung=True)
NOON = 1_795_600_000.0


class Clocked:
    """The file of builds that hang, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.now, self.booted = NOON, NOON - 3600
        self.builds = SilentBuilds(state_dir=folder, clock=Clock(now=lambda: self.now, booted=lambda: self.booted))
        self.asked: list[str] = []
        self.report = HANGING

    def found(self, data: Path, here: Any, build: str | None = None) -> tuple[Hardware, ...]:
        self.asked.clear()
        return detect_all(build, data_dir=data, machine=here, read=self.read, silent=self.builds)

    def read(self, build: Build) -> EngineReport:
        self.asked.append(build.name)
        return self.report if build.name == "cuda-0.3.36" else CPU_ONLY


@pytest.fixture
def clocked(tmp_path: Path) -> Clocked:
    return Clocked(tmp_path / "state")


def test_a_build_that_hangs_costs_one_plan_its_deadline_and_no_other(data: Path, here: Any, clocked: Clocked) -> None:
    for name in ("cuda-0.3.36", "cpu-0.3.36"):
        add(data, name)
    first = clocked.found(data, here)
    assert left_out(first[0]) == {"cuda-0.3.36": HANGING.note}
    assert sorted(clocked.asked) == ["cpu-0.3.36", "cuda-0.3.36"]
    clocked.now += 60
    again = clocked.found(data, here)
    assert names(again) == names(first) == ["environment", "cpu-0.3.36"]
    assert clocked.asked == ["cpu-0.3.36"]
    assert left_out(again[0])["cuda-0.3.36"] == (
        "it did not list its devices within 30 s on 2026-11-25 09:46 UTC; it is asked again after a day, a restart of"
        " the machine or `gpt-oss engine test cuda-0.3.36`"
    )


def test_what_engine_use_chose_and_hangs_gives_way_without_being_asked(data: Path, here: Any, clocked: Clocked) -> None:
    add(data, "cuda-0.3.36")
    store.choose(data, "cuda-0.3.36")
    clocked.found(data, here)
    (own,) = clocked.found(data, here)
    assert clocked.asked == []
    assert left_out(own)["cuda-0.3.36"].startswith("`gpt-oss engine use` chose it, but it did not list its devices")


def _a_day_later(clocked: Clocked, _data: Path) -> None:
    clocked.now += 24 * 3600


def _restarted(clocked: Clocked, _data: Path) -> None:
    clocked.booted = NOON + 10
    clocked.now += 20


def _clock_put_back(clocked: Clocked, _data: Path) -> None:
    clocked.now -= 3600


def _tested(_clocked: Clocked, data: Path) -> None:
    store.keep_test(store.find(data, "cuda-0.3.36"), replace(PASSED, date="2026-11-25T10:00:00+00:00"))


def _made_anew(_clocked: Clocked, data: Path) -> None:
    build = store.find(data, "cuda-0.3.36")
    assert build.record is not None
    path = build.site.parent / RECORD
    path.write_text(path.read_text().replace(build.record.made_at, "2026-11-25T10:00:00+00:00"))


def _damaged(clocked: Clocked, _data: Path) -> None:
    (clocked.builds.state_dir / "silent-engines" / "cuda-0.3.36.json").write_text('{"at_s": "noon"}')


@pytest.mark.parametrize("then", [_a_day_later, _restarted, _clock_put_back, _tested, _made_anew, _damaged])
def test_a_build_that_hung_is_asked_again_when_it_may_answer(
    data: Path, here: Any, clocked: Clocked, then: Callable[[Clocked, Path], None]
) -> None:
    add(data, "cuda-0.3.36")
    clocked.found(data, here)
    then(clocked, data)
    clocked.found(data, here)
    assert clocked.asked == ["cuda-0.3.36"]


def test_a_build_that_is_named_is_asked_and_forgiven_when_it_answers(data: Path, here: Any, clocked: Clocked) -> None:
    add(data, "cuda-0.3.36")
    clocked.found(data, here)
    with pytest.raises(EngineError, match="within 30 s"):
        clocked.found(data, here, "cuda-0.3.36")
    assert clocked.asked == ["cuda-0.3.36"]
    clocked.report = REPORTS["cuda-0.3.36"]
    (only,) = clocked.found(data, here, "cuda-0.3.36")
    assert only.engine.name == "cuda-0.3.36"
    assert names(clocked.found(data, here)) == ["environment", "cuda-0.3.36"]


def test_nothing_is_said_where_the_folder_cannot_be_written(data: Path, here: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    clocked = Clocked(tmp_path / "file")
    add(data, "cuda-0.3.36")
    for _ in range(2):
        assert names(clocked.found(data, here)) == ["environment"]
        assert clocked.asked == ["cuda-0.3.36"]


def test_a_person_is_told_which_build_is_waited_for(data: Path, here: Any) -> None:
    add(data, "cuda-0.3.36")
    told: list[str] = []
    done = threading.Event()

    def tell(words: str) -> None:
        told.append(words)
        if len(told) == 2:
            done.set()

    def slowly(report: EngineReport) -> EngineReport:
        assert done.wait(10)
        return report

    slow = replace(here, engine=lambda: slowly(CPU_ONLY))
    read = lambda build: slowly(REPORTS[build.name])  # noqa: E731
    detect_all(data_dir=data, machine=slow, read=read, tell=tell, patience_s=0.0)
    waited = "waiting for the engine {} to list its devices"
    assert sorted(told) == [waited.format("cuda-0.3.36"), waited.format("environment")]


# What a record says


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"version": "0.3.35"}, "it is llama-cpp-python 0.3.35, and was tested as 0.3.36"),
        ({"commit": "abcdef0"}, "it is llama.cpp abcdef0, and was tested as 0c1e570"),
        ({"commit": "0c1e57098bba43ac29e6e3b677cdceebdd22334f"}, None),
        ({"commit": None, "version": None}, None),
        ({"devices": None, "version": "0.3.35", "note": "it crashed"}, "it crashed"),
    ],
)
def test_a_build_that_is_another_than_was_tested_is_not_taken(
    data: Path, here: Any, said: dict[str, Any], why: str | None
) -> None:
    add(data, "cpu-0.3.36")
    report = replace(CPU_ONLY, version="0.3.36", commit="0c1e570")
    read = lambda build: as_recorded(replace(report, **said), build)  # noqa: E731
    machines = detect_all(data_dir=data, machine=here, read=read)
    assert left_out(machines[0]).get("cpu-0.3.36") == why


def test_a_real_build_whose_bindings_were_exchanged_is_told(data: Path) -> None:
    copy = copy_build(data, "cpu-0.3.36")
    assert read_build(copy).note is None
    replace_file(copy.package / "__init__.py", b'__version__ = "0.3.35"\n')
    assert str(read_build(copy).note).startswith("it is llama-cpp-python 0.3.35, and was tested as ")


def test_a_record_tells_when_its_build_was_made(data: Path, here: Any) -> None:
    """What was measured with an older one of the name holds no longer."""
    add(data, "cpu-0.3.36")
    own, copy = found(data, here)
    assert (own.engine.made_at, copy.engine.made_at) == (None, "2026-01-02T03:04:05+00:00")


def test_an_empty_name_is_no_choice(data: Path, here: Any) -> None:
    add(data, "cpu-0.3.36")
    with pytest.raises(UsageError, match="no engine is called"):
        found(data, here, "")


def test_where_a_build_is_does_not_depend_on_the_working_folder(
    data: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps out: with GPT_OSS_DATA_DIR=data the program of a server was not found."""
    add(data, "cpu-0.3.36")
    monkeypatch.chdir(data.parent)
    _, copy = found(Path("data"), here)
    assert copy.engine.site == str(data / "engines" / "cpu-0.3.36" / "site")
