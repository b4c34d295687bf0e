"""What a disk says of itself and of a file: its kind, how large a file may be, how much room one takes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from launcher.units import GIB, MIB

FAT_LIMIT_BYTES = 4 * GIB - 1
"""What a file on FAT16 or FAT32 can hold: its size is a uint32."""
_FAT = frozenset({"vfat", "msdos", "fat", "fat16", "fat32"})
"""As Linux, macOS and Windows call them. exFAT has no such limit."""
_BOOKKEEPING_BYTES = MIB
"""The end of a last block, and a file system's own tables: a person expects to see the length of the file."""


def file_system(path: Path) -> str | None:
    """Type of the file system under `path` by the system's own name, in small letters; None where it can't be told."""
    import psutil

    real = path.resolve()
    best, found = -1, None
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError):
        return None
    for mount in mounts:
        folder = Path(mount.mountpoint)
        if real.is_relative_to(folder) and len(folder.parts) >= best:
            best, found = len(folder.parts), mount.fstype.lower()
    return found


def fat_limit_bytes(path: Path) -> int | None:
    """What one file at `path`, or in it, can hold where its file system is FAT; None where that limit is not there."""
    return FAT_LIMIT_BYTES if file_system(path) in _FAT else None


def size_limit_bytes() -> int | None:
    """The limit of `ulimit -f`; None without one."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft


def taken_bytes(found: os.stat_result) -> int:
    """Room that a file takes on its disk: holes take none, what is reserved past its end does."""
    blocks: int | None = getattr(found, "st_blocks", None)
    if blocks is None:
        return found.st_size
    taken = blocks * 512
    return found.st_size if 0 <= taken - found.st_size < _BOOKKEEPING_BYTES else taken


def held_bytes(path: Path) -> int:
    """Room that a file takes on its disk, reserved or written; 0 where there is none."""
    try:
        return taken_bytes(path.stat())
    except OSError:
        return 0
