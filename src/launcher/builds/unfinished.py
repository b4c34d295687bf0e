"""Work of compiling that was left in the cache: it can be gone on with, or cleared."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from launcher.builds.disk import locked, size_bytes, told
from launcher.builds.types import BACKENDS, Backend
from launcher.errors import LauncherError, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """The folder of one engine."""

    name: str
    backend: Backend
    folder: Path
    size_bytes: int
    busy: bool
    """Whether a process works in it now."""


def work_folder(cache_dir: Path, name: str) -> Path:
    """Where an engine of that name is compiled."""
    return cache_dir / "engines" / name


def begun(cache_dir: Path) -> tuple[str, ...]:
    """Names of engines that have such a folder."""
    folder = work_folder(cache_dir, "")
    children = sorted(folder.iterdir()) if folder.is_dir() else ()
    return tuple(child.name for child in children if _backend_of(child.name) is not None and child.is_dir())


def unfinished(cache_dir: Path) -> tuple[Unfinished, ...]:
    """Engines that were begun, by name, with what they take."""
    return tuple(
        Unfinished(name=name, backend=backend, folder=folder, size_bytes=size_bytes(folder), busy=_is_busy(folder))
        for name in begun(cache_dir)
        if (backend := _backend_of(name)) is not None and (folder := work_folder(cache_dir, name))
    )


def _backend_of(name: str) -> Backend | None:
    return next((backend for backend in BACKENDS if name.startswith(f"{backend}-")), None)


def _is_busy(folder: Path) -> bool:
    try:
        with locked(folder.parent, folder.name):
            return False
    except UsageError:
        return True
    except LauncherError:  # a folder that cannot be written
        return False


def clear(cache_dir: Path, name: str) -> int:
    """Remove what was compiled of an engine; the bytes that this frees, none where nothing was.

    Raises:
        UsageError: a process works in it.
        LauncherError: it cannot be removed.
    """
    folder = work_folder(cache_dir, name)
    if not folder.is_dir():
        return 0
    with locked(folder.parent, name), told(folder.parent):
        freed_bytes = size_bytes(folder)
        shutil.rmtree(folder)
    return freed_bytes
