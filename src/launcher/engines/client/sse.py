"""Server-sent events, as the HTML standard defines the format: bytes in, the data of each event out. Pure."""

from __future__ import annotations

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""A whole answer fits into one event many times over; what is longer never ends."""


class EventTooLongError(ValueError):
    """An event that does not come to an end."""


class EventReader:
    """Cuts a stream into events, wherever its pieces begin and end. Lines end with LF, CRLF or CR."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        self._rest_size = 0
        self._first = True

    def feed(self, piece: bytes) -> list[str]:
        """The data of each event that this piece completes.

        Raises:
            EventTooLongError: an event grows beyond all reason.
        """
        if b"\n" in piece or b"\r" in piece or (self._parts and self._parts[-1].endswith(b"\r")):
            lines, rest = _split(b"".join(self._parts) + piece)
            self._parts = [rest]
            self._rest_size = len(rest)
        else:  # joined once, not at every piece: a line may be long
            lines = []
            self._parts.append(piece)
            self._rest_size += len(piece)
        if self._first and lines:
            self._first = False
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        found = []
        for line in lines:
            if not line:
                if self._data:
                    found.append(b"\n".join(self._data).decode("utf-8", "replace"))
                self._data, self._size = [], 0
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
                self._size += len(value)
        if self._size + self._rest_size > MAX_EVENT_BYTES:
            raise EventTooLongError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        return found


def _split(text: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines, and what is left. A CR at the end waits: an LF may follow that belongs to it."""
    if b"\r" not in text:  # nearly always
        *lines, rest = text.split(b"\n")
        return lines, rest
    held = b"\r" if text.endswith(b"\r") else b""
    *lines, rest = text.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return lines, rest + held
