"""The folder that belongs to code of a model: how full it is, and how it is emptied, whatever was made in it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MAX_ENTRIES = 2_000
MAX_DEPTH = 24
"""A path of more folders serves only to bring down who walks it."""
_BLOCK = 512
"""Unit of st_blocks, whatever the file system's own is."""


def overfull(folder: Path, max_bytes: int) -> str | None:
    """Why the folder holds too much, in a few words; None where it does not. What vanishes meanwhile does not count."""
    waiting = [(str(folder), 0)]
    n_entries = n_bytes = 0
    while waiting:
        path, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return f"more than {MAX_DEPTH} folders in each other"
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    n_entries += 1
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        n_bytes += getattr(found, "st_blocks", -(-found.st_size // _BLOCK)) * _BLOCK
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append((entry.path, depth + 1))
                    if n_entries > MAX_ENTRIES:
                        return f"more than {MAX_ENTRIES} files"
                    if n_bytes > max_bytes:
                        return f"more than {max_bytes >> 20} MiB"
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"a folder that cannot be looked into ({error.strerror})"
    return None


def empty(folder: Path) -> None:
    """Remove all that is in a folder, without following links and however deep it goes.

    Each folder found is brought up to the first level before it is looked into, so no path grows long.

    Raises:
        OSError: something cannot be removed.
    """
    n_moved = 0
    folder.chmod(0o700)
    while True:
        with os.scandir(folder) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        if not names:
            return
        for name, is_folder in names:
            path = folder / name
            if not is_folder:
                path.unlink()
                continue
            path.chmod(0o700)
            with os.scandir(path) as entries:
                inner = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for inner_name, inner_is_folder in inner:
                if not inner_is_folder:
                    (path / inner_name).unlink()
                    continue
                (path / inner_name).chmod(0o700)
                while (folder / f"{n_moved}").is_symlink() or (folder / f"{n_moved}").exists():
                    n_moved += 1
                (path / inner_name).rename(folder / f"{n_moved}")
            path.rmdir()
