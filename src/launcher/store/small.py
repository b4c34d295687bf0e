"""Small files: read what anybody may have put there, never a pipe or a device; written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from launcher.system.files import replace

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


def write_json(path: Path, data: Any) -> None:
    """Write a small file whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    # A name of this process's own, so that two launchers at once cannot mix; rename is atomic.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_text(json.dumps(data, separators=(",", ":")), encoding="utf-8")
        replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
