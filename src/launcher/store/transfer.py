"""One file from the hub into its `.part`: ranged, resumable, hashed on the way."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, BinaryIO

from launcher.errors import NetworkError
from launcher.store.connection import (
    LONGEST_RETRY_AFTER_S,
    TRIES_WITHOUT_BYTES,
    Connection,
    Patience,
    RemoteFile,
    TransientError,
)
from launcher.store.refusals import not_the_file
from launcher.store.types import ProgressSink
from launcher.units import format_bytes, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

_HASH_CHUNK = 4 * 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")
_GGUF_MAGIC = b"GGUF"


class Part:
    """A file that is growing: what has come so far, and the hash of exactly that."""

    def __init__(self, stream: BinaryIO, progress: ProgressSink, *, counted_bytes: int) -> None:
        """`counted_bytes`: how much of it `progress` was already told of."""
        self._stream = stream
        self._progress = progress
        self._counted_bytes = counted_bytes
        self._digest = hashlib.sha256()
        self.have_bytes = 0

    def resume(self, size_bytes: int) -> None:
        """Take up what an earlier run left, hashing it; what is longer than the file can't be part of it."""
        there = self._stream.seek(0, os.SEEK_END)
        self._stream.seek(0)
        if there > size_bytes:
            self._stream.truncate(0)
        elif there > 0:
            self._progress.phase(f"checking the {format_bytes(there)} that are already here")
            while chunk := self._stream.read(_HASH_CHUNK):
                self._digest.update(chunk)
                self.have_bytes += len(chunk)
        self._tell()

    def append(self, chunk: bytes) -> None:
        """Add bytes. They are in the file, not in a buffer of this process, when this returns."""
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._stream.write(rest) :]
        self._digest.update(chunk)
        self.have_bytes += len(chunk)
        self._tell()

    def restart(self) -> None:
        """Forget everything."""
        self._stream.seek(0)
        self._stream.truncate(0)
        self._digest = hashlib.sha256()
        self.have_bytes = 0
        self._tell()

    def finish(self) -> str:
        """Bring it to the disk for good; its sha256 in hex."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self._digest.hexdigest()

    def _tell(self) -> None:
        if self.have_bytes != self._counted_bytes:
            self._progress.advance(self.have_bytes - self._counted_bytes)
            self._counted_bytes = self.have_bytes


def transfer(connection: Connection, remote: RemoteFile, part: Part, progress: ProgressSink, *, label: str) -> None:
    """Fetch what `part` still lacks of `remote`, over as many connections as it takes.

    Raises NetworkError when the hub refuses, sends something else than the file, or too many tries in a row brought
    nothing. What has come stays in the part.
    """
    patience = Patience(TRIES_WITHOUT_BYTES, LONGEST_RETRY_AFTER_S)
    progress.phase(label)
    # What was had at most, not before the last try: a server that makes us start over again and again would otherwise
    # seem to bring new bytes each time, and the tries would never end.
    most = part.have_bytes
    while part.have_bytes < remote.size_bytes:
        try:
            _one_try(connection, remote, part)
        except TransientError as trouble:
            if part.have_bytes > most:
                most = part.have_bytes
                patience.reset()
            wait_s = patience.wait_s(trouble)
            progress.phase(f"{trouble.error.message}; trying again in {format_duration(wait_s)}")
            connection.sleep(wait_s)
            progress.phase(label)


def _one_try(connection: Connection, remote: RemoteFile, part: Part) -> None:
    start = part.have_bytes
    headers = {"Range": f"bytes={start}-"} if start else {}
    with connection.request("GET", remote.url, remote.asked, headers=headers, accept=frozenset({416})) as response:
        _check_version(response, remote)
        if response.status_code == 416:
            _beyond_the_end(response, remote, part)
        if response.status_code == 206:
            _check_range(response, remote, start)
        else:
            _check_length(response, remote)
            if start:
                # The range was ignored and the whole file comes: appending it would make a file of both.
                part.restart()
        for chunk in _body(response, remote, at_start=part.have_bytes == 0):
            if part.have_bytes + len(chunk) > remote.size_bytes:
                raise _something_else(response, remote, f"more than its {remote.size_bytes} bytes", chunk)
            part.append(chunk)
    if part.have_bytes < remote.size_bytes:
        message = f"the transfer of {remote.asked.path} ended early"
        raise TransientError(NetworkError(message, url=remote.url, hint=remote.asked.retry))


def _check_version(response: httpx.Response, remote: RemoteFile) -> None:
    """The hub's own answer, which is the first of a chain of redirects, must still speak of the same content."""
    first = response.history[0] if response.history else response
    etag = first.headers.get("x-linked-etag") or ("" if response.history else first.headers.get("etag", ""))
    if etag and etag.removeprefix("W/").strip('"') != remote.etag:
        raise changed(remote)


def _beyond_the_end(response: httpx.Response, remote: RemoteFile, part: Part) -> None:
    """416: the server's file ends before our part does, so the part is of another file."""
    if part.have_bytes == 0:
        raise _something_else(response, remote, "no byte of it (416)", b"")
    part.restart()
    message = f"the hub's {remote.asked.path} is shorter than what was here of it"
    raise TransientError(NetworkError(message, url=remote.url, status=416, hint=remote.asked.retry))


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
    return not_the_file(remote.asked, url=str(response.url), said=said, body=body)


def changed(remote: RemoteFile) -> NetworkError:
    """The error for a file that is another than the one that was listed or begun."""
    return NetworkError(
        f"{remote.asked.path} of {remote.asked.repo} has been replaced on the hub since it was listed",
        url=remote.url,
        hint=remote.asked.retry,
    )
