"""The growing file on the disk: read and written by position, its room reserved before the first byte."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import threading
from pathlib import Path
from typing import Protocol

from launcher.store.disk_facts import FAT_LIMIT_BYTES, fat_limit_bytes, size_limit_bytes
from launcher.units import MIB

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h


class PartFile(Protocol):
    """What a download asks of its file; tests give disks that fail."""

    def size(self) -> int:
        """Bytes up to the last one that was written."""

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`, short at the end of the file."""

    def write_at(self, offset: int, data: memoryview) -> int:
        """Write some of `data`, at least a byte. It survives the death of this process."""

    def reserve(self, size_bytes: int) -> None:
        """Take the room of the whole file now, where that is cheap. Raises OSError where it can't be had."""

    def solid_bytes(self) -> int:
        """Bytes from the beginning without a hole in them."""

    def sync(self) -> None:
        """Bring what was written to the disk."""

    def clear(self) -> None:
        """Throw all of it away."""

    def close(self) -> None:
        """Keep it for the next run, and give back room that was reserved and not used."""


class DiskFile:
    """A PartFile on a real disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=True)
        # Unbuffered: what is written survives the death of this process.
        self._stream = path.open("r+b", buffering=0)
        self._path = path
        self._lock = threading.Lock()

    def size(self) -> int:
        """Bytes up to the last one that was written."""
        return os.fstat(self._stream.fileno()).st_size

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`, short at the end of the file."""
        if hasattr(os, "preadv"):
            n_read: int = os.preadv(self._stream.fileno(), [buffer], offset)
            return n_read
        with self._lock:
            self._stream.seek(offset)
            return self._stream.readinto(buffer) or 0  # type: ignore[attr-defined,no-any-return,unused-ignore]

    def write_at(self, offset: int, data: memoryview) -> int:
        """Write some of `data`."""
        if hasattr(os, "pwrite"):
            n_written: int = os.pwrite(self._stream.fileno(), data, offset)
            return n_written
        with self._lock:
            self._stream.seek(offset)
            return self._stream.write(data)

    def reserve(self, size_bytes: int) -> None:
        """Take the room, without the file growing: its size goes on saying how far it was written.

        By the system call itself: posix_fallocate writes into every block where a file system has none.
        """
        _check_limit(self._path, size_bytes)
        if sys.platform != "linux" or size_bytes <= self.size():
            return
        libc = ctypes.CDLL(None, use_errno=True)
        libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        if libc.fallocate(self._stream.fileno(), _KEEP_SIZE, 0, size_bytes) == 0:
            return
        code = ctypes.get_errno()
        if code in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EPERM}:
            raise OSError(code, os.strerror(code), str(self._path))
        # A file system without it: room was counted, and is taken as the bytes come.

    def solid_bytes(self) -> int:
        """Bytes from the beginning without a hole in them."""
        size = self.size()
        if not hasattr(os, "SEEK_HOLE") or size == 0:
            return size
        try:
            hole = os.lseek(self._stream.fileno(), 0, os.SEEK_HOLE)
        except OSError:
            return size
        # Writers that leave holes fill them in some order: what is next to one may be half written.
        return size if hole >= size else hole // MIB * MIB

    def sync(self) -> None:
        """Bring what was written to the disk."""
        (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(self._stream.fileno())

    def clear(self) -> None:
        """Throw all of it away."""
        self._stream.truncate(0)

    def close(self) -> None:
        """Keep it, and give back room past its end."""
        try:
            self._stream.truncate(self.size())
        finally:
            self._stream.close()


def _check_limit(path: Path, size_bytes: int) -> None:
    """Raise EFBIG where a file of this size can't be: told at once, not after the first 4 GiB."""
    limit = size_limit_bytes()
    if size_bytes > FAT_LIMIT_BYTES:
        limit = fat_limit_bytes(path) or limit
    if limit is not None and size_bytes > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
