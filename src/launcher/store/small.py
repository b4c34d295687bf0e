"""Read a small file that anybody may have put there: never a pipe, a device, or more than is reasonable."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

SMALL_BYTES = 64 * 1024**2
"""Five times the largest file that the launcher keeps."""


def read_small(path: Path | str, *, limit_bytes: int = SMALL_BYTES) -> bytes:
    """The whole content.

    Raises:
        OSError: it can't be read, is no regular file (opening a pipe would wait for a writer), or is larger.
    """
    # Without blocking: a pipe is opened at once, and then told by its kind.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > limit_bytes:
            raise OSError(errno.EFBIG, "larger than such a file can be", str(path))
        return stream.read(limit_bytes + 1)
