"""What a client has been sent of a stream, kept for the case that it must be finished. Pure."""

from __future__ import annotations

from collections.abc import Callable

from launcher.server.shield.http1 import unchunk
from launcher.server.shield.turn import Turn

_KEPT_BYTES = 1 << 18
"""As they were sent, since most streams end well and then nothing was read in vain. More is read into the turn, which
is a hundredth of it."""


class Transcript:
    """Chunks that were sent."""

    def __init__(self, new_turn: Callable[[], Turn]) -> None:
        """Start empty. `new_turn` makes a turn of the stream's API."""
        self._new_turn = new_turn
        self._turn: Turn | None = None
        self._chunks: list[bytes] = []
        self._size = 0

    def keep(self, chunks: bytes) -> None:
        """Remember whole chunks of HTTP."""
        self._chunks.append(chunks)
        self._size += len(chunks)
        if self._size > _KEPT_BYTES:
            self.turn()

    def turn(self) -> Turn:
        """Give the turn so far."""
        if self._turn is None:
            self._turn = self._new_turn()
        self._turn.read_all(unchunk(b"".join(self._chunks)))
        self._chunks, self._size = [], 0
        return self._turn
