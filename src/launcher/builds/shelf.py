"""What is to be had ready made: the archives of configs/engines.toml, and which of them a machine can use. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from launcher.builds.types import Backend
from launcher.configs import configs_dir
from launcher.errors import DamagedFileError
from launcher.records import RecordError, from_jsonable

FILE_NAME = "engines.toml"
Version = tuple[int, ...]

_OLDEST_GPU: Mapping[int, Version] = {11: (3, 5), 12: (5, 0), 13: (7, 5)}
"""Compute capability that a CUDA major version still compiles for (release notes: 12 dropped Kepler, 13 Maxwell,
Pascal and Volta)."""
_FINISHED: Mapping[Version, Version] = {(8, 6): (11, 6), (8, 9): (11, 8), (12, 0): (12, 8), (12, 1): (12, 9)}
"""Compute capabilities that llama.cpp's releases have finished code for, and from which CUDA on; the driver compiles
all others from PTX (ggml/src/ggml-cuda/CMakeLists.txt: `-real` and `-virtual`), which it must be new enough for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """Whom to ask, and for which repositories."""

    api: str
    site: str
    bindings: str
    llama_cpp: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned:
    """The llama.cpp that a version of llama-cpp-python vendors."""

    commit: str
    """40 hex digits."""
    tag: str | None
    """Of the release made of that commit; None where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """One kind of file that releases hold."""

    kind: Literal["release", "wheel"]
    backend: Backend
    system: str
    arch: Literal["x64", "arm64"]
    release: str
    file: str
    runtime: str | None = None
    cuda: str | None = None
    glibc: str | None = None
    brings: bool = True
    """Whether it has the GPU maker's libraries, or needs none."""
    about: int
    """Bytes, roughly."""

    def name_of_release(self, version: str, tag: str) -> str:
        """The release that holds it, for one version and tag."""
        return self.release.format(version=version, tag=tag)

    def pattern(self, version: str, tag: str) -> str:
        """Its file name, with `*` for what is not known."""
        return self.file.format(version=version, tag=tag)

    def runtime_pattern(self, version: str, tag: str) -> str | None:
        """The second archive's file name."""
        return None if self.runtime is None else self.runtime.format(version=version, tag=tag)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shelf:
    """All of the file."""

    where: Where
    pinned: Mapping[str, Pinned]
    """By llama-cpp-python's version."""
    archive: tuple[Archive, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What decides whether a library loads."""

    system: str
    """`Linux`, `Darwin`, `Windows`."""
    arch: str
    """As `platform.machine()` spells it."""
    glibc: Version | None = None
    """None where the C library is another, or unknown."""


def parse_shelf(text: str) -> Shelf:
    """Read the file.

    Raises:
        DamagedFileError: it is not as it was shipped.
    """
    try:
        table: dict[str, Any] = tomllib.loads(text)
        mine = {name: table[name] for name in ("where", "pinned", "archive")}
        return from_jsonable(Shelf, mine)
    except (tomllib.TOMLDecodeError, RecordError, KeyError) as error:
        raise DamagedFileError(
            f"{FILE_NAME}: {error}", path=FILE_NAME, hint="uv sync --reinstall-package gpt-oss-launcher"
        ) from error


def read_shelf(folder: Path | None = None) -> Shelf:
    """The file as it was shipped. Raises DamagedFileError where it is missing or damaged."""
    path = (folder or configs_dir()) / FILE_NAME
    try:
        return parse_shelf(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DamagedFileError(
            f"{path}: {error.strerror}", path=str(path), hint="uv sync --reinstall-package gpt-oss-launcher"
        ) from error


def usual_arch(arch: str) -> str:
    """`x64` or `arm64`, as releases call them; any other as it is."""
    return {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(arch.lower(), arch.lower())


def as_version(text: str) -> Version:
    """`12.8` as numbers; empty for what is none."""
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def runs_on(archive: Archive, target: Target) -> bool:
    """Whether its libraries load on such a system. An unknown C library counts as one that is not GNU's."""
    if (archive.system, archive.arch) != (target.system, usual_arch(target.arch)):
        return False
    return archive.glibc is None or (target.glibc is not None and target.glibc >= as_version(archive.glibc))


def drives(toolkit: Version, capability: Version | None, driver_cuda: Version | None) -> bool:
    """Whether code of a CUDA toolkit runs on a GPU with this driver. What is not known counts as good enough.

    A driver runs finished code of its own major version's toolkits, and PTX of toolkits that are not newer than itself
    (NVIDIA's CUDA compatibility guide).
    """
    if capability is not None and capability < _OLDEST_GPU.get(toolkit[0], (0, 0)):
        return False
    if driver_cuda is None:
        return True
    return driver_cuda >= toolkit or (driver_cuda[0] >= toolkit[0] and _is_finished(toolkit, capability))


def _is_finished(toolkit: Version, capability: Version | None) -> bool:
    """Whether there is code that needs no compiling by the driver.

    That of an older minor version runs on a newer one, except Blackwell's, which is compiled for one alone (`120a`).
    """
    if capability is None:
        return False
    served = [each for each, since in _FINISHED.items() if toolkit >= since]
    return capability in served or (capability[0] == 8 and any(each[0] == 8 and each <= capability for each in served))


def fitting(
    shelf: Shelf,
    backend: Backend,
    target: Target,
    *,
    capabilities: tuple[Version | None, ...] = (),
    driver_cuda: Version | None = None,
) -> tuple[Archive, ...]:
    """Archives of a backend that this machine can use, best first."""
    return tuple(
        archive
        for archive in shelf.archive
        if archive.backend == backend
        and runs_on(archive, target)
        and (archive.cuda is None or all(drives(as_version(archive.cuda), each, driver_cuda) for each in capabilities))
    )


def gap(shelf: Shelf, backend: Backend, target: Target, *, driver_cuda: Version | None) -> str:
    """Why none of a backend's archives fits this machine, in one sentence."""
    same = [each for each in shelf.archive if (each.backend, each.system) == (backend, target.system)]
    running = [each for each in same if runs_on(each, target)]
    if not same:
        return f"nobody makes an engine for {backend} on {target.system} that could be fetched"
    if not running:
        of_arch = [each for each in same if each.arch == usual_arch(target.arch)]
        oldest = min((as_version(each.glibc) for each in of_arch if each.glibc), default=None)
        if oldest is None:
            return f"there is no ready-made engine for {backend} on {target.arch}"
        return f"ready-made engines for {backend} need glibc {_dotted(oldest)} or newer"
    toolkits = [as_version(each.cuda) for each in running if each.cuda and each.brings]
    if not toolkits:
        return f"ready-made engines for {backend} need the libraries of the GPU's maker, which are not here"
    known = "" if driver_cuda is None else f", which knows CUDA {_dotted(driver_cuda)}"
    if any(drives(each, None, driver_cuda) for each in toolkits):
        return f"no ready-made engine has code for this GPU with its driver{known}"
    return f"ready-made engines need a newer driver of NVIDIA's than this one{known}"


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def matching(pattern: str, names: tuple[str, ...]) -> str | None:
    """The one name that a pattern means, the last of several by version; None where none does."""
    found = sorted((name for name in names if fnmatchcase(name, pattern)), key=_by_numbers)
    return found[-1] if found else None


def _by_numbers(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name))
