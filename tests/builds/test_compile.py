"""A source of three C files compiled by the CMake that is here: into the store, gone on with, stopped and explained."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from launcher.builds import store
from launcher.builds.compile import again, compile_build
from launcher.builds.compile_types import CompileRequest, Event, Phase, Step
from launcher.builds.disk import locked
from launcher.builds.prepare import Workshop, prepare
from launcher.builds.source import sha256_of
from launcher.builds.tool_types import Tool, Toolchain
from launcher.builds.toolchain import probe_toolchain
from launcher.builds.types import Build, SelfTest
from launcher.errors import DamagedFileError, DoesNotFitError, EngineError, LauncherError, NetworkError, UsageError
from launcher.units import GIB
from tests.cli.sandbox import assert_runnable
from tests.fakes.toolchain import toolchain, write_sdist
from tests.systems import LINUX, POSIX

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
needs_cmake = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("cmake") is None or shutil.which("cc") is None,
    reason="CMake or a C compiler is not here, or libraries are called otherwise",
)


def passing(_build: Build) -> SelfTest:
    return SelfTest(passed=True, date="2026-11-25", why=None)


def failing(_build: Build) -> SelfTest:
    return SelfTest(passed=False, date="2026-11-25", why="it computes nonsense")


@pytest.fixture(scope="module")
def tools() -> Toolchain:
    found = probe_toolchain()
    return toolchain(
        system=found.system, arch=found.arch, cmake=found.cmake, ninja=found.ninja, make=found.make, pip=()
    )


def shop(tools: Toolchain, **changes: object) -> Workshop:
    plain = Workshop(
        tools=lambda: tools, self_test=passing, memory_bytes=lambda: 8 * GIB, n_cpus=lambda: 2,
        free_bytes=lambda _folder: 100 * GIB, now=lambda: NOW,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def run(
    root: Path,
    tools: Toolchain,
    archive: Path | None,
    *,
    on_event: Callable[[Event], object] = lambda _event: None,
    request: dict[str, object] | None = None,
    **changes: object,
) -> Build:
    asked = CompileRequest(backend="cpu", version="9.9.9", source=archive, jobs=2)
    return compile_build(
        replace(asked, **(request or {})),  # type: ignore[arg-type]
        data_dir=root / "data", cache_dir=root / "cache", on_event=on_event, workshop=shop(tools, **changes),
    )  # fmt: skip


def log_of(root: Path) -> str:
    return (root / "cache/engines/cpu-9.9.9/build.log").read_text()


@LINUX
@needs_cmake
def test_from_an_archive_into_the_store(tmp_path: Path, tools: Toolchain) -> None:
    events: list[Event] = []
    archive = write_sdist(tmp_path / "sdist", changes={".git/modules/vendor/llama.cpp/HEAD": "0c1e570" * 5 + "01234"})
    build = run(tmp_path, tools, archive, on_event=events.append, request={"sha256": sha256_of(archive)})
    assert build.name == "cpu-9.9.9"
    assert build.usable
    assert store.installed(tmp_path / "data")[0] == (build,)
    record = build.record
    assert record is not None
    assert (record.version, record.made_at) == ("9.9.9", "2026-11-25T12:00:00+00:00")
    assert (record.source.kind, record.source.sha256) == ("source", sha256_of(archive))
    assert "LLAMA_BUILD_TOOLS=ON" in record.options
    phases = [event.what for event in events if isinstance(event, Phase)]
    assert phases[0] == "getting the source"
    assert phases[-1] == "keeping it"
    steps = [event for event in events if isinstance(event, Step)]
    assert steps[-1].share == pytest.approx(1.0)
    # What stands alone: all libraries in one folder, the program that finds them there, nothing else.
    assert {path.name for path in build.site.iterdir()} == {"llama_cpp", "bin"}
    libraries = {path.name for path in (build.package / "lib").iterdir()}
    assert {"libllama.so", "libllama.so.0", "libllama-common.so"} <= libraries
    assert (build.package / "server" / "app.py").is_file()
    # The archive stays, the work does not.
    assert archive.is_file()
    assert not (tmp_path / "cache/engines/cpu-9.9.9").exists()
    folder = build.site.parent
    log = (folder / "build.log").read_text()
    assert "cmake" in log
    assert "-DLLAMA_BUILD_COMMIT=0c1e570 -DGIT_EXE= " in log
    assert "--ask" in log or tools.ninja is None, "the compilers end with the launcher"
    assert (folder / "licences" / "0-LICENSE.md").read_text() == "MIT\n"
    done = subprocess.run([build.site / "bin" / "llama-server"], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "version: 1\n"


@needs_cmake
def test_a_second_run_goes_on_where_the_first_was_interrupted(tmp_path: Path, tools: Toolchain) -> None:
    archive = write_sdist(tmp_path / "sdist")

    def interrupt(event: Event) -> None:
        if isinstance(event, Phase) and event.what == "installing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tools, archive, on_event=interrupt)
    assert store.installed(tmp_path / "data")[0] == ()
    request = CompileRequest(backend="cpu", version="9.9.9", source=archive)
    assert prepare(request, cache_dir=tmp_path / "cache", workshop=shop(tools)).resumes
    steps: list[Event] = []
    build = run(tmp_path, tools, archive, on_event=steps.append)
    assert build.usable
    assert not [event for event in steps if isinstance(event, Step) and event.total > 1], "nothing is compiled twice"


@needs_cmake
def test_another_recipe_starts_afresh(tmp_path: Path, tools: Toolchain) -> None:
    archive = write_sdist(tmp_path / "sdist")
    with pytest.raises(EngineError):
        run(tmp_path, tools, archive, self_test=failing, request={"definitions": (("CMAKE_C_FLAGS", "-nonsense"),)})
    changed = CompileRequest(backend="cpu", version="9.9.9", source=archive, definitions=(("GGML_NATIVE", "OFF"),))
    assert not prepare(changed, cache_dir=tmp_path / "cache", workshop=shop(tools)).resumes
    build = run(tmp_path, tools, archive, request={"definitions": (("GGML_NATIVE", "OFF"),)})
    assert build.record is not None
    assert "GGML_NATIVE=OFF" in build.record.options
    assert "-nonsense" not in (build.site.parent / "build.log").read_text()


@needs_cmake
def test_an_error_of_the_compiler_is_told_with_its_first_line(tmp_path: Path, tools: Toolchain) -> None:
    archive = write_sdist(tmp_path / "sdist", changes={"two.c": "int two(void) { return nothing; }\n"})
    german = {**os.environ, "LC_ALL": "de_DE.UTF-8", "NINJA_STATUS": "%e "}
    with pytest.raises(EngineError) as caught:
        run(tmp_path, tools, archive, environ=german)
    assert caught.value.message == "compiling cpu-9.9.9 failed"
    assert "[1/" in log_of(tmp_path) or "%]" in log_of(tmp_path)
    first, log = caught.value.details
    assert "two.c:1" in first
    assert "'nothing' undeclared" in first.replace("\u2018", "'").replace("\u2019", "'")
    assert log == f"log: {tmp_path}/cache/engines/cpu-9.9.9/build.log"
    assert store.installed(tmp_path / "data")[0] == ()


@needs_cmake
def test_a_compiler_that_is_killed_wants_fewer_jobs(tmp_path: Path, tools: Toolchain) -> None:
    killed = 'cmake_minimum_required(VERSION 3.21)\nproject(x NONE)\nadd_custom_target(x ALL COMMAND sh -c "echo c++: \
fatal error: Killed signal terminated program cc1plus >&2; exit 1")\n'
    archive = write_sdist(tmp_path / "sdist", changes={"CMakeLists.txt": killed})
    with pytest.raises(EngineError, match="for want of memory") as caught:
        run(tmp_path, tools, archive)
    hint = f"gpt-oss engine build cpu --version 9.9.9 --source {archive} --jobs 1"
    assert caught.value.hint == hint
    assert_runnable(hint)


def test_the_same_again() -> None:
    request = CompileRequest(
        backend="cuda", version="0.3.36", architectures=("89", "90"), definitions=(("CMAKE_CUDA_FLAGS", "-g -I/x"),)
    )
    told = "gpt-oss engine build cuda --version 0.3.36 --arch 89 --arch 90 --define 'CMAKE_CUDA_FLAGS=-g -I/x'"
    assert again(request) == told
    assert_runnable(told)


@needs_cmake
def test_a_package_that_an_error_asks_for_is_told(tmp_path: Path, tools: Toolchain) -> None:
    cmake = 'cmake_minimum_required(VERSION 3.21)\nproject(x NONE)\nmessage(FATAL_ERROR "CUDA Toolkit not found")\n'
    archive = write_sdist(tmp_path / "sdist", changes={"CMakeLists.txt": cmake})
    with pytest.raises(EngineError, match="CMake does not find the CUDA toolkit") as caught:
        run(tmp_path, tools, archive, package=lambda need: f"apt install {need}")
    assert caught.value.hint == "apt install cuda toolkit"
    assert caught.value.details[0] == "first error: CUDA Toolkit not found"


@needs_cmake
def test_an_engine_that_fails_is_kept_unused_and_one_that_works_is_not_given_up_for_it(
    tmp_path: Path, tools: Toolchain
) -> None:
    archive = write_sdist(tmp_path / "sdist")
    failed = run(tmp_path, tools, archive, self_test=failing)
    assert not failed.usable
    assert store.installed(tmp_path / "data")[0] == (failed,)
    works = run(tmp_path, tools, archive)
    with pytest.raises(EngineError, match="the older one is kept: it computes nonsense"):
        run(tmp_path, tools, archive, self_test=failing)
    assert store.installed(tmp_path / "data")[0] == (works,)


@POSIX
@needs_cmake
def test_ctrl_c_ends_the_compilers(tmp_path: Path, tools: Toolchain) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no signal for a thread")
    import psutil

    cmake = (
        "cmake_minimum_required(VERSION 3.21)\nproject(x NONE)\nadd_custom_target(x ALL COMMAND sh ../source/slow.sh)\n"
    )
    files = {"CMakeLists.txt": cmake, "slow.sh": "echo $LAUNCHER_COMPILES_IN > mark\necho $$ > pid\nexec sleep 600\n"}
    archive = write_sdist(tmp_path / "sdist", changes=files)
    pid_file = tmp_path / "cache/engines/cpu-9.9.9/build/pid"
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        while not (pid_file.is_file() and pid_file.read_text().strip()) and not given_up.wait(0.02):
            pass
        signal.pthread_kill(main, signal.SIGINT)

    given_up = threading.Event()
    presser = threading.Thread(target=press)
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, tools, archive)
    finally:
        given_up.set()
        presser.join()
    pid = int(pid_file.read_text())
    assert Path(pid_file.with_name("mark").read_text().strip()) == pid_file.parents[1].resolve(), "known if left behind"
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_two_at_once(tmp_path: Path) -> None:
    with locked(tmp_path / "cache/engines", "cpu-9.9.9"), pytest.raises(UsageError, match="another process"):
        run(tmp_path, toolchain(), write_sdist(tmp_path / "sdist"))


def test_a_store_that_cannot_keep_it_is_told_before_anything_is_done(tmp_path: Path) -> None:
    """Hours of compiling were once spent first."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "engines").write_text("a file")
    with pytest.raises(LauncherError) as caught:
        run(tmp_path, toolchain(), tmp_path / "none.tar.gz")
    assert str(tmp_path / "data" / "engines") in caught.value.message
    assert not (tmp_path / "cache" / "engines" / "cpu-9.9.9").exists()


