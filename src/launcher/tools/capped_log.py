"""A log file that a program of others writes through us: never larger than a bound, its last lines at hand."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path

from launcher.tools.text import clean_line

MAX_BYTES = 1 << 20
_TAIL_LINES = 5
_LINE_CHARS = 300


class CappedLog:
    """Begins anew each time it is opened. A log that cannot be written is no reason to stop a server."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._left = max_bytes
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._file = None
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
            # What a server says of its keys is nobody else's business.
            path.chmod(0o600)

    @property
    def tail(self) -> tuple[str, ...]:
        """Last lines, fit for a terminal."""
        return tuple(self._tail)

    def write(self, line: bytes) -> None:
        """One line, with or without its end."""
        text = clean_line(line.decode("utf-8", "replace"), _LINE_CHARS)
        if text:
            self._tail.append(text)
        if self._file is None or self._left <= 0:
            return
        data = (line.rstrip(b"\r\n") + b"\n")[: self._left]
        self._left -= len(data)
        with suppress(OSError):
            self._file.write(data)
            self._file.flush()

    def close(self) -> None:
        """Close the file; the last lines stay."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
