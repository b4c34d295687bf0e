"""How long a turn takes, and how long it waits for a server that is not ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from launcher.engines.client import faults
from launcher.engines.client.wire import Reply

LOADING_TIMEOUT_S = 300.0
"""A model that is not in memory by then is not coming: the largest one, from a hard disk, takes four minutes."""
BUSY_TRIES = 3
"""Of a server that has too many requests."""
LONGEST_WAIT_S = 20.0
"""What a busy server may ask us to wait; for more, a person decides."""
_STEP_S = 1.0
"""Between tries where the server does not say."""


class Watch:
    """Wall times of one turn."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begin = clock()
        self._first: float | None = None

    def saw_token(self) -> None:
        """Something of the answer came."""
        self._first = self._first or self._clock()

    def first_ms(self) -> float:
        """From the request to that; 0 where nothing came."""
        return 0.0 if self._first is None else (self._first - self._begin) * 1e3

    def elapsed_ms(self) -> float:
        """Until now."""
        return (self._clock() - self._begin) * 1e3


@dataclass(slots=True)
class Patience:
    """Decides how long to wait for a server that cannot answer yet."""

    loading_s: float = 0.0
    """Waited for a model so far."""
    n_busy: int = 0
    """Refusals for other reasons."""
    note: str | None = None
    """What to tell the user before the wait."""

    def wait_s(self, reply: Reply, body: bytes) -> float | None:
        """Seconds until the next try; None where there is to be none."""
        asked = faults.retry_after_s(reply.headers)
        if faults.is_loading(reply.status, body):
            if self.loading_s >= LOADING_TIMEOUT_S:
                return None
            if self.loading_s == 0:
                self.note = "the server is loading its model; the answer comes when it is ready"
            wait_s = min(max(asked or 0.0, _STEP_S), LONGEST_WAIT_S)
            self.loading_s += wait_s
            return wait_s
        wait_s = _STEP_S if asked is None else asked
        self.n_busy += 1
        if reply.status not in {429, 503} or self.n_busy >= BUSY_TRIES or wait_s > LONGEST_WAIT_S:
            return None
        self.note = f"the server is busy ({reply.status}); trying again in {wait_s:.0f} s"
        return wait_s
