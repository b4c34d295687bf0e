"""The layout of the hub's cache, which huggingface_hub, llama.cpp and transformers share. Standard library only.

    <cache>/models--owner--name/blobs/<etag>                content, named by its sha256 (or git hash)
    <cache>/models--owner--name/snapshots/<commit>/<path>   relative link to a blob (the file itself where links fail)
    <cache>/models--owner--name/refs/main                   commit that `main` was last seen at
    <cache>/.locks/models--owner--name/<etag>.lock          held while the blob is being written

Of our own there is `blobs/<etag>.gpt-oss.part`, an unfinished transfer, and `<etag>.import.gpt-oss.part`, an unfinished
import. huggingface_hub writes `<etag>.<random>.incomplete` and deletes it when it stops, so the two never touch each
other's.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from launcher.errors import UsageError
from launcher.store.disk_facts import held_bytes
from launcher.store.small import read_small
from launcher.system.files import replace
from launcher.text import is_safe_path

_REF_BYTES = 1000
PART_SUFFIX = ".gpt-oss.part"
IMPORT_SUFFIX = f".import{PART_SUFFIX}"
"""Of what is being copied from a carried folder: it grows in order, and has no journal."""
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z", re.ASCII)
_ETAG = re.compile(r"[A-Za-z0-9][\w.-]{0,200}\Z", re.ASCII)


def is_commit(revision: str | None) -> bool:
    """Whether `revision` is a full commit, which always names the same files, and no branch or tag."""
    return revision is not None and _COMMIT.match(revision) is not None


def is_sha256(text: str | None) -> bool:
    """Whether `text` can be a sha256 in hex."""
    return text is not None and _SHA256.match(text) is not None


def is_blob_name(etag: str | None) -> bool:
    """Whether an etag can name a file: a server's header decides it, so nothing that leaves the folder passes."""
    return etag is not None and _ETAG.match(etag) is not None and ".." not in etag


@dataclass(frozen=True, kw_only=True, slots=True)
class RepoCache:
    """Where one repository's files lie in the hub's cache."""

    cache_dir: Path
    repo: str

    def __post_init__(self) -> None:
        if not _REPO.match(self.repo) or ".." in self.repo or "--" in self.repo:
            raise UsageError(f"not a hub repository: {self.repo!r} (write it like owner/name)", hint="gpt-oss plan")

    @property
    def folder_name(self) -> str:
        """`models--owner--name`."""
        return "models--" + self.repo.replace("/", "--")

    @property
    def folder(self) -> Path:
        """Folder of this repository."""
        return self.cache_dir / self.folder_name

    def blob(self, etag: str) -> Path:
        """The content itself. Raises UsageError for an etag or hash that would leave the folder: servers give them."""
        if not is_blob_name(etag):
            raise UsageError(f"{self.repo} lists a file with an unsafe hash: {etag!r}", hint="gpt-oss plan")
        return self.folder / "blobs" / etag

    def part(self, etag: str) -> Path:
        """What has been fetched of a blob so far."""
        return self.blob(etag + PART_SUFFIX)

    def lock(self, etag: str) -> Path:
        """huggingface_hub's own lock file for this blob, so that it and we don't fetch the same file at once."""
        return self.cache_dir / ".locks" / self.folder_name / f"{self.blob(etag).name}.lock"

    def pointer(self, commit: str, path: str) -> Path:
        """Where a file of a commit is found. Raises UsageError for a path that leaves the snapshot."""
        if not is_commit(commit) or not is_safe_path(path):
            raise UsageError(f"{self.repo} lists a file with an unsafe name: {path!r:.100}", hint="gpt-oss plan")
        return self.folder / "snapshots" / commit / Path(*PurePosixPath(path).parts)

    def ref(self, name: str) -> Path:
        """File that holds the commit of a branch."""
        return self.folder / "refs" / name

    def read_ref(self, name: str) -> str | None:
        """Commit of a branch as last seen; None where nobody has noted it."""
        try:
            text = read_small(self.ref(name), limit_bytes=_REF_BYTES).decode().strip()
        except (OSError, ValueError):
            return None
        return text if is_commit(text) else None

    def snapshots(self) -> Iterator[Path]:
        """Snapshot folders: the one that `main` was last seen at first, then from new to old."""
        root = self.folder / "snapshots"
        main = self.read_ref("main")
        try:
            found = [
                (entry.name == main, entry.stat().st_mtime, entry.name)
                for entry in os.scandir(root)
                if is_commit(entry.name)
            ]
        except OSError:
            return
        for _, _, name in sorted(found, reverse=True):
            yield root / name


def _symlink(link: Path, target: str) -> None:
    link.symlink_to(target)


def link_pointer(blob: Path, pointer: Path, *, symlink: Callable[[Path, str], None] = _symlink) -> None:
    """Make `pointer` show `blob`, by a relative link; where links are not possible the file moves there.

    A snapshot without links holds the files themselves, which is what huggingface_hub leaves behind on such disks.
    """
    pointer.parent.mkdir(parents=True, exist_ok=True)
    # A fresh name and a rename, so that no reader ever finds the pointer missing.
    fresh = pointer.with_name(f"{pointer.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        symlink(fresh, os.path.relpath(blob, pointer.parent))
    except (OSError, NotImplementedError):
        shutil.move(blob, pointer)
        return
    replace(fresh, pointer)


def write_ref(ref: Path, commit: str) -> None:
    """Note the commit of a branch, whole or not at all."""
    try:
        if read_small(ref, limit_bytes=_REF_BYTES) == commit.encode():
            return
    except OSError:
        pass
    ref.parent.mkdir(parents=True, exist_ok=True)
    fresh = ref.with_name(f"{ref.name}.{uuid.uuid4().hex[:8]}.tmp")
    fresh.write_text(commit, encoding="utf-8")
    replace(fresh, ref)


def unfinished(cache_dir: Path) -> list[tuple[Path, int]]:
    """Unfinished transfers of ours with the room that each takes, largest first: what could be deleted to make room."""
    found = [(path, held_bytes(path)) for path in cache_dir.glob(f"models--*/blobs/*{PART_SUFFIX}")]
    return sorted(found, key=lambda item: -item[1])
