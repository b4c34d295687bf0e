"""Calls back after a while: what was held back to paint less often is painted, a spinner turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

_LINGER_S = 1.0
"""A thread without work waits this long for more before it ends: new ones cost more than waiting."""


class Ticks(Protocol):
    """A Ticker, or a test's."""

    def poke(self, delay_s: float) -> None:
        """Call back in this time; an earlier call that is due stays."""
        ...

    def stop(self) -> None:
        """Forget what is due."""
        ...


class Ticker:
    """A thread that sleeps until something is due, and ends when nothing is."""

    def __init__(self, tick: Callable[[], None], *, linger_s: float = _LINGER_S) -> None:
        self._tick = tick
        self._linger_s = linger_s
        self._wake = threading.Condition()
        self._due: float | None = None
        self._thread: threading.Thread | None = None

    def poke(self, delay_s: float) -> None:
        """Call back in this time; an earlier call that is due stays."""
        due = time.monotonic() + delay_s
        with self._wake:
            if self._due is not None and self._due <= due:
                return
            self._due = due
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
                self._thread.start()
            else:
                self._wake.notify()

    def stop(self) -> None:
        """Forget what is due."""
        with self._wake:
            self._due = None
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._due is None and not self._wake.wait(self._linger_s) and self._due is None:
                    self._thread = None
                    return
                due = self._due
                if due is None:
                    continue
                left = due - time.monotonic()
                if left > 0:
                    self._wake.wait(left)
                    continue
                self._due = None
            # The terminal may be gone: whoever writes next in the main thread meets the same error, and tells it.
            with suppress(OSError, ValueError):
                self._tick()
