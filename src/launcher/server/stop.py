"""End a server that runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from launcher.server import registry
from launcher.server.types import ServerRecord
from launcher.system import stop_event

STOP_S = 6.0
"""Longer than the supervisor itself takes at most."""
_STEP_S = 0.05


def stop_server(state_dir: Path, record: ServerRecord) -> bool:
    """Ask the launcher that looks after it; after STOP_S end both without asking. True where asking was enough."""
    _ask(record.pid)
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if not registry.is_alive(record):
            registry.remove(state_dir, record.port)
            return True
        time.sleep(_STEP_S)
    for pid in (record.pid, record.server_pid):
        if pid is not None:
            _kill(pid)
    registry.remove(state_dir, record.port)
    return False


def _ask(pid: int) -> None:
    if sys.platform == "win32":
        if not stop_event.ask_to_end(pid):
            _kill(pid)  # its server ends with it: they share a job
    else:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _kill(pid: int) -> None:
    """End a process without asking; one that is gone is no error, which Windows calls by other names."""
    if sys.platform == "win32":
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)
    else:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
