"""Runs code in a jail: starts it, reads what it prints, watches its limits, and ends it with all that it began."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.tools import seatbelt
from launcher.tools.folder import overfull
from launcher.tools.jail.job import Job, Layer
from launcher.tools.text import Tail

WORK_BYTES = 64 << 20
"""Of all files in the code's folder."""
FILE_BYTES = 32 << 20
"""Of one file, also one that is open but has no name any more."""
_TICK_S = 0.05
"""Between looks at the folder and at the cancel flag."""
_GRACE_S = 0.5
"""After its time limit: the code gets it as an exception first, so that it can be told where it was."""
_END_S = 1.0
"""For the jail to end what is in it; then the kernel does."""
_PIECE = 1 << 20
_KEPT_BYTES = 1 << 20
"""Of what is printed, at least; 4 bytes for each character that the model may see."""
_START = "import sys; sys.path.insert(0, sys.argv[1]); from launcher.tools.jail.process import main; main()"

Stopped = Literal["cancelled", "time", "folder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where code runs."""

    work: Path
    """Its folder."""
    root: Path
    """An empty one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a run ended."""

    status: int
    """Exit status; 128 and more for a signal."""
    text: str
    n_cut: int
    elapsed_s: float
    stopped: Stopped | None = None
    """Why it was stopped from outside."""
    overfull: str | None = None
    """What there was too much of in its folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What one run may take."""

    timeout_s: float
    memory_bytes: int
    max_output_chars: int
    work_bytes: int = WORK_BYTES
    file_bytes: int = FILE_BYTES


def run(
    code: str,
    place: Place,
    bounds: Bounds,
    *,
    layers: tuple[Layer, ...],
    use_seatbelt: bool,
    cancelled: threading.Event,
    clock: Callable[[], float] = time.monotonic,
    system: str = sys.platform,
) -> Ended:
    """Run code to its end, or until a limit or `cancelled` ends it. Nothing of it is left running.

    Raises:
        OSError: the child cannot be started, or this is Windows.
    """
    if system == "win32":
        raise OSError(errno.ENOSYS, "no code of a model is run on Windows, where nothing would keep it in")
    readable = readable_paths()
    job = Job(
        code=code,
        work=str(place.work),
        root=str(place.root),
        readable=readable,
        layers=layers,
        parent=os.getpid(),
        timeout_s=bounds.timeout_s,
        memory_bytes=bounds.memory_bytes,
        file_bytes=bounds.file_bytes,
    )
    command = [sys.executable, "-I", "-B", "-X", "utf8", "-c", _START, str(Path(__file__).parents[2])]
    if use_seatbelt:
        text = seatbelt.profile((*readable, command[-1]), job.work, sys.base_prefix)
        command = [seatbelt.PROGRAM, "-p", text, *command]
    began = clock()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(place.work),
        cwd="/",
        # Ctrl-C on the terminal is the launcher's: it decides how the code ends.
        start_new_session=True,
    )
    tail = Tail(max(_KEPT_BYTES, 4 * bounds.max_output_chars))
    try:
        with suppress(BrokenPipeError):
            assert process.stdin is not None  # noqa: S101  # a pipe was asked for
            with process.stdin:
                process.stdin.write(job.to_json().encode())
        watch = _Watch(process=process, tail=tail, work=place.work, bounds=bounds, cancelled=cancelled, clock=clock)
        stopped, reason = watch.to_the_end()
    finally:
        _end(process)
        _drain(process, tail)
    output, n_cut = tail.cut(bounds.max_output_chars)
    return Ended(
        status=process.returncode,
        text=output,
        n_cut=n_cut,
        elapsed_s=clock() - began,
        stopped=stopped,
        # What was written last may have come between two looks.
        overfull=reason or overfull(place.work, bounds.work_bytes),
    )


class _Watch:
    """Reads a running process and looks after its limits."""

    def __init__(
        self,
        *,
        process: subprocess.Popen[bytes],
        tail: Tail,
        work: Path,
        bounds: Bounds,
        cancelled: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        self._process = process
        self._tail = tail
        self._work = work
        self._bounds = bounds
        self._cancelled = cancelled
        self._clock = clock

    def to_the_end(self) -> tuple[Stopped | None, str | None]:
        """Wait until it ends by itself, or say why it has to be ended."""
        deadline = self._clock() + self._bounds.timeout_s + _GRACE_S
        next_look = self._clock() + _TICK_S
        for _piece in self._pieces():
            now = self._clock()
            if self._cancelled.is_set():
                return "cancelled", None
            if now >= deadline:
                return "time", None
            if now >= next_look:
                next_look = now + _TICK_S
                reason = overfull(self._work, self._bounds.work_bytes)
                if reason is not None:
                    return "folder", reason
        return None, None

    def _pieces(self) -> Iterator[None]:
        """Take what is printed until the process is gone; comes back at least every tick."""
        assert self._process.stdout is not None  # noqa: S101  # a pipe was asked for
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                if selector.select(_TICK_S):
                    data = os.read(self._process.stdout.fileno(), _PIECE)
                    if not data:
                        break
                    self._tail.add(data)
                elif self._process.poll() is not None:
                    return
                yield
        # It can close its output and go on.
        while self._process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_TICK_S)
            yield


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the jail and everything in it."""
    if sys.platform != "win32" and process.poll() is None:
        if sys.platform.startswith("linux"):
            # It kills what is in it and waits for that to be gone.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _drain(process: subprocess.Popen[bytes], tail: Tail) -> None:
    """Take what is still in the pipe, without waiting for anyone who may hold its other end."""
    assert process.stdout is not None  # noqa: S101  # a pipe was asked for
    with process.stdout as stream:
        if sys.platform != "win32":
            os.set_blocking(stream.fileno(), False)
        with suppress(BlockingIOError):
            while data := os.read(stream.fileno(), _PIECE):
                tail.add(data)


def _environment(work: Path) -> dict[str, str]:
    """Built from nothing: keys and tokens of the user's are in the launcher's own."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # Each thread of theirs takes address space, of which there is a limit.
    return {"HOME": str(work), "TMPDIR": str(work), "LANG": "C.UTF-8", "MPLBACKEND": "Agg", **one}


def readable_paths() -> tuple[str, ...]:
    """What Python needs to read: its library, its packages and the system's shared libraries. Not the home folder."""
    named = sysconfig.get_paths()
    wanted = [
        *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime"),
        *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
        *(named[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(Path(sys.base_prefix, "lib")),
        *(["/nix/store"] if sys.base_prefix.startswith("/nix/") else []),
    ]
    return _outermost([path for path in dict.fromkeys(wanted) if Path(path).exists() and not _holds_home(Path(path))])


def _holds_home(path: Path) -> bool:
    home = Path.home().resolve()
    return home.is_relative_to(path.resolve())


def _outermost(paths: list[str]) -> tuple[str, ...]:
    """Without those that lie in another one."""
    return tuple(path for path in paths if not any(Path(other) in Path(path).parents for other in paths))
