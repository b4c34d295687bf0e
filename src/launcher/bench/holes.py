"""Files that are long but not there: holes read as zeros, and zeros run at another speed than weights do."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 512
"""What `st_blocks` counts, whatever the file system's own blocks are."""
_THERE = 0.5
"""Part of a file that has to be on the disk. A file system may compress weights by a tenth; of a stand-in a thousandth
is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hollow:
    """A file that is mostly holes."""

    name: str
    size_bytes: int
    there_bytes: int
    """On the disk."""


def find_hollow(paths: Iterable[Path]) -> Hollow | None:
    """The first of the files that is mostly holes; None also where a file system does not tell, as on Windows."""
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            n_blocks = getattr(status, "st_blocks", None)
            if n_blocks is not None and n_blocks * _BLOCK_BYTES < _THERE * status.st_size:
                return Hollow(name=path.name, size_bytes=status.st_size, there_bytes=n_blocks * _BLOCK_BYTES)
    return None
