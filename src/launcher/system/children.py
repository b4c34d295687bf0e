"""How a child is started so that the terminal's Ctrl-C is not its own, and ended with all that it began.

On Linux and macOS a session of its own (`start_new_session`) does the first and a process group the second. Windows has
neither: there a flag keeps Ctrl-C away, and a job ends the processes in it, also where this process is killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from launcher.system import kernel32
from launcher.system.kernel32 import Kernel32

_DEATHSIG = Path(__file__).with_name("deathsig.py")
"""Not imported: what it needs is not there on Windows."""
_NEW_PROCESS_GROUP = 0x00000200  # winbase.h, as the others
_NO_WINDOW = 0x08000000
_BREAKAWAY_FROM_JOB = 0x01000000
OWN_GROUP = _NEW_PROCESS_GROUP if sys.platform == "win32" else 0
"""`creationflags` of a child that Ctrl-C shall not reach; beside `start_new_session=True`, which Windows ignores."""

Popen = Callable[..., "subprocess.Popen[bytes]"]


class Job:
    """Processes that end together, and with this one. Where the system has no jobs, it does nothing."""

    def __init__(self, *, load: Callable[[], Kernel32] | None = None) -> None:
        loader = load or (kernel32.load if sys.platform == "win32" else None)
        self._kernel = None if loader is None else loader()
        self._job = None if self._kernel is None else self._kernel.create_job()

    def add(self, pid: int) -> bool:
        """Take in a process, and what it starts from now on. False where there are no jobs, or it is gone already."""
        return self._kernel is not None and self._job is not None and self._kernel.assign(self._job, pid)

    def end(self) -> bool:
        """End all of them at once; False where there is no job. It can be asked again."""
        if self._kernel is None or self._job is None:
            return False
        job, self._job = self._job, None
        done = self._kernel.terminate_job(job)
        self._kernel.close(job)
        return done


def tied(command: Sequence[str], *, ask: bool = False, system: str = sys.platform) -> list[str]:
    """The command, behind a step that ties it to the thread that starts it, where the system can.

    Elsewhere a job does that (Windows), or the program itself by the end of its stdin. `ask`: by SIGTERM, for one that
    has to end children of its own.
    """
    if system != "linux":
        return list(command)
    return [sys.executable, "-I", str(_DEATHSIG), *(["--ask"] if ask else []), str(os.getpid()), *command]


def start_in_background(
    command: Sequence[str], *, log: IO[bytes], env: Mapping[str, str], system: str = sys.platform,
    popen: Popen = subprocess.Popen,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start a program that goes on when the terminal closes, with pipes on stdin and stdout and its errors in `log`.

    On Windows it has a console of its own without a window, and leaves the job of who started it: terminals and
    installers of packages end the processes in theirs. Not every job lets go.
    """
    pipe = subprocess.PIPE
    # The folder of the terminal shall not be kept busy.
    root = Path(sys.executable).anchor
    if system != "win32":
        return popen(command, stdin=pipe, stdout=pipe, stderr=log, start_new_session=True, cwd=root, env=env)
    flags = _NEW_PROCESS_GROUP | _NO_WINDOW
    with suppress(PermissionError):
        leaving = flags | _BREAKAWAY_FROM_JOB
        return popen(command, stdin=pipe, stdout=pipe, stderr=log, creationflags=leaving, cwd=root, env=env)
    return popen(command, stdin=pipe, stdout=pipe, stderr=log, creationflags=flags, cwd=root, env=env)


def python_itself(
    python: str, environ: Mapping[str, str], *, system: str = sys.platform, base: str | None = None
) -> tuple[str, dict[str, str]]:
    """What runs as Python, and the environment for it.

    In a virtual environment of Windows `python.exe` only starts the one that it was made from, so the process that one
    has started is not the one that computes. `base` is that other one; the variable tells it which environment it is.
    """
    base = getattr(sys, "_base_executable", None) if base is None else base
    if system != "win32" or python != sys.executable or base in {None, python}:
        return python, dict(environ)
    return str(base), {**environ, "__PYVENV_LAUNCHER__": python}


def with_libraries(
    program: str, environ: Mapping[str, str], *, system: str = sys.platform, separator: str = os.pathsep
) -> dict[str, str]:
    """The environment for a program of llama.cpp: on Windows PATH is also where its libraries are looked for.

    Elsewhere the program itself knows where they are, by its run path.
    """
    found = dict(environ)
    folder = Path(program).parent.parent / "llama_cpp" / "lib"
    if system == "win32" and folder.is_dir():
        name = next((name for name in found if name.upper() == "PATH"), "PATH")
        found[name] = separator.join([str(folder), *filter(None, [found.get(name)])])
    return found
