"""What compiling is asked for, and what it tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from launcher.builds.types import Backend


@dataclass(frozen=True, kw_only=True, slots=True)
class CompileRequest:
    """What a person, or the installer, wants compiled."""

    backend: Backend
    version: str
    """llama-cpp-python's: `0.3.36`."""
    sha256: str | None = None
    """Of that version's source archive, where it is known beforehand; another one is refused."""
    jobs: int | None = None
    """Compilers at once; None: as many as CPUs and memory bear."""
    architectures: tuple[str, ...] | None = None
    """CUDA's `89` or ROCm's `gfx1100`; None: those of the GPUs here."""
    definitions: tuple[tuple[str, str], ...] = ()
    """CMake definitions of a person's own."""
    source: Path | None = None
    """A source archive that is here already."""
    offline: bool = False

    @property
    def name(self) -> str:
        """What the build will be called."""
        return f"{self.backend}-{self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A part of the work begins: `compiling`."""

    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A file was compiled."""

    done: int
    total: int
    share: float
    """Of the work, 0 to 1: files of CUDA count for more than others."""
    left_s: float | None
    """Estimated from the pace so far; None while there is too little to tell."""


Event = Phase | Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """How many compilers may run at once."""

    jobs: int
    why: str | None
    """Where it is fewer than the CPUs, or more than memory bears: one sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Folders of one compilation, in the cache. They stay until it has succeeded."""

    folder: Path

    @property
    def source(self) -> Path:
        """The unpacked archive."""
        return self.folder / "source"

    @property
    def build(self) -> Path:
        """CMake's build tree."""
        return self.folder / "build"

    @property
    def site(self) -> Path:
        """Where it is installed before it goes into the store."""
        return self.folder / "site"

    @property
    def log(self) -> Path:
        """All that CMake and the compilers printed."""
        return self.folder / "build.log"

    @property
    def recipe(self) -> Path:
        """What the build tree was made with."""
        return self.folder / "recipe.json"
