"""End a server that runs."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from launcher.server import registry
from launcher.server.types import ServerRecord

STOP_S = 6.0
"""Longer than the supervisor itself takes at most."""
_STEP_S = 0.05


def stop_server(state_dir: Path, record: ServerRecord) -> bool:
    """Ask the launcher that looks after it; after STOP_S end both without asking. True where asking was enough."""
    with suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if not registry.is_alive(record):
            registry.remove(state_dir, record.port)
            return True
        time.sleep(_STEP_S)
    for pid in (record.pid, record.server_pid):
        with suppress(ProcessLookupError, TypeError):
            os.kill(pid, signal.SIGKILL)  # type: ignore[arg-type]
    registry.remove(state_dir, record.port)
    return False
