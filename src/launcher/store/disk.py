"""The disk under the cache: room on it, the unfinished file, one writer at a time, and its errors."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.errors import DoesNotFitError, LauncherError
from launcher.store.cache import unfinished
from launcher.system.locks import held
from launcher.units import format_bytes

LOCK_POLL_S = 1.0
"""How often waiting for another process's download is told again. There is no deadline: the system frees its lock."""


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write where `folder` is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def no_room(
    name: str, cache_dir: Path, *, missing_bytes: int, free: int, retry: str, quota: bool = False
) -> DoesNotFitError:
    """The error for a disk that can't take what is missing of `name`; it names unfinished downloads that hold room.

    `quota`: this user's share of it is used up, whatever is free.
    """
    share = ("Your share of that disk (quota) is used up.",) if quota else ()
    held = (f"An unfinished download holds {format_bytes(size)}: {path}" for path, size in unfinished(cache_dir)[:3])
    return DoesNotFitError(
        f"{name} needs {format_bytes(missing_bytes)} more on disk; {cache_dir} has {format_bytes(free)} free",
        needs_bytes=missing_bytes,
        has_bytes=free,
        hint=_elsewhere("/folder/on/a/larger/disk", retry),
        details=(*share, *held),
    )


def disk_error(error: OSError, cache_dir: Path, *, retry: str) -> LauncherError:
    """What an error of the disk other than a full one means."""
    hint = _elsewhere("/another/folder", retry)
    where = error.filename or cache_dir
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return LauncherError(f"no permission to write {where}: {error.strerror}", hint=hint)
    if error.errno == errno.EFBIG:
        return LauncherError(
            f"the disk of {cache_dir} can't hold a file this large: {error.strerror} (FAT32 ends at 4 GiB)", hint=hint
        )
    return LauncherError(f"can't write the model in {cache_dir}: {error}", hint=hint)


@contextmanager
def disk_errors(
    name: str,
    cache_dir: Path,
    *,
    missing_bytes: Callable[[], int],
    free_bytes: Callable[[Path], int],
    retry: str,
) -> Iterator[None]:
    """Turn the disk's own errors into ones that say what to do. What has been written stays.

    `missing_bytes` is asked once the disk is full: what of `name` was not there yet.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise disk_error(error, cache_dir, retry=retry) from error
        quota = error.errno == errno.EDQUOT
        missing, free = missing_bytes(), free_bytes(cache_dir)
        raise no_room(name, cache_dir, missing_bytes=missing, free=free, retry=retry, quota=quota) from error


def _elsewhere(folder: str, retry: str) -> str:
    """A command with another folder, by the variable that decides where models go."""
    deciding = (name for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") if name in os.environ)
    return f"{next(deciding, 'HF_HOME')}={folder} {retry}"


def is_full(error: OSError) -> bool:
    """Whether the disk, or this user's share of it, is used up."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file that huggingface_hub uses too; `waiting` is called each second that another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # 0o664 as huggingface_hub makes it: people who share a cache must be able to wait for each other.
    with held(path, waiting=waiting, poll_s=LOCK_POLL_S, mode=0o664, plain=True):
        yield
