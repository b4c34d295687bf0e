"""CMake and ninja: those that are here, or from their packages where there are none or they are too old."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.builds.compat import OLDEST_CMAKE
from launcher.builds.pip import Pip
from launcher.builds.tool_text import numbers
from launcher.builds.tool_types import Toolchain
from launcher.errors import DamagedFileError

_SUFFIX = ".exe" if sys.platform == "win32" else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CMake:
    """Programs to compile with."""

    cmake: str
    ninja: str | None
    """None where make, or the system's own tool, does it."""


def get_cmake(tools: Toolchain, folder: Path, pip: Pip) -> CMake:
    """Programs to compile with. Packages are kept in `folder`, which is no place that anything else looks at.

    Raises:
        NetworkError: they are needed and cannot be downloaded.
    """
    here = tools.cmake if tools.cmake is not None and numbers(tools.cmake.version) >= OLDEST_CMAKE else None
    wants_ninja = tools.ninja is None and tools.make is None and tools.system != "Windows"
    cmake = here.path if here is not None else _program(folder, "cmake")
    ninja = tools.ninja.path if tools.ninja is not None else _program(folder, "ninja")
    missing = [
        *(["cmake>=3.21,<5"] if cmake is None else []),
        *(["ninja"] if wants_ninja and ninja is None else []),
    ]
    if missing:
        pip.install(missing, folder)
        cmake, ninja = cmake or _program(folder, "cmake"), ninja or _program(folder, "ninja")
    if cmake is None:
        raise DamagedFileError("the package of CMake has no cmake in it", path=str(folder), hint="gpt-oss doctor")
    return CMake(cmake=cmake, ninja=ninja)


def _program(folder: Path, name: str) -> str | None:
    """The program itself: what pip puts into `bin` for CMake is a script that wants the package to be importable."""
    inside = folder / name / "data" / "bin" / f"{name}{_SUFFIX}"
    beside = folder / "bin" / f"{name}{_SUFFIX}"
    found = inside if inside.is_file() else beside if name == "ninja" and beside.is_file() else None
    return str(found) if found is not None else None
