"""One range of a file over one connection: the answer checked, its bytes put where they belong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import NetworkError
from launcher.store.connection import RemoteFile, TransientError, bare
from launcher.store.pace import RateLimit, StallWatch
from launcher.store.partial import Claim
from launcher.store.refusals import not_the_file
from launcher.store.source import Source
from launcher.units import KIB, format_rate

if TYPE_CHECKING:
    import httpx

BLOCK_BYTES = 512 * KIB
"""Bytes are put into the file this many at a time: a kill loses as much, for each connection."""
FLUSH_S = 0.2
"""Or after this long, on a slow line."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")
_GGUF_MAGIC = b"GGUF"


@dataclass(kw_only=True, slots=True, eq=False)
class Line:
    """What a connection needs besides its range."""

    limit: RateLimit
    sleep: Callable[[float], None]
    fastest: Callable[[], float]
    """Bytes per second of the fastest of the other connections."""
    clock: Callable[[], float] = time.monotonic
    on_answer: Callable[[httpx.Response | None], None] = lambda _: None
    """Told of the answer that is being read, so that it can be cut off from another thread."""
    bytes_per_s: float = 0.0
    """Of the last range."""
    new_bytes: int = 0
    """That this connection brought."""
    held_until_s: float = 0.0
    """Last time that it waited for, when the hub had asked all connections to wait."""


def fetch_range(source: Source, claim: Claim, line: Line) -> None:
    """Fetch what is missing of a claim. What has come is put, however this ends.

    Returns early where the server ignores ranges and another connection is reading the file already.

    Raises:
        TransientError: trouble that may pass.
        NetworkError: the hub refuses, or sends something else than the file.
    """
    start, remote = claim.position, source.remote
    with source.open(_range(claim)) as response:
        line.on_answer(response)
        try:
            _check_version(response, remote)
            if response.status_code == 206:
                _check_range(response, remote, start)
            elif response.status_code == 416:
                raise _something_else(response, remote, f"no byte of it from {start} on (416)", b"")
            else:
                _check_length(response, remote)
                if _range(claim) is not None and not claim.partial.read_all_in_order(claim):
                    return
            _receive(response, remote, claim, line)
        finally:
            line.on_answer(None)
    if claim.position < claim.end:
        message = f"the transfer of {remote.asked.path} ended early"
        raise TransientError(NetworkError(message, url=remote.url, hint=remote.asked.retry))


def _range(claim: Claim) -> str | None:
    if claim.is_rest:
        return f"bytes={claim.position}-" if claim.position else None
    return f"bytes={claim.position}-{claim.end - 1}"


def _receive(response: httpx.Response, remote: RemoteFile, claim: Claim, line: Line) -> None:
    watch = StallWatch(line.clock)
    blocks = _Blocks(claim, line)
    try:
        for chunk in _body(response, remote, at_start=claim.position == 0):
            over = blocks.position + len(chunk) - claim.end
            if over > 0 and claim.is_rest:
                raise _something_else(response, remote, f"more than its {remote.size_bytes} bytes", chunk)
            blocks.add(chunk[:-over] if over > 0 else chunk)
            wait_s = line.limit.wait_s(len(chunk))
            if wait_s > 0:
                blocks.put()
                line.sleep(wait_s)
                watch.pause(wait_s)
            if over > 0:
                # Not at the exact end: an answer that is read to its end leaves the connection for the next range.
                break
            if watch.crawls(len(chunk), line.fastest()):
                raise _crawling(remote, watch)
        line.bytes_per_s = watch.bytes_per_s
    finally:
        blocks.put()


class _Blocks:
    """Gathers small chunks into blocks."""

    def __init__(self, claim: Claim, line: Line) -> None:
        self._claim = claim
        self._line = line
        self._chunks: list[bytes] = []
        self._held_bytes = 0
        self._put_s = line.clock()

    @property
    def position(self) -> int:
        return self._claim.position + self._held_bytes

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes >= BLOCK_BYTES or self._line.clock() - self._put_s >= FLUSH_S:
            self.put()

    def put(self) -> None:
        if not self._chunks:
            return
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._held_bytes = 0
        claim, line = self._claim, self._line
        line.new_bytes += claim.partial.put(claim.position, data)
        claim.position += len(data)
        self._put_s = line.clock()


def _crawling(remote: RemoteFile, watch: StallWatch) -> TransientError:
    rate = format_rate(watch.bytes_per_s)
    message = f"a connection for {remote.asked.path} brings only {rate}"
    return TransientError(NetworkError(message, url=remote.url, hint=remote.asked.retry), wait_s=0.0)


def _check_version(response: httpx.Response, remote: RemoteFile) -> None:
    """The hub's own answer, which is the first of a chain of redirects, must still speak of the same content."""
    first = response.history[0] if response.history else response
    etag = first.headers.get("x-linked-etag") or (
        "" if _is_storage(response, remote) else first.headers.get("etag", "")
    )
    if etag and etag.removeprefix("W/").strip('"') != remote.etag:
        raise changed(remote)


def _is_storage(response: httpx.Response, remote: RemoteFile) -> bool:
    """Whether the answer came from an address that the hub gave: its etag is of another kind."""
    return bool(response.history) or bare(str(response.url)) != bare(remote.url)


def _check_range(response: httpx.Response, remote: RemoteFile, start: int) -> None:
    match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    if match is None or int(match[1]) != start or response.headers.get("content-encoding", "identity") != "identity":
        raise _something_else(response, remote, f"another range than from byte {start}", b"")
    if match[2] not in {"*", str(remote.size_bytes)}:
        raise changed(remote)


def _check_length(response: httpx.Response, remote: RemoteFile) -> None:
    length = response.headers.get("content-length", "")
    kind = response.headers.get("content-type", "").partition(";")[0]
    if length.isdigit() and int(length) != remote.size_bytes:
        said = f"{length} bytes{f' of {kind}' if kind else ''} instead of {remote.size_bytes}"
        raise _something_else(response, remote, said, next(response.iter_raw(), b""))


def _body(response: httpx.Response, remote: RemoteFile, *, at_start: bool) -> Iterator[bytes]:
    """The body as it comes in, so that a cut loses nothing; a GGUF's first four bytes are checked before they stay."""
    chunks = response.iter_raw()
    if at_start and (remote.asked.path or "").endswith(".gguf"):
        head = b""
        for chunk in chunks:
            head += chunk
            if len(head) >= len(_GGUF_MAGIC):
                break
        if head and not head.startswith(_GGUF_MAGIC[: len(head)]):
            raise _something_else(response, remote, "it does not begin with GGUF", head)
        yield head
    yield from chunks


def _something_else(response: httpx.Response, remote: RemoteFile, said: str, body: bytes) -> NetworkError:
    return not_the_file(remote.asked, url=bare(str(response.url)), said=said, body=body)


def changed(remote: RemoteFile) -> NetworkError:
    """The error for a file that is another than the one that was listed or begun."""
    return NetworkError(
        f"{remote.asked.path} of {remote.asked.repo} has been replaced on the hub since it was listed",
        url=remote.url,
        hint=remote.asked.retry,
    )
