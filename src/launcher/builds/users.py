"""Which processes run from a folder: a program in it, or a library of it in memory."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """A process that uses a folder."""

    pid: int
    name: str | None


def users_of(folder: Path, *, proc: Path = _PROC, system: str = sys.platform) -> tuple[User, ...]:
    """Processes of this person that use files of a folder, by pid. Those that the system does not tell are missing.

    Linux tells every file in memory. Elsewhere the programs themselves are told, and children that have the folder on
    their search path; a library in use does no harm there: Windows refuses to remove it, and macOS keeps it until its
    last user is gone.
    """
    return _users_by_maps(folder, proc) if system == "linux" else _users_by_psutil(folder)


def _users_by_maps(folder: Path, proc: Path) -> tuple[User, ...]:
    within = f" {os.path.realpath(folder)}{os.sep}"
    found = []
    try:
        pids = sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())
    except OSError:
        return ()
    for pid in pids:
        try:
            maps = (proc / str(pid) / "maps").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:  # somebody else's, or gone
            continue
        if within in maps:
            found.append(User(pid=pid, name=_name(proc, pid)))
    return tuple(found)


def _name(proc: Path, pid: int) -> str | None:
    try:
        return (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _users_by_psutil(folder: Path) -> tuple[User, ...]:
    import psutil

    real = os.path.realpath(folder)
    found = []
    for process in psutil.process_iter():
        paths = []
        with suppress(psutil.Error, OSError):  # somebody else's, or gone
            paths.append(process.exe())
            paths += process.environ().get("PYTHONPATH", "").split(os.pathsep)
        if any(path and Path(os.path.realpath(path)).is_relative_to(real) for path in paths):
            found.append(User(pid=process.pid, name=Path(paths[0]).name or None))
    return tuple(sorted(found, key=lambda user: user.pid))
