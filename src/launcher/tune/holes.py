"""Files that are long but not there: of zeros no speed can be learnt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from launcher.errors import UsageError
from launcher.units import format_bytes

_BLOCK = 512
"""Bytes of what `st_blocks` counts, whatever the file system's own blocks are."""
_THERE = 0.5
"""Part of a file that has to be on the disk. A file system may compress weights by a tenth; of a stand-in a thousandth
is there."""


def refuse_holes(paths: Iterable[Path]) -> None:
    """Let real files pass.

    Raises:
        UsageError: one is sparse. Zeros decode at another speed than weights do, and reverse the order of settings.
    """
    for path in paths:
        stat = path.stat()
        blocks = getattr(stat, "st_blocks", None)  # Windows has none
        if blocks is not None and blocks * _BLOCK < _THERE * stat.st_size:
            there, size = format_bytes(blocks * _BLOCK), format_bytes(stat.st_size)
            raise UsageError(
                f"{path.name} is a sparse file: of its {size} only {there} "
                "are on the disk, the rest is zeros, and settings that are fast with zeros are not with weights",
                hint="gpt-oss pull",
            )
