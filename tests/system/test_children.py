"""Children on three systems: flags, jobs and where libraries are found; the other systems by fakes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.system.children import OWN_GROUP, Job, python_itself, start_in_background, tied, with_libraries
from tests.fakes.kernel32 import FakeKernel32


def test_a_child_of_its_own_group_can_be_started_here() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "print('here')"], start_new_session=True, creationflags=OWN_GROUP, capture_output=True,
        check=True, text=True,
    )  # fmt: skip
    assert done.stdout == "here\n"


def test_a_job_ends_what_was_added() -> None:
    kernel = FakeKernel32(alive=(1, 2, 3))
    job = Job(load=lambda: kernel)
    assert job.add(1)
    assert job.add(3)
    assert not job.add(9), "gone already"
    assert job.end()
    assert kernel.alive == {2}
    assert kernel.jobs == {}, "its handle was given back"
    assert not job.end(), "a second time there is nothing to end"


def test_where_there_are_no_jobs_nothing_is_done() -> None:
    refused = Job(load=lambda: FakeKernel32(alive=(1,), refuses=True))
    assert not refused.add(1)
    assert not refused.end()
    if sys.platform != "win32":
        assert not Job().add(os.getpid())


class Started:
    """Takes the place of Popen; refuses flags that hold a bit of `refused`."""

    def __init__(self, *, refused: int = 0) -> None:
        self.calls: list[dict[str, Any]] = []
        self._refused = refused

    def __call__(self, command: list[str], **options: Any) -> Any:
        self.calls.append(options)
        if options.get("creationflags", 0) & self._refused:
            raise PermissionError(5, "Access is denied")
        return command


def start(popen: Started, system: str) -> Any:
    return start_in_background(["program"], log=io.BytesIO(), env={"A": "b"}, system=system, popen=popen)


def test_in_the_background_it_has_a_session_of_its_own() -> None:
    popen = Started()
    assert start(popen, "linux") == ["program"]
    (options,) = popen.calls
    assert options["start_new_session"]
    assert "creationflags" not in options, "which Python refuses there"
    assert options["cwd"] == Path(sys.executable).anchor
    assert (options["stdin"], options["stdout"]) == (subprocess.PIPE, subprocess.PIPE)


def test_on_windows_it_has_no_window_and_leaves_the_terminals_job() -> None:
    popen = Started()
    start(popen, "win32")
    (options,) = popen.calls
    assert options["creationflags"] == 0x200 | 0x08000000 | 0x01000000


def test_a_job_that_lets_nobody_go_is_stayed_in() -> None:
    popen = Started(refused=0x01000000)
    assert start(popen, "win32") == ["program"]
    assert [call["creationflags"] for call in popen.calls] == [0x09000200, 0x08000200]


@pytest.mark.parametrize(("given", "expected"), [({"Path": "C:\\tools"}, "Path"), ({}, "PATH")])
def test_windows_finds_the_libraries_of_a_program_by_the_path(
    tmp_path: Path, given: dict[str, str], expected: str
) -> None:
    (tmp_path / "llama_cpp" / "lib").mkdir(parents=True)
    program = str(tmp_path / "bin" / "llama-server.exe")
    found = with_libraries(program, given, system="win32", separator=";")
    assert found == {expected: ";".join([str(tmp_path / "llama_cpp" / "lib"), *given.values()])}
    assert with_libraries(program, given, system="linux") == given
    assert with_libraries(str(tmp_path / "x" / "y" / "server"), given, system="win32") == given, "another's program"


def test_the_python_of_a_virtual_environment_on_windows_is_another_process() -> None:
    base = "C:\\Python\\python.exe"
    assert python_itself(sys.executable, {"A": "b"}, system="win32", base=base) == (
        base,
        {"A": "b", "__PYVENV_LAUNCHER__": sys.executable},
    )
    for given in ({"system": "linux", "base": base}, {"system": "win32", "base": sys.executable}):
        assert python_itself(sys.executable, {"A": "b"}, **given) == (sys.executable, {"A": "b"})
    assert python_itself("other", {}, system="win32", base=base) == ("other", {}), "somebody else's is left as it is"


def test_a_child_is_tied_on_linux_alone() -> None:
    words = tied(["llama-server", "--port", "1"], system="linux")
    assert words[-3:] == ["llama-server", "--port", "1"]
    assert Path(words[2]).is_file()
    assert tied(["llama-server"], system="win32") == ["llama-server"]
    assert "--ask" not in words
    assert tied(["ninja"], ask=True, system="linux")[3:] == ["--ask", words[3], "ninja"]


def test_what_starts_children_can_be_imported_where_there_is_no_module_resource() -> None:
    # The bug: on Windows no server could be started, since what only Linux runs was imported there.
    code = "import sys; sys.modules['resource'] = None; import launcher.server.child"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
