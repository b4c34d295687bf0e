"""What the loopback hub holds: repositories, files on disk or in memory, the faults to show, the requests it saw."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Route = Literal["info", "refs", "tree", "resolve", "cache", "cdn", "unknown"]
"""`cache` is where the hub redirects small files to, `cdn` (another port, so another origin) where large ones lie."""

CHUNK_BYTES = 256 * 1024


@dataclass
class Faults:
    """What goes wrong, for one file or (as `Hub.faults`) for all requests. As it stands, nothing does."""

    status: int | None = None
    """Answer with this status instead, on `routes`, `times` times (None: always)."""
    routes: frozenset[Route] = frozenset({"info", "tree", "resolve", "cdn"})
    times: int | None = None
    after_requests: int = 0
    """Let so many requests on those routes pass first."""
    error_code: str | None = None
    """X-Error-Code of that answer: GatedRepo, RepoNotFound, RevisionNotFound, EntryNotFound."""
    error_message: str | None = None
    retry_after_s: int | None = None
    cut_at: int | None = None
    """Drop the connection when this byte of the file is due, `cut_times` times (None: always)."""
    cut_times: int | None = None
    cut_every: int | None = None
    """Drop each connection after this many bytes of content."""
    bytes_per_s: float | None = None
    error_page: bytes | None = None
    """Send this with status 200 in place of the content."""
    with_length: bool = True
    """Whether content, or the error page, comes with a Content-Length."""
    served: bytes | None = None
    """What storage holds in place of the listed content, ranges and all."""
    ignore_range: bool = False
    hide_sha256: bool = False
    """List and serve the file as if it were a small one, which has no sha256."""
    wrong_bytes: bool = False
    """Flip one byte in the middle of what is served."""
    wrong_chunks: int = 0
    """Flip a byte in so many of the next chunks, wherever they are."""

    @property
    def damages(self) -> bool:
        """Whether bytes leave other than they are."""
        return self.wrong_bytes or self.wrong_chunks > 0


@dataclass
class FakeFile:
    """A file of a repository. A Path is streamed from disk, and hashed on first use."""

    content: bytes | Path
    faults: Faults = field(default_factory=Faults)
    lfs: bool = True
    known_sha256: str | None = None
    """Skips the hashing of a file that is large and known."""

    @property
    def size_bytes(self) -> int:
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    @property
    def sha256(self) -> str:
        if self.known_sha256 is None:
            digest = hashlib.sha256()
            for chunk in self.read(0, self.size_bytes):
                digest.update(chunk)
            self.known_sha256 = digest.hexdigest()
        return self.known_sha256

    @property
    def is_lfs(self) -> bool:
        return self.lfs and not self.faults.hide_sha256

    @property
    def oid(self) -> str:
        """Git hash: of the LFS pointer for a large file, of the content for a small one."""
        if self.is_lfs:
            body = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size_bytes}\n"
            return hashlib.sha1(b"blob %d\0" % len(body) + body.encode()).hexdigest()
        digest = hashlib.sha1(b"blob %d\0" % self.size_bytes)
        for chunk in self.read(0, self.size_bytes):
            digest.update(chunk)
        return digest.hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.oid

    def read(self, start: int, end: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Bytes `start` to `end`, never more than a chunk in memory."""
        if isinstance(self.content, bytes):
            for offset in range(start, end, chunk_bytes):
                yield self.content[offset : min(offset + chunk_bytes, end)]
            return
        with self.content.open("rb") as stream:
            stream.seek(start)
            while start < end and (chunk := stream.read(min(chunk_bytes, end - start))):
                start += len(chunk)
                yield chunk


class FakeRepo:
    """A repository with a history: older commits stay readable, as on the hub."""

    def __init__(self, name: str, files: Mapping[str, FakeFile]) -> None:
        self.name = name
        self.token: str | None = None
        """Token that may read it; None: everyone may."""
        self.gated = False
        self.history: dict[str, dict[str, FakeFile]] = {}
        self.head = ""
        self.commit(dict(files))

    @property
    def files(self) -> dict[str, FakeFile]:
        """Files of `main`."""
        return self.history[self.head]

    def commit(self, files: dict[str, FakeFile]) -> str:
        """Make `files` the content of `main`; the new commit's name."""
        self.head = hashlib.sha1(f"{self.name} {len(self.history)}".encode()).hexdigest()
        self.history[self.head] = files
        return self.head

    def rename(self, old: str, new: str) -> str:
        """Rebuild the repository with one file under another name."""
        return self.commit({new if path == old else path: file for path, file in self.files.items()})

    def at(self, revision: str) -> dict[str, FakeFile] | None:
        return self.files if revision == "main" else self.history.get(revision)

    def commit_of(self, revision: str) -> str:
        return self.head if revision == "main" else revision


@dataclass
class Seen:
    """One request, noted before its answer begins: no client can be done with it earlier than the log."""

    route: Route
    method: str
    path: str
    """As sent, with its query."""
    range: str | None
    authorization: str | None
    peer: tuple[str, int] = ("", 0)
    """The client's end of the connection: the same for requests that share one."""
    status: int = 0
    body_bytes: int = 0
    """Bytes of body handed to the socket so far."""


class Log:
    """The requests seen so far. Safe to read while others are being answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: list[Seen] = []

    def add(self, seen: Seen) -> None:
        with self._lock:
            self._seen.append(seen)

    def clear(self) -> None:
        with self._lock:
            self._seen.clear()

    def __iter__(self) -> Iterator[Seen]:
        with self._lock:
            return iter(list(self._seen))

    def __len__(self) -> int:
        with self._lock:
            return len(self._seen)

    def of(self, route: Route, method: str | None = None) -> list[Seen]:
        return [seen for seen in self if seen.route == route and method in {None, seen.method}]

    def body_bytes(self, *routes: Route) -> int:
        return sum(seen.body_bytes for seen in self if not routes or seen.route in routes)
