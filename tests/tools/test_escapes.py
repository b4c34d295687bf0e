"""Code that tries to get out of the sandbox, does not: with all layers, and with what is left where one is missing."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from launcher.tools.jail.job import LAYERS, Layer
from launcher.tools.python_tool import PythonTool, open_python_tool
from launcher.tools.sandbox import Place
from launcher.tools.sandbox_probe import probe
from launcher.tools.types import ToolLimits, ToolResult

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces, Landlock and seccomp")

LIMITS = ToolLimits(timeout_s=20.0, max_output_chars=4_000)
NEVER = threading.Event()
SECRET = "launcher-secret-3141592"


def place_in(folder: Path) -> Place:
    place = Place(work=folder / "files", root=folder / "root")
    place.work.mkdir()
    place.root.mkdir()
    return place


COMBINATIONS: tuple[tuple[Layer, ...], ...] = (LAYERS, ("landlock", "seccomp"), ("namespaces",))
"""All; what most containers allow; an architecture whose system calls are not known, on a kernel without Landlock."""


def children() -> set[int]:
    """Processes below this one; other tests have some that stay."""
    return {process.pid for process in psutil.Process().children(recursive=True)}


@pytest.fixture(scope="module", params=COMBINATIONS, ids="+".join)
def jail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PythonTool]:
    """A tool that has just these layers; skipped where this system does not have them."""
    isolation = probe(place_in(tmp_path_factory.mktemp("probe")), layers=request.param)
    if isolation.layers != request.param:
        pytest.skip("; ".join(isolation.missing))
    assert isolation.is_safe
    with open_python_tool(LIMITS, isolation=isolation) as tool:
        yield tool


def test_without_layers_the_probe_gets_out(tmp_path: Path) -> None:
    found = probe(place_in(tmp_path), layers=())
    assert (found.network, found.files, found.processes, found.layers) == (False, False, False, ())


def has_seccomp(jail: PythonTool) -> bool:
    return "seccomp" in jail.isolation.layers


def run(jail: PythonTool, code: str) -> ToolResult:
    return jail.call(code, NEVER)


def test_files_processes_environment_and_network_are_out_of_reach(
    jail: PythonTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    inherited = os.open(tmp_path / "secret", os.O_RDONLY)
    os.set_inheritable(inherited, True)  # noqa: FBT003
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)  # noqa: FBT003
        code = f"""
import os, socket
def tried(what, attempt):
    try:
        got = attempt()
    except (OSError, ValueError, StopIteration) as error:
        print(what, "failed")
    else:
        print(what, "GOT", str(got)[:300])
def files_in(folder):
    return (path for path in (os.path.join(folder, name) for name in os.listdir(folder)) if os.path.isfile(path))
tried("passwd", lambda: open("/etc/passwd").read())
tried("home", lambda: next(open(file) for file in files_in({str(Path.home())!r})))
tried("secret", lambda: open({str(tmp_path / "secret")!r}).read())
tried("up", lambda: open("../../" * 8 + {str(tmp_path / "secret")!r}).read())
os.symlink({str(tmp_path / "secret")!r}, "link")
tried("symlink", lambda: open("link").read())
tried("symlinked folder", lambda: (os.symlink({str(tmp_path)!r}, "folder"), os.listdir("folder")))
tried("hard link", lambda: os.link({str(tmp_path / "secret")!r}, "hard"))
tried("environ", lambda: open("/proc/{os.getpid()}/environ", "rb").read())
tried("memory", lambda: open("/proc/{os.getpid()}/mem", "rb"))
tried("root", lambda: os.listdir("/proc/{os.getpid()}/root"))
tried("write", lambda: open({str(tmp_path / "new")!r}, "w"))
tried("truncate", lambda: os.truncate({str(tmp_path / "secret")!r}, 0))
tried("chmod", lambda: os.chmod({str(tmp_path / "secret")!r}, 0o777))
tried("utime", lambda: os.utime({str(tmp_path / "secret")!r}, (0, 0)))
tried("remove", lambda: os.unlink({str(tmp_path / "secret")!r}))
tried("python", lambda: open(os.__file__, "a"))
tried("tcp", lambda: socket.create_connection(("127.0.0.1", {listener.getsockname()[1]}), 1))
tried("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)))
tried("mount", lambda: os.listdir("/sys"))
for number in range(200):
    tried("descriptor", lambda: os.fstat(number)) if number > 2 else None
print(sorted(os.environ.items()))
"""
        try:
            result = run(jail, code)
        finally:
            os.close(inherited)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "GOT" not in result.text
    assert result.text.count("failed") > 200
    assert SECRET not in result.text
    assert "_KEY" not in result.text
    assert "TOKEN" not in result.text
    assert (tmp_path / "secret").read_text() == SECRET
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "secret").stat().st_mode & 0o077 != 0o077


def test_other_processes_cannot_be_touched(jail: PythonTool) -> None:
    if sys.platform != "linux":
        pytest.skip("masks of processors are Linux's")
    code = f"""
import ctypes, os, resource, signal
libc = ctypes.CDLL(None, use_errno=True)
PARENT = {os.getpid()}
print("ptrace", libc.ptrace(16, PARENT, None, None))
buffer = ctypes.create_string_buffer(64)
vectors = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
print("read", libc.process_vm_readv(PARENT, vectors, 1, vectors, 1, 0))
for name, attempt in {{
    "kill": lambda: os.kill(PARENT, signal.SIGUSR1),
    "jail": lambda: os.kill(os.getppid() or PARENT, signal.SIGUSR1),
    "group": lambda: os.killpg(os.getpgid(PARENT), signal.SIGUSR1),
    "limits": lambda: resource.prlimit(PARENT, resource.RLIMIT_CORE, (0, 0)),
    "nice": lambda: os.setpriority(os.PRIO_PROCESS, PARENT, 19),
    "affinity": lambda: os.sched_setaffinity(PARENT, {{0}}),
    "more memory": lambda: resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)),
    "root": lambda: os.setuid(0) or os.chroot("."),
}}.items():
    try:
        attempt()
        print(name, "GOT IT")
    except (OSError, ValueError):
        print(name, "failed")
