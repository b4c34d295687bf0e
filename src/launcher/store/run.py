"""What one download knows: the file, the hub, the cache, its pace, and what it touches outside this program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.catalogue.types import ModelFile
from launcher.store.cache import RepoCache
from launcher.store.config import HubConfig
from launcher.store.connection import Connection, RemoteFile, default_client
from launcher.store.disk import free_bytes
from launcher.store.part_file import DiskFile, PartFile
from launcher.store.types import ProgressSink

if TYPE_CHECKING:
    import httpx

DOWNLOAD_CONNECTIONS = 4
"""Enough where a server gives each connection a share of the line; more gain little, and hubs count requests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast a download may be."""

    n_connections: int = DOWNLOAD_CONNECTIONS
    limit_bytes_per_s: float | None = None
    """All connections together; None: no limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """What a download touches outside this program; tests put fakes here."""

    client: Callable[[], httpx.Client] = default_client
    sleep: Callable[[float], None] | None = None
    """None: the real one, cut short when the download is stopped."""
    free_bytes: Callable[[Path], int] = free_bytes
    open_part: Callable[[Path], PartFile] = DiskFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One call of `fetch`, past the point where everything was already here."""

    file: ModelFile
    config: HubConfig
    cache: RepoCache
    progress: ProgressSink
    outside: Outside
    pace: Pace
    connection: Connection
    notes: list[str] = field(default_factory=list)
    verified: list[Path] = field(default_factory=list)
    """Parts that were fetched, and whose sha256 was the hub's."""

    @property
    def retry(self) -> str:
        """The command that goes on with this download."""
        return f"gpt-oss pull {self.file.name}"

    def sha256(self, remote: RemoteFile) -> str | None:
        """The hash that the content must have: the listing's, else the one that the hub's answer carries."""
        listed = next((part.sha256 for part in self.file.parts if part.path == remote.asked.path), None)
        return listed or remote.sha256

    def blob_name(self, remote: RemoteFile) -> str:
        """Name of the content in the cache."""
        return self.sha256(remote) or remote.etag


class Meter:
    """Tells the progress of several files as one, from the thread that the caller waits in."""

    def __init__(self, progress: ProgressSink, counted: dict[str, int]) -> None:
        """`counted`: bytes of each file, by path, that `progress` was told of when it started."""
        self._progress = progress
        self._told = dict(counted)
        self.label = ""

    def tell(self, path: str, have_bytes: int) -> None:
        """So much of a file is here. Told where nothing came as well: a rate falls then."""
        self._progress.advance(have_bytes - self._told[path])
        self._told[path] = have_bytes

    def begin(self, label: str) -> None:
        """What is being done from now on."""
        self.label = label
        self._progress.phase(label)

    def note(self, text: str) -> None:
        """Something that happened meanwhile."""
        self._progress.phase(text)
