"""The unfinished file of a blob: taken up where an earlier run, an older version or huggingface_hub left it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from launcher.store.cache import RepoCache
from launcher.store.disk_facts import held_bytes
from launcher.store.journal import journal_path, open_journal, watched_bytes
from launcher.store.part_file import DiskFile, PartFile
from launcher.store.partial import Partial

INCOMPLETE_SUFFIX = ".incomplete"
"""What huggingface_hub calls its own: `<etag>.incomplete` or `<etag>.<random>.incomplete`."""


def open_partial(cache: RepoCache, name: str, size_bytes: int, open_part: Callable[[Path], PartFile]) -> Partial:
    """What there is of a blob, its room on the disk reserved. The blob's lock must be held.

    Raises OSError where the disk refuses; the folder is writable and the room is there when this returns.
    """
    path = cache.part(name)
    if not path.exists():
        _take_over(cache, name, path, size_bytes)
    file = open_part(path)
    try:
        journal, known = open_journal(journal_path(path), size_bytes)
        try:
            partial = Partial(file, journal)
            there = file.size()
            if there > size_bytes or (known and there == 0 and partial.done_bytes):
                partial.clear()
            elif not known and (solid := file.solid_bytes()):
                partial.adopt(solid)
            file.reserve(size_bytes)
        except BaseException:
            journal.close()
            raise
    except BaseException:
        empty = file.size() == 0
        file.close()
        if empty:
            delete_partial(cache, name)
        raise
    return partial


def delete_partial(cache: RepoCache, name: str) -> None:
    """Throw a closed unfinished file away."""
    path = cache.part(name)
    journal_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def place_blob(cache: RepoCache, name: str) -> None:
    """Give a file that is whole, verified, on the disk and closed its name.

    The journal goes first: a file without one is only hashed again.
    """
    path = cache.part(name)
    journal_path(path).unlink(missing_ok=True)
    path.replace(cache.blob(name))


def bytes_so_far(cache: RepoCache, name: str, size_bytes: int) -> int:
    """Bytes of a blob that an unfinished transfer has, ours or huggingface_hub's; cheap, and without a lock."""
    path = cache.part(name)
    noted = watched_bytes(journal_path(path), size_bytes)
    if noted is not None and path.exists():
        return noted
    sizes = [_size(path)] if path.exists() else [_size(other) for other in _theirs(cache, name)]
    here = max(sizes, default=0)
    return here if here <= size_bytes else 0


def reserved_bytes(cache: RepoCache, name: str, size_bytes: int) -> int:
    """Bytes of a blob that need no more room on the disk."""
    path = cache.part(name)
    held = held_bytes(path) if path.exists() else max((held_bytes(other) for other in _theirs(cache, name)), default=0)
    return min(max(held, bytes_so_far(cache, name, size_bytes)), size_bytes)


def _take_over(cache: RepoCache, name: str, path: Path, size_bytes: int) -> None:
    """Go on with what huggingface_hub left behind when it was killed: it would never do so itself.

    We hold its lock, so no process of its kind writes into it.
    """
    for other in sorted(_theirs(cache, name), key=_size, reverse=True):
        if 0 < _size(other) <= size_bytes:
            file = DiskFile(other)
            try:
                solid = file.solid_bytes()
            finally:
                file.close()
            if solid:
                other.replace(path)
                return


def _theirs(cache: RepoCache, name: str) -> list[Path]:
    folder = cache.blob(name).parent
    return [*folder.glob(f"{name}{INCOMPLETE_SUFFIX}"), *folder.glob(f"{name}.*{INCOMPLETE_SUFFIX}")]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
