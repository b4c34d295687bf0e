"""Nothing goes on compiling for a launcher that is gone, and what still does is ended before the next one begins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from launcher.builds.compile import compile_build
from launcher.builds.compile_types import CompileRequest
from launcher.builds.stragglers import end_left, marked
from launcher.builds.unfinished import clear
from launcher.errors import DamagedFileError
from tests.builds.test_compile import shop
from tests.fakes.toolchain import toolchain
from tests.systems import LINUX

TIMEOUT_S = 10
SLOW = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]


@contextmanager
def working(environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A compiler that takes its time."""
    process = subprocess.Popen(SLOW, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_what_was_left_of_this_folder_is_ended_and_nothing_else(tmp_path: Path) -> None:
    mine, other = tmp_path / "cpu-9.9.9", tmp_path / "cpu-9.9.8"
    with working(marked(mine)) as left, working(marked(other)) as busy, working({}) as neither:
        assert end_left(mine) == 1
        left.wait(TIMEOUT_S)
        assert busy.poll() is None
        assert neither.poll() is None
        assert end_left(mine) == 0


def test_the_next_command_does_not_begin_beside_it(tmp_path: Path) -> None:
    """The bug: both wrote into the same tree."""
    folder = tmp_path / "cache" / "engines" / "cpu-9.9.9"
    request = CompileRequest(backend="cpu", version="9.9.9", source=tmp_path / "none.tar.gz")
    with working(marked(folder)) as left:
        with pytest.raises(DamagedFileError):
            compile_build(request, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", workshop=shop(toolchain()))
        left.wait(TIMEOUT_S)


def test_what_is_cleared_is_not_written_any_more(tmp_path: Path) -> None:
    folder = tmp_path / "engines" / "cpu-9.9.9"
    folder.mkdir(parents=True)
    with working(marked(folder)) as left:
        clear(tmp_path, "cpu-9.9.9")
        left.wait(TIMEOUT_S)


def test_where_the_disk_has_no_locks_it_may_be_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: FileLock) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "_acquire", unknown)
    request = CompileRequest(backend="cpu", version="9.9.9", source=tmp_path / "none.tar.gz")
    folder = tmp_path / "cache" / "engines" / "cpu-9.9.9"
    with working(marked(folder)) as busy:
        with pytest.raises(DamagedFileError):
            compile_build(request, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", workshop=shop(toolchain()))
        clear(tmp_path / "cache", "cpu-9.9.9")
        assert busy.poll() is None


_LAUNCHER = """
import sys
from pathlib import Path
from launcher.builds.steps import run_step
from launcher.system.children import tied
folder = Path(sys.argv[1])
run_step(tied([sys.argv[2], "-C", "build"], ask=True), cwd=folder, log=folder / "log")
"""


@LINUX
@pytest.mark.skipif(shutil.which("ninja") is None, reason="ninja is not here")
def test_compilers_end_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    """The bug: after `kill -9` they went on for minutes."""
    if sys.platform == "win32":
        return
    ninja = shutil.which("ninja")
    assert ninja is not None
    build = tmp_path / "build"
    build.mkdir()
    os.mkfifo(build / "pids")
    (build / "slow.sh").write_text("echo $$ > pids\nexec sleep 600\n")
    (build / "build.ninja").write_text("rule slow\n  command = sh slow.sh\nbuild out: slow\n")
    launcher = subprocess.Popen([sys.executable, "-c", _LAUNCHER, str(tmp_path), ninja])
    try:
        compiler = psutil.Process(int((build / "pids").read_text()))
        started_by_ninja = compiler.parent()
        assert started_by_ninja is not None
    finally:
        launcher.kill()
        launcher.wait()
    _, alive = psutil.wait_procs([compiler, started_by_ninja], timeout=TIMEOUT_S)
    for process in alive:
        process.kill()
    assert alive == []
