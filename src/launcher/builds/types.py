"""Records of engine builds. One build is llama-cpp-python and the llama.cpp programs of one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Backend = Literal["cpu", "cuda", "vulkan", "rocm", "metal", "sycl"]
"""What a build computes on besides the CPU, which every build has."""
BACKENDS: tuple[Backend, ...] = get_args(Backend)

ENVIRONMENT = "environment"
"""Name of the build that is installed with the launcher. It is no folder of the store, and cannot be removed."""
AUTO = "auto"
"""Instead of a name: the planner takes the build whose plan is best."""

SourceKind = Literal["source", "wheel", "release"]
"""Compiled here, a wheel of an index, or a release of llama.cpp."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a build comes from."""

    kind: SourceKind
    what: str
    """`llama-cpp-python 0.3.36` or the name of a release's file."""
    sha256: str | None
    """Of the archive that was downloaded; None where it was not known beforehand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTest:
    """What a build made of the demo model, against the reference that ships with it."""

    passed: bool
    date: str
    """ISO date and time, UTC."""
    why: str | None
    """One sentence where it failed."""
    max_kl: float | None = None
    """Largest Kullback-Leibler divergence from the reference at one position, in nats; None where nothing was
    computed."""
    mean_kl: float | None = None
    """Mean divergence of the worst case, in nats, without its worst positions."""
    n_same_top: int | None = None
    """Positions with the reference's likeliest token, of `n_positions`."""
    n_positions: int | None = None
    devices: tuple[str, ...] = ()
    """ggml names of the devices that were tested besides the CPU; empty: that alone."""
    same_text: bool | None = None
    """Whether it continued a text as the reference does; another word where two are nearly as likely is no failure."""
    full: bool = False
    """Whether it failed for want of memory alone, which other programs may hold: that says nothing of the build."""
    driver: str | None = None
    """Driver of the GPUs at that time, `NVIDIA 550.54.14`; None where there was none, or it has no number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRecord:
    """`engine.json` of an installed build (`schema: 1`)."""

    name: str
    backend: Backend
    version: str
    """llama-cpp-python's."""
    commit: str | None
    """llama.cpp's, short."""
    source: Source
    options: tuple[str, ...]
    """CMake definitions that it was compiled with, `GGML_CUDA=ON`; empty for one that was not compiled here."""
    system: str
    arch: str
    made_at: str
    """ISO date and time, UTC."""
    self_test: SelfTest | None
    """The last one; None where none was made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """A build that is here."""

    name: str
    site: Path
    """Folder with `llama_cpp/` and, where the build has programs, `bin/`: laid out like site-packages. Nothing else is
    in that of the store, so that it can stand in front of a search path."""
    record: BuildRecord | None
    """None of the environment's."""
    elsewhere: str | None = None
    """`Linux on aarch64` where it was made for another kind of machine than this: a home folder may be shared."""

    @property
    def package(self) -> Path:
        """llama_cpp's folder."""
        return self.site / "llama_cpp"

    @property
    def usable(self) -> bool:
        """Whether plans may take it: it is for this machine and passed its self-test, or it is the environment's."""
        return self.why_not is None

    @property
    def why_not(self) -> str | None:
        """Why plans may not take it, in words that follow its name; None where they may."""
        if self.record is None:
            return None
        if self.elsewhere is not None:
            return f"it was made for another kind of machine, {self.elsewhere}"
        tested = self.record.self_test
        if tested is None:
            return "it has not been tested"
        return None if tested.passed else f"it failed its self-test: {tested.why or 'without a word'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DamagedBuild:
    """A folder of the store that is no build."""

    name: str
    folder: Path
    why: str
    newer: bool = False
    """Whether it is sound, and only a newer launcher can read it."""

    @property
    def what(self) -> str:
        """What is the matter with it, in words that follow its name."""
        return self.why if self.newer else f"it is damaged: {self.why}"
