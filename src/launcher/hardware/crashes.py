"""Crashes of engines in use, kept in the state folder until a self-test shows that the engine is sound.

While an engine of the store computes in a process, a file of that process lies there. Its first line says what is done
with which engine; further lines are errors that llama.cpp logs, and Python's faulthandler writes into it as the process
crashes. At an orderly end the file goes. What is left without faulthandler's words was killed or lost its power: that
says nothing of the engine.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from launcher.hardware.types import ENVIRONMENT
from launcher.records import from_jsonable, to_jsonable

FOLDER = "engine-crashes"
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
_FATAL = re.compile(r"^(?:Fatal Python error|Windows fatal exception): (.+)$", re.MULTILINE)
"""What faulthandler begins with."""
_WINDOWS = {
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC0000409: "aborted",
    0xC00000FD: "stack overflow",
}
"""Statuses that Windows gives a process that crashed (ntstatus.h)."""
_MEMORY = (
    "out of memory",
    "OutOfDeviceMemory",
    "cudaMalloc failed",
    "failed to allocate",
    "unable to allocate",
    "alloc_tensor_range: failed",
    "failed to fit params",
    "std::bad_alloc",
)

Complain = Callable[[str], None]
"""Takes what llama.cpp logs as an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """An engine at work: the first line of a file."""

    name: str
    doing: str
    """`chat`, `bench`, `server`."""
    pid: int
    schema: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Crash:
    """How the work of an engine ended."""

    name: str
    doing: str
    how: str
    """`Segmentation fault`."""
    at_s: float
    """Seconds since 1970."""
    complaints: tuple[str, ...] = ()
    """What llama.cpp said before."""

    @property
    def of_memory(self) -> bool:
        """Whether memory ran out, which is no fault of the engine's."""
        return is_about_memory(self.complaints)

    @property
    def what(self) -> str:
        """What happened, in words that follow the engine's name."""
        when = datetime.fromtimestamp(self.at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"the last {self.doing} with it ended in a crash of the engine ({self.how}, {when})"

    @property
    def why(self) -> str:
        """Why the engine is left out, and until when."""
        return f"{self.what}; it is taken again once `gpt-oss engine test {shlex.quote(self.name)}` passes"


def is_about_memory(lines: Sequence[str]) -> bool:
    """Whether the last lines of a log say that memory ran out."""
    return any(text.lower() in line.lower() for line in lines for text in _MEMORY)


def crash_of_status(status: int) -> str | None:
    """`Segmentation fault` by the exit status of a process, negative for a signal; None where it did not crash."""
    if status < 0:
        number = -status
        crashes = {int(getattr(signal, name)) for name in _CRASHES if hasattr(signal, name)}
        return signal.strsignal(number) if number in crashes else None
    return _WINDOWS.get(status)


@contextmanager
def computing(state_dir: Path, name: str, doing: str) -> Iterator[Complain]:
    """A process that computes with the engine `name`: what it leaves behind if it crashes is for `crash_of`.

    Nothing is noted of the environment's engine, which no plan can leave out, nor where the folder cannot be written.
    """
    file = None if name == ENVIRONMENT else _opened(state_dir, Use(name=name, doing=doing, pid=os.getpid()))
    if file is None:
        yield lambda _: None
        return

    def complain(line: str) -> None:
        with suppress(OSError, ValueError):
            file.write(f"{line.rstrip()}\n")

    try:
        with file, _faults_into(file):
            yield complain
    finally:
        with suppress(OSError):
            Path(file.name).unlink()


def _opened(state_dir: Path, use: Use) -> IO[str] | None:
    path = _file(state_dir, use.name, use.pid)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        # Line by line: faulthandler writes past Python's own buffer.
        file = path.open("w", encoding="utf-8", errors="replace", buffering=1)
    except OSError:
        return None
    try:
        file.write(f"{json.dumps(to_jsonable(use))}\n")
    except OSError:
        file.close()
        return None
    return file


@contextmanager
def _faults_into(file: IO[str]) -> Iterator[None]:
    before = faulthandler.is_enabled()
    faulthandler.enable(file)
    try:
        yield
    finally:
        faulthandler.disable()
        if before and sys.__stderr__ is not None:
            with suppress(OSError, ValueError):
                faulthandler.enable(sys.__stderr__)


def keep_crash(state_dir: Path, name: str, doing: str, how: str, *, pid: int | None = None) -> None:
    """Note that a process which computed with the engine `name` crashed: a child's exit status tells it."""
    if name == ENVIRONMENT:
        return
    file = _opened(state_dir, Use(name=name, doing=doing, pid=pid if pid is not None else os.getpid()))
    if file is not None:
        with suppress(OSError), file:
            file.write(f"Fatal Python error: {how}\n")


def use_of(state_dir: Path, pid: int) -> tuple[Use, Crash | None] | None:
    """What a process computed with, and how it crashed; None where it left nothing."""
    for path in _files(state_dir):
        read = _read(path)
        if read is not None and read[0].pid == pid:
            return read
    return None


def crash_of(state_dir: Path, name: str, *, sound_since: tuple[str | None, ...] = ()) -> Crash | None:
    """The last crash of the engine `name`; None where there was none that counts.

    Args:
        state_dir: the launcher's.
        name: of the engine.
        sound_since: ISO dates of its making and of the last self-test: what happened before says nothing any more.
    """
    since_s = max((_seconds(date) for date in sound_since if date is not None), default=0.0)
    last: Crash | None = None
    for path in _files(state_dir):
        read = _read(path)
        if read is None or read[0].name != name:
            continue
        use, crash = read
        if crash is None or crash.at_s <= since_s:
            if crash is not None or not _is_running(use.pid):
                with suppress(OSError):
                    path.unlink()
        elif not crash.of_memory and (last is None or crash.at_s > last.at_s):
            last = crash
    return last


def _seconds(date: str) -> float:
    try:
        return datetime.fromisoformat(date).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _file(state_dir: Path, name: str, pid: int) -> Path:
    return state_dir / FOLDER / f"{name}.{pid}.log"


def _files(state_dir: Path) -> list[Path]:
    with suppress(OSError):
        return sorted((state_dir / FOLDER).glob("*.log"))
    return []


def _read(path: Path) -> tuple[Use, Crash | None] | None:
    """What a file tells; None where it cannot be read."""
    try:
        first, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("\n")
        use = from_jsonable(Use, json.loads(first))
        at_s = path.stat().st_mtime
    except (OSError, ValueError, RecursionError):  # RecordError is a ValueError
        return None
    fatal = _FATAL.search(rest)
    if fatal is None:
        return use, None
    said = tuple(line for line in rest[: fatal.start()].splitlines() if line.strip())
    return use, Crash(name=use.name, doing=use.doing, how=fatal[1].strip(), at_s=at_s, complaints=said)


def _is_running(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))
