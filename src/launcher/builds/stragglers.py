"""Compilers that outlived the launcher that started them: after a `kill -9` nobody ends them, and they go on writing.

Every program of a compilation has its folder in its environment, which its children inherit. Whoever holds the folder's
lock is alone in it, so that all others with that mark were left behind.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_MARK = "LAUNCHER_COMPILES_IN"
GONE_S = 5.0
"""For the system to take away a process that was killed."""


def marked(folder: Path) -> dict[str, str]:
    """What the environment of a compilation's programs has besides."""
    return {_MARK: os.path.realpath(folder)}


def end_left(folder: Path) -> int:
    """End what still works for a compilation in this folder; how many processes it was."""
    import psutil

    mark = os.path.realpath(folder)
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # somebody else's, or gone
            if process.pid != os.getpid() and process.environ().get(_MARK) == mark:
                process.kill()
                left.append(process)
    psutil.wait_procs(left, timeout=GONE_S)
    return len(left)