"""
    before = (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0))
    result = run(jail, code)
    assert not result.is_error, result.text
    assert "ptrace -1" in result.text
    assert "read -1" in result.text
    assert result.text.count("failed") == 8, result.text
    assert (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)) == before


def test_a_thousand_processes_and_a_daemon_leave_nothing(jail: PythonTool) -> None:
    before = children()
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
started = 0
try:
    for _ in range(1000):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            time.sleep(600)
        started += 1
except OSError as error:
    print("refused after", started)
"""
    result = run(jail, code)
    if has_seccomp(jail):
        assert "refused after 0" in result.text
    assert result.elapsed_s < 15
    assert not children() - before
    # Each of them has its home in the folder of this tool.
    left = psutil.process_iter(["environ"])
    assert not [each for each in left if (each.info["environ"] or {}).get("HOME") == str(jail.folder)]


def test_memory_output_and_the_disk_are_bounded(jail: PythonTool) -> None:
    code = """
try:
    bytearray(8 << 30)
except MemoryError:
    print("no memory")
try:
    with open("large", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
except OSError as error:
    print(error)
print("x" * 100_000_000)
print("the end")
"""
    result = run(jail, code)
    assert result.text.startswith("no memory\n[Errno 27] File too large")
    assert result.text.endswith("the end")
    assert len(result.text) <= LIMITS.max_output_chars
    assert result.n_cut > 99_990_000
    assert "characters left out" in result.text


def test_a_folder_that_grows_too_full_is_emptied(jail: PythonTool) -> None:
    code = """
open("kept", "w").write("x")
while True:
    name = f"file-{len(__import__('os').listdir())}"
    with open(name, "wb") as file:
        file.write(bytes(8 << 20))
"""
    result = run(jail, code)
    assert "more than 64 MiB in the current folder: all files in it were removed" in result.text
    assert list(jail.folder.iterdir()) == []
    assert not run(jail, "open('again', 'w').write('x')").is_error


def test_other_programs_cannot_be_started(jail: PythonTool) -> None:
    result = run(
        jail, "import subprocess; print(subprocess.run(['/bin/sh', '-c', 'echo GOT IT'], capture_output=True))"
    )
    assert result.is_error
    assert "GOT IT" not in result.text.replace("echo GOT IT", "")


def test_what_ignores_signals_is_stopped_within_a_second(jail: PythonTool) -> None:
    before = children()
    code = """
import signal, time
for number in range(1, 64):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
open("began", "w").write("x")
while True:
    try:
        time.sleep(600)
    except BaseException:
        pass
"""
    cancelled = threading.Event()
    found: list[ToolResult] = []
    thread = threading.Thread(target=lambda: found.append(jail.call(code, cancelled)))
    thread.start()
    while not (jail.folder / "began").exists():
        assert thread.is_alive()
        thread.join(0.01)
    began = time.monotonic()
    cancelled.set()
    thread.join(10)
    assert time.monotonic() - began < 1.0
    assert found[0].is_error
    assert "the user stopped it" in found[0].text
    assert not children() - before
