"""Remove models from the hub's cache without harm to what shares it: a blob goes when no snapshot shows it any more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError, UsageError
from launcher.store.cache import RepoCache
from launcher.store.disk_facts import taken_bytes
from launcher.system.locks import BusyError, held

DAMAGED_SUFFIX = ".damaged"
"""Of a blob that was set aside because it has not the hash that it is called by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doomed:
    """Files of one repository in the hub's cache that can go together."""

    repo: str
    what: str
    """What they are, for the person who is asked: `gpt-oss-20b MXFP4`, `unfinished download`."""
    pointers: tuple[Path, ...]
    """Of snapshots: links, or on disks without links the files themselves."""
    blobs: tuple[Path, ...]
    """Contents that nothing else shows, with what belongs to them: journals, unfinished transfers."""

    @property
    def freed_bytes(self) -> int:
        """What the disk gets back: hard links elsewhere keep their content."""
        sizes: dict[tuple[int, int], int] = {}
        for path in (*self.pointers, *self.blobs):
            with suppress(OSError):
                found = path.lstat()
                if found.st_nlink == 1 and not path.is_symlink():
                    sizes[found.st_dev, found.st_ino] = taken_bytes(found)
        return sum(sizes.values())


def doomed_model(cache: RepoCache, pointers: Iterable[Path], *, what: str, everywhere: bool) -> Doomed:
    """What goes with a model.

    Args:
        cache: its repository.
        pointers: its parts in a snapshot.
        what: what it is.
        everywhere: whether every snapshot loses it, or only the one that `pointers` are in.
    """
    doomed = set(pointers)
    shown = _shown(cache)
    blobs = {blob for pointer in doomed if (blob := _blob_of(cache, pointer)) is not None}
    if everywhere:
        doomed |= {pointer for blob in blobs for pointer in shown.get(blob, ())}
    free = {blob for blob in blobs if not set(shown.get(blob, ())) - doomed}
    return Doomed(
        repo=cache.repo, what=what, pointers=tuple(sorted(doomed)), blobs=tuple(_with_companions(cache, sorted(free)))
    )


def doomed_parts(cache: RepoCache, etag: str, *, what: str) -> Doomed:
    """What goes with a download that is not finished."""
    return Doomed(repo=cache.repo, what=what, pointers=(), blobs=tuple(_companions(cache.blob(etag))))


def _shown(cache: RepoCache) -> dict[Path, list[Path]]:
    """The pointers of all snapshots, by the blob that they show."""
    shown: dict[Path, list[Path]] = {}
    for snapshot in cache.snapshots():
        for folder, _, names in os.walk(snapshot):
            for name in names:
                pointer = Path(folder) / name
                blob = _blob_of(cache, pointer)
                if blob is not None:
                    shown.setdefault(blob, []).append(pointer)
    return shown


def _blob_of(cache: RepoCache, pointer: Path) -> Path | None:
    """The blob that a pointer links to, its own repository's; None for a file that is no link, or one that leaves."""
    try:
        target = Path(os.path.normpath(pointer.parent / pointer.readlink()))
    except OSError:
        return None
    blobs = cache.folder / "blobs"
    if target.parent == blobs:
        return target
    # The cache folder itself may be reached through a link.
    return blobs / target.name if os.path.realpath(target.parent) == os.path.realpath(blobs) else None


def _with_companions(cache: RepoCache, blobs: Iterable[Path]) -> Iterator[Path]:
    for blob in blobs:
        yield blob
        yield from _companions(blob)
        if blob.is_symlink():
            yield from _shared(cache, blob)


def _companions(blob: Path) -> Iterator[Path]:
    """What lies beside a blob under its name: an unfinished transfer, its journal, a hash, a damaged copy."""
    try:
        names = sorted(entry.name for entry in os.scandir(blob.parent) if entry.name.startswith(f"{blob.name}."))
    except OSError:
        return
    yield from (blob.parent / name for name in names)


def _shared(cache: RepoCache, blob: Path) -> Iterator[Path]:
    """The content in a store that several repositories share, unless another of them links to it as well."""
    target = Path(os.path.realpath(blob))
    if not target.is_relative_to(os.path.realpath(cache.cache_dir)):
        return
    others = (other for other in cache.cache_dir.glob("models--*/blobs/*") if other != blob and other.is_symlink())
    if target.is_file() and all(os.path.realpath(other) != str(target) for other in others):
        yield target


def remove(cache: RepoCache, doomed: Doomed) -> int:
    """Remove it; gives the bytes that are free now. Pointers go first, so that nothing half removed is ever found.

    Raises:
        UsageError: a part is being downloaded by another process just now.
        LauncherError: the folder may not be written.
    """
    freed_bytes = doomed.freed_bytes
    with ExitStack() as held:
        for etag in sorted({path.name.partition(".")[0] for path in doomed.blobs}):
            held.enter_context(_not_in_use(cache, etag))
        try:
            for path in (*doomed.pointers, *doomed.blobs):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise LauncherError(
                f"cannot remove {error.filename}: {error.strerror or error}", hint="gpt-oss models du"
            ) from error
    _tidy(cache, doomed.pointers)
    return freed_bytes


@contextmanager
def _not_in_use(cache: RepoCache, etag: str) -> Iterator[None]:
    """Hold huggingface_hub's lock of a blob, without waiting for a download that runs."""
    path = cache.lock(etag)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(path, mode=0o664))
        except BusyError:
            raise UsageError(
                f"a file of {cache.repo} is being downloaded by another process; stop that first", hint="gpt-oss models"
            ) from None
        except OSError:
            pass  # a cache that only others may write: the removal itself will tell
        yield


def _tidy(cache: RepoCache, pointers: Iterable[Path]) -> None:
    """Remove folders that are empty now, and of a repository without content what is left of it."""
    snapshots = cache.folder / "snapshots"
    with suppress(OSError):
        for pointer in pointers:
            folder = pointer.parent
            while folder != snapshots and folder.is_relative_to(snapshots):
                if any(folder.iterdir()):
                    break
                folder.rmdir()
                folder = folder.parent
    with suppress(OSError):
        rest = [path for name in ("blobs", "snapshots") for path in (cache.folder / name).rglob("*")]
        if cache.folder.is_dir() and not rest:
            shutil.rmtree(cache.folder)
            shutil.rmtree(cache.cache_dir / ".locks" / cache.folder_name, ignore_errors=True)


def set_aside(cache: RepoCache, pointer: Path) -> Path:
    """Take a damaged content from its name, so that it is neither loaded nor taken for a finished download.

    Raises:
        LauncherError: the folder may not be written.
    """
    content = _blob_of(cache, pointer) or pointer
    aside = content.with_name(content.name + DAMAGED_SUFFIX)
    try:
        content.replace(aside)
    except OSError as error:
        raise LauncherError(f"cannot rename {content}: {error.strerror or error}", hint="gpt-oss models") from error
    return aside
