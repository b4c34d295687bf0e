"""Where the doctor looks. The defaults are this machine; tests give file trees and fakes."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher.builds.detect import as_recorded
from launcher.builds.types import Build
from launcher.hardware.detect import Machine, run_tool
from launcher.hardware.engine_devices import EngineReport, find_package, read_engine
from launcher.paths import Folders, folders

ENGINE_DEADLINE_S = 8.0
"""A CUDA context takes 1 to 3 s; the whole command has ten, and says so where this is not enough."""
TOOL_DEADLINE_S = 6.0
"""nvcc, dpkg-query and sysctl answer in a tenth of a second, PowerShell in two or three."""


def _run(command: Sequence[str]) -> str | None:
    return run_tool(command, timeout_s=TOOL_DEADLINE_S)


def _engine() -> EngineReport:
    return read_engine(find_package(), deadline_s=ENGINE_DEADLINE_S)


def _read_build(build: Build) -> EngineReport:
    return as_recorded(read_engine(build.package, deadline_s=ENGINE_DEADLINE_S), build)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _groups() -> tuple[str, ...]:
    if sys.platform == "win32":  # which has no such groups
        return ()
    import grp

    names = []
    for number in os.getgroups():
        with contextlib.suppress(KeyError):  # a group without a name, as in containers
            names.append(grp.getgrgid(number).gr_name)
    return tuple(names)


def _glibc() -> str | None:
    import platform

    name, version = platform.libc_ver()
    return version if name == "glibc" and version else None


def _process_name(pid: int) -> str | None:
    import psutil

    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return None


def _wanted_engine() -> str | None:
    from launcher.builds.source import pinned_version

    return pinned_version()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Everything from outside that a probe takes."""

    machine: Machine = field(default_factory=lambda: Machine(run=_run, engine=_engine))
    folders: Folders = field(default_factory=folders)
    which: Callable[[str], str | None] = shutil.which
    may_use: Callable[[Path], bool] = lambda path: os.access(path, os.R_OK | os.W_OK)
    is_root: Callable[[], bool] = _is_root
    groups: Callable[[], tuple[str, ...]] = _groups
    process_name: Callable[[int], str | None] = _process_name
    glibc: Callable[[], str | None] = _glibc
    """Version of the C library; None where it is another than GNU's."""
    now_s: Callable[[], float] = time.time
    clock_s: Callable[[], float] = time.monotonic
    read_build: Callable[[Build], EngineReport] = _read_build
    """Asks an engine of the store."""
    wanted_engine: Callable[[], str | None] = _wanted_engine
