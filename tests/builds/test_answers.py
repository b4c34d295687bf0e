"""What builds for the CPU say is kept for as long as it holds, and not asked again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.builds import answers
from launcher.builds.answers import Answers, boot_id
from launcher.builds.detect import detect_all
from launcher.hardware.engine_devices import EngineDevice, EngineReport
from tests.hardware.test_detect import CPU_ONLY

LIBRARIES = ("libllama.so.0.5.0", "libggml.so", "libggml-base.so.0", "libggml-cpu-haswell.so", "libggml-rpc.so")
GPU = EngineDevice(
    name="CUDA0", description="a GPU", type="GPU", backend="CUDA", free_bytes=1, total_bytes=1, device_id=None
)


class Asked:
    """A build in a folder, and how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "site" / "llama_cpp"
        (self.package / "lib").mkdir(parents=True)
        self.write("__init__.py")
        for name in LIBRARIES:
            self.write(f"lib/{name}")
        self.state, self.boot, self.environ = folder / "state", "one", {"PATH": "/bin"}
        self.report: EngineReport = replace(CPU_ONLY, backends=("CPU", "RPC"))
        self.n = 0

    def write(self, name: str, content: str = "") -> None:
        (self.package / name).write_text(content)

    def ask(self) -> EngineReport:
        self.n += 1
        return self.report

    def again(self) -> EngineReport:
        kept = Answers(state_dir=self.state, boot=lambda: self.boot, environ=self.environ)
        return kept.of("cpu-0.3.36", self.package, self.ask)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def test_a_build_for_the_cpu_is_asked_once(asked: Asked) -> None:
    assert [asked.again(), asked.again(), asked.again()] == [asked.report] * 3
    assert asked.n == 1
    asked.environ["TERM"] = "dumb"
    asked.again()
    assert asked.n == 1, "what has nothing to do with libraries asks nothing anew"


def _other_library(asked: Asked) -> None:
    asked.write("lib/libllama.so.0.5.0", "another one")


def _touched(asked: Asked) -> None:
    os.utime(asked.package / "lib" / "libggml.so", ns=(1, 1))


def _library_gone(asked: Asked) -> None:
    (asked.package / "lib" / "libggml-cpu-haswell.so").unlink()


def _other_bindings(asked: Asked) -> None:
    asked.write("__init__.py", '__version__ = "0.3.37"')


def _programs(asked: Asked) -> None:
    (asked.package.parent / "bin").mkdir()


def _restarted(asked: Asked) -> None:
    asked.boot = "two"


def _variable(asked: Asked) -> None:
    asked.environ["LD_LIBRARY_PATH"] = "/elsewhere"


def _damaged(asked: Asked) -> None:
    (asked.state / "engine-answers" / "cpu-0.3.36.json").write_text("{")


def _of_tomorrow(asked: Asked) -> None:
    path = asked.state / "engine-answers" / "cpu-0.3.36.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))


@pytest.mark.parametrize(
    "change",
    [
        *(_other_library, _touched, _library_gone, _other_bindings, _programs, _restarted, _variable),
        *(_damaged, _of_tomorrow),
    ],
)
def test_what_changed_is_asked_anew(asked: Asked, change: Callable[[Asked], None]) -> None:
    asked.again()
    change(asked)
    asked.again()
    assert asked.n == 2
    asked.again()
    assert asked.n == 2


@pytest.mark.parametrize("library", ["libggml-cuda.so", "ggml-vulkan.dll", "libggml-metal.dylib", "libggml-hip.so.0"])
def test_a_build_for_a_gpu_is_asked_each_time_even_where_it_shows_none(asked: Asked, library: str) -> None:
    """Its driver may come, and a backend in a file of its own was then not loaded."""
    asked.write(f"lib/{library}")
    asked.again()
    asked.again()
    assert asked.n == 2


@pytest.mark.parametrize(
    "report",
    [
        replace(CPU_ONLY, backends=("CUDA", "CPU")),
        replace(CPU_ONLY, backends=("CUDA", "CPU"), devices=(GPU,)),
        replace(CPU_ONLY, devices=None, note="it crashed"),
        replace(CPU_ONLY, devices=None, note="it hung", hung=True),
    ],
)
def test_only_a_sound_answer_of_a_cpu_is_kept(asked: Asked, report: EngineReport) -> None:
    asked.report = report
    assert asked.again() == asked.again() == report
    assert asked.n == 2


def test_where_nothing_can_be_kept_or_looked_at_the_build_is_asked(asked: Asked) -> None:
    asked.state.write_text("in the way")
    asked.again()
    asked.again()
    assert asked.n == 2
    asked.package = asked.package / "nowhere"
    asked.again()
    assert asked.n == 3


def test_another_boot_of_the_machine_has_another_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert boot_id() == boot_id()
    monkeypatch.setattr(answers, "_BOOT_ID", tmp_path / "id")
    assert boot_id() == boot_id(), "where there is no such file, by the time of the boot"
    (tmp_path / "id").write_text("0-1\n")
    assert boot_id() == "0-1"


def test_plans_of_this_machine_ask_the_environments_engine_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATA", "STATE"):
        monkeypatch.setenv(f"GPT_OSS_{name}_DIR", str(tmp_path / name))
    (first,) = detect_all()
    if not {"CPU", "BLAS", "RPC"}.issuperset(first.engine.backends):
        pytest.skip("the environment's engine is for a GPU")
    kept = tmp_path / "STATE" / "engine-answers" / "environment.json"
    before = kept.stat()
    (second,) = detect_all()
    assert (second.engine, second.cpu.isa) == (first.engine, first.cpu.isa)
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "not written again"