def test_no_room(tmp_path: Path) -> None:
    other = tmp_path / "cache/engines/cuda-9.9.9/recipe.json"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    with pytest.raises(DoesNotFitError, match="takes about 560 MiB on disk") as caught:
        run(tmp_path, toolchain(), write_sdist(tmp_path / "sdist"), free_bytes=lambda _folder: 100)
    assert caught.value.has_bytes == 100
    assert caught.value.details == (f"An unfinished compilation holds 2 B: {other.parent}",)
    assert caught.value.hint is not None
    assert_runnable(caught.value.hint)


def test_what_is_missing_is_told_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cuda cannot be compiled here: nvcc, the compiler of CUDA, is not here"):
        run(tmp_path, toolchain(), None, request={"backend": "cuda"})
    assert not (tmp_path / "cache").exists()


def test_another_archive_than_expected(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="its sha256 is"):
        run(tmp_path, toolchain(), write_sdist(tmp_path / "sdist"), request={"sha256": "0" * 64})


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    archive = write_sdist(tmp_path / "sdist", changes={"llama_cpp/__init__.py": ""})
    broken = tmp_path / "other.tar.gz"
    broken.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(DamagedFileError, match="cannot be unpacked"):
        run(tmp_path, toolchain(), broken)
    with pytest.raises(DamagedFileError, match="No such file"):
        run(tmp_path, toolchain(), tmp_path / "nothing.tar.gz")


def test_offline_without_an_archive(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="offline mode is on"):
        run(tmp_path, toolchain(), None, request={"offline": True})


def test_a_cmake_that_cannot_be_started(tmp_path: Path) -> None:
    broken = toolchain(cmake=Tool(path=str(tmp_path / "cmake"), version="3.28"))
    with pytest.raises(LauncherError, match="cannot be started"):
        run(tmp_path, broken, write_sdist(tmp_path / "sdist"))


def test_the_recipe_is_kept_for_a_second_run(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError):
        run(tmp_path, toolchain(), tmp_path / "nothing.tar.gz")
    kept = json.loads((tmp_path / "cache/engines/cpu-9.9.9/recipe.json").read_text())
    assert ["GGML_RPC", "ON"] in kept["definitions"]
    # A machine of another kind that shares this folder starts afresh.
    (tmp_path / "cache/engines/cpu-9.9.9/build").mkdir()
    request = CompileRequest(backend="cpu", version="9.9.9")
    for arch, resumes in (("x86_64", True), ("aarch64", False)):
        tools = toolchain(arch=arch)
        assert prepare(request, cache_dir=tmp_path / "cache", workshop=shop(tools)).resumes == resumes
