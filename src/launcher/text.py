"""Text and names of others, made fit for one line and for this disk. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

_LONGEST_NAME = 230
"""Bytes of one name: file systems end at 255, and a temporary name is longer than the file's own."""
_LONGEST_PATH = 1000


def printable(text: str) -> str:
    """Blanks for line breaks, escape sequences' ESC and other control characters: none of them reaches a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def is_safe_path(path: str) -> bool:
    """Whether a file's path in a repository stays in its folder, on every system, and can be a file's at all."""
    pure = PurePosixPath(path)
    if not path.isprintable() or "\\" in path or pure.is_absolute() or not pure.parts or ".." in pure.parts:
        return False
    return len(path.encode()) <= _LONGEST_PATH and max(len(part.encode()) for part in pure.parts) <= _LONGEST_NAME
