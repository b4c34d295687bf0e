"""A command that computes in its own process, with somebody left to tell where a driver crashes it.

On Linux the process forks before anything is loaded, and the parent only waits (`crash_parent`). Elsewhere, and where
the store holds no engine, nothing is forked: what faulthandler writes is found by the next plan.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from launcher.paths import folders


def watched(run: Callable[[], int], *, program: str | None = None) -> int:
    """Run a command, in a child process where an engine might crash it. Gives its exit code.

    Args:
        run: the command.
        program: what this process was started as: only the launcher's own command is forked.
    """
    if sys.platform == "linux" and _may_crash(sys.argv[0] if program is None else program):
        from launcher.cli.crash_parent import forked

        return forked(run)
    return run()


def _may_crash(program: str) -> bool:
    """Whether this is the launcher itself, alone in its process, with engines to choose from."""
    if Path(program).name != "gpt-oss" or threading.active_count() > 1:
        return False
    with suppress(OSError):
        return any(not each.name.startswith(".") and each.is_dir() for each in (folders().data / "engines").iterdir())
    return False
