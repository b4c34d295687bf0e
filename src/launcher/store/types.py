"""What the store hands to other rooms: listings of the hub, files on this disk, and where progress is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

HUB_LOGIN = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
"""Variables that hold a token of the hub: engines and other programs that the launcher starts have no use for them."""


def without_hub_login(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that has no business with the hub: anyone who may look at it would read the token."""
    return {name: value for name, value in environ.items() if name not in HUB_LOGIN}


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """One file of a hub repository, as its listing describes it."""

    path: str
    """Path inside the repository, with forward slashes."""
    size_bytes: int | None
    sha256: str | None
    """Hash of the content; the hub gives it for large (LFS) files only."""
    etag: str | None
    """Name that the hub's cache layout gives the content: the sha256 of a large file, the git hash of a small one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RepoListing:
    """The files of one repository at one commit."""

    repo: str
    """`owner/name`, as it was asked for."""
    commit: str
    """40 hex digits. Later requests are pinned to it, so that a rebuilt repository can't mix two versions."""
    files: tuple[HubFile, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalModel:
    """A complete model on this disk."""

    paths: tuple[Path, ...]
    """All parts, in order."""
    notes: tuple[str, ...] = ()
    """What a person should know about these files, such as a hash that the hub did not confirm."""
    verified: tuple[Path, ...] = field(default=(), compare=False)
    """Parts that came just now, and whose sha256 was the hub's, or that of the folder they were carried in."""

    @property
    def first(self) -> Path:
        """The file that llama.cpp opens; it finds the other parts beside it."""
        return self.paths[0]


class ProgressSink(Protocol):
    """Where a transfer tells how far it is: `start` once, before all others, and `finish` always, even on failure."""

    def start(self, total_bytes: int, already_bytes: int, label: str) -> None:
        """Begin: `total_bytes` over all parts, of which `already_bytes` need not be fetched."""

    def advance(self, n_bytes: int) -> None:
        """`n_bytes` more are here; negative when bytes had to be thrown away and are fetched again."""

    def phase(self, text: str) -> None:
        """What is being done now: `downloading part 1 of 2`, `waiting for another process`, a note that stays true."""

    def finish(self) -> None:
        """Nothing more follows."""


class NullProgress:
    """A ProgressSink that tells nobody."""

    def start(self, total_bytes: int, already_bytes: int, label: str) -> None:
        """Do nothing."""

    def advance(self, n_bytes: int) -> None:
        """Do nothing."""

    def phase(self, text: str) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""
