"""How fast: a limit, a watch for connections that crawl, and the time that is left. Pure: clocks are given."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

SLOW_FOR_S = 15.0
"""A connection is judged after this long; a busy link may pause for seconds."""
SLOW_BYTES_PER_S = 4096.0
"""Below this a connection is opened anew. Nothing is lost by it, so a line that is no faster only pays a round trip."""
SLOW_SHARE = 0.05
"""Nor may one connection be this much slower than the fastest beside it: another server may do better."""
_BURST_S = 0.25
_SETTLE_S = 20.0
"""Rates are averaged over about this long."""
_FIRST_S = 1.0
"""Nothing is said before; connections take a moment to get going."""
_LONGEST_TICK_S = 5.0
"""A longer gap between two looks is this computer asleep or stopped: it says nothing of the line."""


class RateLimit:
    """Bytes per second that all connections share; None: no limit."""

    def __init__(self, bytes_per_s: float | None, clock: Callable[[], float]) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._paid_until_s = -math.inf
        self._lock = threading.Lock()

    def wait_s(self, n_bytes: int) -> float:
        """Seconds to wait before reading on, `n_bytes` having come."""
        if not self._bytes_per_s:
            return 0.0
        with self._lock:
            now = self._clock()
            # What was not used in the last moment may be caught up with, what was not used for longer may not.
            self._paid_until_s = max(self._paid_until_s, now - _BURST_S) + n_bytes / self._bytes_per_s
            return max(0.0, self._paid_until_s - now)


class StallWatch:
    """Whether a connection crawls: judged anew every SLOW_FOR_S, beside the fastest of the others."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s = clock()
        self._bytes = 0

    def pause(self, seconds: float) -> None:
        """Time that we did not read, by our own will."""
        self._since_s += seconds

    def crawls(self, n_bytes: int, fastest_bytes_per_s: float) -> bool:
        """Whether to open this connection anew, `n_bytes` more having come."""
        self._bytes += n_bytes
        elapsed_s = self._clock() - self._since_s
        if elapsed_s < SLOW_FOR_S:
            return False
        if self.bytes_per_s < max(SLOW_BYTES_PER_S, SLOW_SHARE * fastest_bytes_per_s):
            return True
        self._since_s += elapsed_s
        self._bytes = 0
        return False

    @property
    def bytes_per_s(self) -> float:
        """Of the window so far."""
        return self._bytes / max(self._clock() - self._since_s, 0.001)


class Estimate:
    """Rate and time left of a download, so smoothed that a person can read them.

    Look at it a few times a second. A gap (this computer slept, or was stopped) counts neither as time nor as bytes.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._looked_s: float | None = None
        self._done_bytes = 0
        self._weight = 0.0
        self._rate = 0.0
        self._left_s: float | None = None
        self._age_s = 0.0

    def update(self, done_bytes: int, total_bytes: int) -> None:
        """Look: so much is here now."""
        now = self._clock()
        if self._looked_s is None or done_bytes < self._done_bytes or now - self._looked_s > _LONGEST_TICK_S:
            self._looked_s, self._done_bytes = now, done_bytes
            return
        tick_s = now - self._looked_s
        if tick_s < 0.05:
            return
        keep = math.exp(-tick_s / _SETTLE_S)
        # The weight begins at 0, so the first looks count in full and not as the tail of a long silence.
        self._weight = self._weight * keep + (1 - keep)
        self._rate = self._rate * keep + (1 - keep) * (done_bytes - self._done_bytes) / tick_s
        self._looked_s, self._done_bytes = now, done_bytes
        self._age_s += tick_s
        self._settle(tick_s, total_bytes - done_bytes)

    def _settle(self, tick_s: float, missing_bytes: int) -> None:
        """Count down by the clock, and go a part of the way to what the rate says now."""
        rate = self.bytes_per_s
        if not rate or missing_bytes <= 0:
            self._left_s = 0.0 if missing_bytes <= 0 else None
            return
        says_s = missing_bytes / rate
        if self._left_s is None or self._age_s < 2 * _FIRST_S:
            self._left_s = says_s
            return
        counted_s = max(0.0, self._left_s - tick_s)
        # At the beginning the rate itself still changes, and near the end a small error is large beside what is left:
        # follow faster then.
        share = 1 - math.exp(-tick_s / min(_SETTLE_S, max(1.0, says_s / 4), self._age_s / 4))
        self._left_s = counted_s + (says_s - counted_s) * share

    @property
    def bytes_per_s(self) -> float | None:
        """Averaged rate; None before there is one."""
        return self._rate / self._weight if self._weight else None

    @property
    def left_s(self) -> float | None:
        """Seconds to the end; None in the first moment, or while nothing comes."""
        return None if self._age_s < _FIRST_S else self._left_s
