"""Crashes of engines in use: in real processes that crash, are killed, or end well."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.hardware.crashes import FOLDER, computing, crash_of, crash_of_status, keep_crash, use_of
from tests.systems import POSIX

NAME = "vulkan-0.3.36"
LATER, BEFORE = "2999-01-01T00:00:00+00:00", "2000-01-01T00:00:00+00:00"
USES = """
import faulthandler, os, signal, sys
from pathlib import Path
from launcher.hardware.crashes import computing
with computing(Path(sys.argv[1]), sys.argv[2], "chat") as complain:
    complain("ggml_vulkan: something is odd")
    if len(sys.argv) > 4:
        complain(sys.argv[4])
    eval(sys.argv[3])
"""


def used(state_dir: Path, how: str, *complaint: str, name: str = NAME) -> int:
    """A process that computed, and ended in some way."""
    return subprocess.run(
        [sys.executable, "-c", USES, str(state_dir), name, how, *complaint],
        check=False,
        capture_output=True,
        timeout=60,
    ).returncode


def files(state_dir: Path) -> list[Path]:
    return list((state_dir / FOLDER).glob("*"))


@pytest.fixture
def faults() -> Iterator[None]:
    """Pytest's own faulthandler, which a test in this process would turn off."""
    on = faulthandler.is_enabled()
    yield
    if on:
        faulthandler.enable(sys.__stderr__ or sys.stderr)


@POSIX
def test_a_crash_counts_until_a_test_passes(tmp_path: Path) -> None:
    assert used(tmp_path, "faulthandler._sigsegv()") == -signal.SIGSEGV
    crash = crash_of(tmp_path, NAME, sound_since=(BEFORE, None))
    assert crash is not None
    assert (crash.doing, crash.how, crash.complaints) == (
        "chat",
        "Segmentation fault",
        ("ggml_vulkan: something is odd",),
    )
    assert crash.why.startswith("the last chat with it ended in a crash of the engine (Segmentation fault, 2")
    assert "`gpt-oss engine test vulkan-0.3.36` passes" in crash.why
    assert crash_of(tmp_path, "cuda-0.3.36") is None
    assert crash_of(tmp_path, NAME, sound_since=(BEFORE, LATER)) is None
    assert files(tmp_path) == []


@POSIX
def test_who_ran_out_of_memory_is_no_bad_engine(tmp_path: Path) -> None:
    assert used(tmp_path, "os.abort()", "ggml_cuda: cudaMalloc failed: out of memory") == -signal.SIGABRT
    assert crash_of(tmp_path, NAME) is None


@POSIX
@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"])
def test_who_was_killed_did_not_crash(tmp_path: Path, how: str) -> None:
    used(tmp_path, how)
    assert len(files(tmp_path)) == 1
    assert crash_of(tmp_path, NAME) is None
    assert files(tmp_path) == [], "what it left is taken away"


@pytest.mark.parametrize("how", ["None", "sys.exit(3)", "1 / 0"])
def test_an_orderly_end_leaves_nothing(tmp_path: Path, how: str) -> None:
    used(tmp_path, how)
    assert files(tmp_path) == []


def test_an_engine_at_work_is_left_alone(tmp_path: Path, faults: None) -> None:
    del faults
    with computing(tmp_path, NAME, "chat"):
        assert crash_of(tmp_path, NAME) is None
        (file,) = files(tmp_path)
        if sys.platform != "win32":
            assert file.stat().st_mode & 0o077 == 0
        found = use_of(tmp_path, os.getpid())
    assert found is not None
    assert (found[0].name, found[1]) == (NAME, None)
    assert files(tmp_path) == []


def test_nothing_is_noted_of_the_environments_engine(tmp_path: Path) -> None:
    with computing(tmp_path, "environment", "chat") as complain:
        complain("said")
    keep_crash(tmp_path, "environment", "bench", "Aborted")
    assert not (tmp_path / FOLDER).exists()


def test_a_folder_that_cannot_be_written_costs_the_memory_alone(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    with computing(tmp_path / "state", NAME, "chat") as complain:
        complain("said")
    keep_crash(tmp_path / "state", NAME, "bench", "Aborted")
    assert crash_of(tmp_path / "state", NAME) is None


def test_a_child_that_crashed(tmp_path: Path) -> None:
    keep_crash(tmp_path, NAME, "bench", "Aborted", pid=17)
    crash = crash_of(tmp_path, NAME)
    assert crash is not None
    assert (crash.doing, crash.how) == ("bench", "Aborted")


@pytest.mark.parametrize("content", ["", "[" * 10000, "{}\nFatal Python error: x", '{"name": 1}\n'])
def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / f"{NAME}.1.log").write_text(content)
    assert crash_of(tmp_path, NAME) is None
    assert use_of(tmp_path, 1) is None


@pytest.mark.parametrize(
    ("status", "how"),
    [
        (0, None),
        (1, None),
        (0xC0000005, "access violation"),
        *(
            [(-11, "Segmentation fault"), (-6, "Aborted"), (-9, None), (-15, None), (-2, None)]
            if sys.platform == "linux"
            else []
        ),
    ],
)
def test_statuses(status: int, how: str | None) -> None:
    assert crash_of_status(status) == how
