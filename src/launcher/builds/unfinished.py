"""Work that was left in the cache, compiled or downloaded: it can be gone on with, or cleared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher.builds.compile_types import Work
from launcher.builds.disk import locked, size_bytes, told
from launcher.builds.stragglers import end_left
from launcher.builds.types import BACKENDS, Backend
from launcher.errors import LauncherError, UsageError
from launcher.system.locks import BusyError, held

DOWNLOADS = "downloads"
"""Instead of an engine's name: archives of ready-made ones."""
_LOCK = ".lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """The folder of one engine, or that of archives."""

    name: str
    backend: Backend | None
    """None of archives."""
    folder: Path
    size_bytes: int
    busy: bool
    """Whether a process works in it now."""


def work_folder(cache_dir: Path, name: str) -> Path:
    """Where an engine of that name is compiled, or archives are kept (`downloads`)."""
    return cache_dir / "engines" / name


def begun(cache_dir: Path) -> tuple[str, ...]:
    """Names of engines that have such a folder."""
    folder = work_folder(cache_dir, "")
    children = sorted(folder.iterdir()) if folder.is_dir() else ()
    return tuple(child.name for child in children if _was_begun(child))


def _was_begun(folder: Path) -> bool:
    if folder.name == DOWNLOADS:
        return bool(_archives(folder))
    return _backend_of(folder.name) is not None and folder.is_dir()


def _archives(folder: Path) -> tuple[Path, ...]:
    """What was downloaded, whole or in part. Locks stay: somebody may wait for one."""
    return tuple(path for path in folder.glob("*") if path.is_file() and path.suffix != _LOCK)


def unfinished(cache_dir: Path) -> tuple[Unfinished, ...]:
    """Engines that were begun, by name, with what they take."""
    return tuple(
        Unfinished(
            name=name,
            backend=_backend_of(name),
            folder=(folder := work_folder(cache_dir, name)),
            size_bytes=size_bytes(folder),
            busy=_is_busy(folder),
        )
        for name in begun(cache_dir)
    )


def _backend_of(name: str) -> Backend | None:
    return next((backend for backend in BACKENDS if name.startswith(f"{backend}-")), None)


def _is_busy(folder: Path) -> bool:
    try:
        with _alone_in(folder):
            return False
    except UsageError:
        return True
    except LauncherError:  # a folder that cannot be written
        return False


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Keep others from a folder; whether that holds. Raises UsageError where a process works in it."""
    if folder.name != DOWNLOADS:
        with locked(folder.parent, folder.name) as alone:
            yield alone
        return
    with ExitStack() as stack:
        try:  # one of each archive that comes, and one of each engine that is being made of some
            for path in sorted(folder.glob(f"*{_LOCK}")):
                stack.enter_context(held(path))
        except BusyError:
            raise UsageError("another process downloads an engine: wait for it", hint="gpt-oss engine list") from None
        yield True


def clear(cache_dir: Path, name: str) -> int:
    """Remove what was compiled of an engine, or all archives (`downloads`); the bytes that this frees.

    Raises:
        UsageError: a process works in it.
        LauncherError: it cannot be removed.
    """
    folder = work_folder(cache_dir, name)
    if not folder.is_dir():
        return 0
    with told(folder.parent), _alone_in(folder) as alone:
        if alone:
            end_left(folder)
        freed_bytes = size_bytes(folder)
        if name != DOWNLOADS:
            shutil.rmtree(folder)
            return freed_bytes
        for path in _archives(folder):
            path.unlink()
    return freed_bytes


def forget_source(cache_dir: Path, name: str) -> None:
    """Remove a source that was unpacked for its Python files alone; one that is compiled stays.

    Raises as `clear` does.
    """
    if not Work(folder=work_folder(cache_dir, name)).recipe.exists():
        clear(cache_dir, name)
