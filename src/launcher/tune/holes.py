"""Of files with holes no settings can be learnt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from launcher.bench.holes import find_hollow
from launcher.errors import UsageError
from launcher.units import format_bytes


def refuse_holes(paths: Iterable[Path]) -> None:
    """Let real files pass.

    Raises:
        UsageError: one is sparse: with zeros the order of settings is reversed.
    """
    found = find_hollow(paths)
    if found is not None:
        raise UsageError(
            f"{found.name} is a sparse file: of its {format_bytes(found.size_bytes)} only "
            f"{format_bytes(found.there_bytes)} are on the disk, the rest is zeros, "
            "and settings that are fast with zeros are not with weights",
            hint="gpt-oss pull",
        )
