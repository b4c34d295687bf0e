"""A file on the hub as a BinaryIO, read by ranges: its header is looked at without fetching the model."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from launcher.errors import DamagedFileError, NetworkError
from launcher.store.config import HubConfig, hub_config
from launcher.store.connection import (
    LOOK_UP_RETRY_AFTER_S,
    LOOK_UP_TRIES,
    Connection,
    Patience,
    RemoteFile,
    TransientError,
    default_client,
)
from launcher.store.refusals import Asked, not_the_file
from launcher.units import MIB, format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from _typeshed import WriteableBuffer

FIRST_READ_BYTES = MIB
LONGEST_READ_BYTES = 8 * MIB
"""Reads double from the first to this: a GPT OSS header of 13 MB takes four requests, a small one a single one."""
HEADER_LIMIT_BYTES = 64 * MIB
"""What is fetched and kept at most: five times the largest header seen. Past it the file is not what it seems."""


class RangeReader(io.RawIOBase):
    """Reads a remote file of known size. Bytes that were fetched stay in memory, up to `limit_bytes` in all."""

    def __init__(self, connection: Connection, remote: RemoteFile, *, limit_bytes: int = HEADER_LIMIT_BYTES) -> None:
        super().__init__()
        self._connection = connection
        self._remote = remote
        self._limit_bytes = limit_bytes
        self._kept: dict[int, bytes] = {}
        self._read_bytes = FIRST_READ_BYTES
        self._position = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole file."""
        return self._remote.size_bytes

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Position in the file."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move; nothing is fetched by it. Raises ValueError before the beginning."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` from the current position, short only at the end of the file.

        Raises NetworkError, or DamagedFileError past the limit.
        """
        view = memoryview(buffer).cast("B")
        want = max(0, min(len(view), self.size_bytes - self._position))
        done = 0
        while done < want:
            block, inside = divmod(self._position, FIRST_READ_BYTES)
            data = self._block(block)[inside : inside + want - done]
            view[done : done + len(data)] = data
            done += len(data)
            self._position += len(data)
        return done

    def _block(self, block: int) -> bytes:
        if block not in self._kept:
            start = block * FIRST_READ_BYTES
            end = start
            while end < min(start + self._read_bytes, self.size_bytes) and end // FIRST_READ_BYTES not in self._kept:
                end += FIRST_READ_BYTES
            end = min(end, self.size_bytes)
            if sum(map(len, self._kept.values())) + end - start > self._limit_bytes:
                raise DamagedFileError(
                    f"the header of {self._remote.asked.path} goes on past {format_bytes(self._limit_bytes)}: "
                    "no GGUF of this kind has one that long",
                    path=self._remote.url,
                    hint="gpt-oss plan",
                )
            data = self._fetch(start, end)
            for offset in range(0, len(data), FIRST_READ_BYTES):
                self._kept[(start + offset) // FIRST_READ_BYTES] = data[offset : offset + FIRST_READ_BYTES]
            self._read_bytes = min(2 * self._read_bytes, LONGEST_READ_BYTES)
        return self._kept[block]

    def _fetch(self, start: int, end: int) -> bytes:
        patience = Patience(LOOK_UP_TRIES, LOOK_UP_RETRY_AFTER_S)
        while True:
            try:
                return self._fetch_once(start, end)
            except TransientError as trouble:
                self._connection.sleep(patience.wait_s(trouble))

    def _fetch_once(self, start: int, end: int) -> bytes:
        remote = self._remote
        headers = {"Range": f"bytes={start}-{end - 1}"}
        with self._connection.request("GET", remote.url, remote.asked, headers=headers) as response:
            # A server that ignores the range sends the file from its beginning: read as far as needed, then hang up.
            skip = start if response.status_code == 200 else 0
            if skip > self._limit_bytes:
                raise not_the_file(remote.asked, url=remote.url, said="the whole file instead of a range", body=b"")
            length = response.headers.get("content-length", "")
            if response.status_code == 200 and length.isdigit() and int(length) != remote.size_bytes:
                body = next(response.iter_raw(), b"")
                said = f"{length} bytes instead of {remote.size_bytes}"
                raise not_the_file(remote.asked, url=remote.url, said=said, body=body)
            data = bytearray()
            for chunk in response.iter_raw():
                data += chunk
                if len(data) >= skip + end - start:
                    break
        if len(data) < skip + end - start:
            message = f"reading {remote.asked.path} ended early"
            raise TransientError(NetworkError(message, url=remote.url, hint=remote.asked.retry))
        return bytes(data[skip : skip + end - start])


@contextmanager
def open_remote(
    repo: str,
    path: str,
    *,
    revision: str | None = None,
    config: HubConfig | None = None,
    client: Callable[[], httpx.Client] = default_client,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[BinaryIO]:
    """Open a file of the hub for reading, without fetching more of it than is read (in steps of 1 to 8 MiB).

    What comes is buffered: small reads, of which a header has a million, are cheap. Raises NetworkError.
    """
    config = config or hub_config()
    config.check_online(f"reading {repo}/{path}")
    asked = Asked(endpoint=config.endpoint, repo=repo, path=path, revision=revision)
    with client() as http:
        connection = Connection(config, http, sleep)
        with io.BufferedReader(RangeReader(connection, connection.look_up(asked)), FIRST_READ_BYTES) as reader:
            yield reader
