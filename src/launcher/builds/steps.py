"""Run a program of a compilation: its output to a log and to a reader, and all that it started ended with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from launcher.errors import LauncherError
from launcher.store.types import without_hub_login
from launcher.system.children import OWN_GROUP, Job

STOP_S = 5.0
"""For ninja to end its compilers and remove what they left half written; then they are ended without asking."""
_KEPT_LINES = 4000
"""Enough to hold the first error of every job that was running, with the pages that a template's error takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a program ended."""

    returncode: int
    lines: tuple[str, ...]
    """The last that it printed."""


def run_step(
    command: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    environ: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] = lambda _line: None,
    stop_s: float = STOP_S,
) -> Outcome:
    """Run a program to its end. Whatever interrupts this, Ctrl-C among it, ends the program and its children first.

    Raises:
        LauncherError: it cannot be started.
    """
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    # Unbuffered: whoever waits for a long compilation looks into its log.
    with log.open("ab", buffering=0) as file, contextlib.ExitStack() as stack:
        file.write(f"$ {' '.join(command)}\n".encode())
        job = Job()
        stack.callback(job.end)
        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=without_hub_login(os.environ if environ is None else environ),
                # Ctrl-C is the launcher's: compilers that get it too print pages of their own.
                start_new_session=True,
                creationflags=OWN_GROUP,
            )
        except OSError as error:
            raise LauncherError(
                f"{command[0]} cannot be started: {error.strerror or error}", hint="gpt-oss engine list"
            ) from error
        job.add(process.pid)
        stack.enter_context(_ended(process, stop_s))
        assert process.stdout is not None  # noqa: S101  # a pipe was asked for
        _read(process.stdout, file, kept, on_line)
        returncode = process.wait()
    return Outcome(returncode=returncode, lines=tuple(kept))


def _read(output: IO[bytes], log: IO[bytes], kept: deque[str], on_line: Callable[[str], object]) -> None:
    for raw in output:
        log.write(raw)
        line = raw.decode(errors="replace").rstrip()
        kept.append(line)
        on_line(line)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes], stop_s: float) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            _end(process, stop_s)
        if process.stdout is not None:
            process.stdout.close()


def _end(process: subprocess.Popen[bytes], stop_s: float) -> None:
    """Ask, wait, and end what is left. Ninja starts every compiler in a group of its own, so a group is not enough."""
    import psutil

    started = []
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(stop_s)
    for left in started:
        with contextlib.suppress(psutil.Error):
            left.kill()
    with contextlib.suppress(OSError):
        process.kill()
    process.wait()
    # Until they are gone they may still write into the build tree.
    psutil.wait_procs(started, timeout=STOP_S)
