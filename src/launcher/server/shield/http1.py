"""As much HTTP/1.1 as stands between a shield and llama-server. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade", b"proxy-connection"),
    }
)
CHUNK_END = b"\n\n\r\n"
"""An event's end, then a chunk's. Nothing else spells it: events escape a carriage return (SSE is JSON a line)."""
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The head of an answer."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """Give a header's value by its name in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def is_event_stream(self) -> bool:
        """Whether events follow, in chunks."""
        return (self.get("content-type") or "").startswith("text/event-stream") and self.is_chunked

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return (self.get("transfer-encoding") or "").lower() == "chunked"

    @property
    def length(self) -> int | None:
        """Of the body; None where it ends otherwise."""
        value = self.get("content-length")
        return int(value) if value is not None and value.isdecimal() else None


def chunk(data: bytes) -> bytes:
    """Spell bytes, which are not none, as one chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def read_head(data: bytes) -> Head:
    """Read a head without its empty line.

    Raises:
        ValueError: it is none.
    """
    first, *lines = data.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(first)
    pairs = (line.partition(":")[::2] for line in lines)
    return Head(status=int(status), reason=reason, headers=tuple((key, value.strip()) for key, value in pairs))


def request(
    method: str, path: str, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, plain: bool = False
) -> bytes:
    """Spell a request whose connection ends with its answer.

    llama-server closes kept connections without saying so, in one of five to twelve requests on the pinned commit,
    and a new one on loopback takes a tenth of a millisecond.

    Args:
        method: GET and so on.
        path: With its query, as the client wrote it.
        headers: As the client wrote them; those about its own connection are left out.
        body: Whole.
        plain: Whether the answer is to come uncompressed, because it is looked at.
    """
    dropped = HOP_BY_HOP | {b"content-length", b"expect"} | ({b"accept-encoding"} if plain else frozenset())
    lines = [f"{method} {path} HTTP/1.1".encode()]
    lines += [key + b": " + value for key, value in headers if key.lower() not in dropped]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"Connection: close", b"", body])


def unchunk(data: bytes) -> bytes:
    """The content of whole chunks.

    Raises:
        ValueError: they are not whole.
    """
    parts, at = [], 0
    while at < len(data):
        line = data.index(b"\r\n", at)
        size = int(data[at:line].partition(b";")[0], 16)
        start = line + 2
        if data[start + size : start + size + 2] != b"\r\n":
            raise ValueError("a chunk is not whole")
        parts.append(data[start : start + size])
        at = start + size + 2
    return b"".join(parts)
