"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

DEADLINE_S = 20.0
"""Of things that take a tenth of a second on an idle machine."""


def wait_for(happened: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> float:
    """Look until it has happened. Gives the seconds it took."""
    started = time.monotonic()
    while not happened():
        assert time.monotonic() - started < deadline_s, what
        time.sleep(0.02)
    return time.monotonic() - started


def gone(pid: int | None) -> bool:
    """Whether a process has ended, reaped or not."""
    if pid is None:
        return True
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
