"""The stage build: the engine for this GPU, compiled as `gpt-oss engine build cuda` does; or the one that is there."""

from __future__ import annotations

import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from gpu_stages.kept import Kept
from gpu_stages.lab import LabError
from gpu_stages.records import BuildRow
from launcher.builds import store
from launcher.builds.compile import compile_build
from launcher.builds.compile_types import CompileRequest, Event, Phase, Step
from launcher.builds.disk import size_bytes
from launcher.builds.source import known_sha256, pinned_version, version_of
from launcher.builds.types import Build

_EVERY_S = 20.0
"""Between two lines about progress."""
_COMMIT_FILE = "/.git/modules/vendor/llama.cpp/HEAD"
_CUBLAS_HEADER = "nvidia/*/include/cublas_v2.h"
"""Where NVIDIA's package has it below a folder of Python packages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What is compiled."""

    source: Path | None
    """A source archive; None: the pinned one is downloaded."""
    arch: str | None
    """Compute capability; None: the GPU's."""
    data_dir: Path
    cache_dir: Path

    def request(self) -> CompileRequest:
        """As the store wants it. Raises LabError where no version can be told."""
        version = pinned_version() if self.source is None else version_of(self.source)
        if version is None:
            raise LabError("which version to compile is not known: name an archive with --source")
        return CompileRequest(
            backend="cuda",
            version=version,
            # A packed archive has another hash than the one that it was made of.
            sha256=known_sha256(version) if self.source is None else None,
            architectures=None if self.arch is None else (self.arch,),
            # Without git CMake cannot read the commit, and an engine that tells none is not the one that is pinned.
            definitions=() if self.source is None or which("git") else commit_definition(self.source),
            source=self.source,
            offline=self.source is not None,
        )


def commit_definition(source: Path) -> tuple[tuple[str, str], ...]:
    """CMake's definition of llama.cpp's commit, as the archive has it; nothing where it has none."""
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.name.endswith(_COMMIT_FILE) and (file := archive.extractfile(member)) is not None:
                    commit = file.read(40).decode("ascii", "replace")
                    return (("GGML_BUILD_COMMIT", commit[:7]),) if commit.isalnum() else ()
    except (OSError, tarfile.TarError) as error:
        raise LabError(f"{source} cannot be read: {error}") from error
    return ()


def compile_here(kept: Kept, recipe: Recipe, *, tell: Callable[[str], None]) -> int:
    """Compile, unless that was done. Raises LauncherError where it fails, or the engine fails its self-test."""
    known = kept.rows("build", BuildRow)
    if known and known[-1].site is not None and Path(known[-1].site).is_dir():
        tell(f"  {known[-1].name} is there")
        return 0
    request = recipe.request()
    work = recipe.cache_dir / "engines" / request.name
    bring_cublas(work / "cublas", sys.path)
    began = time.monotonic()
    build = compile_build(
        request, data_dir=recipe.data_dir, cache_dir=recipe.cache_dir, on_event=_Teller(tell, time.monotonic)
    )
    row = build_row(build, took_s=time.monotonic() - began)
    kept.add("build", build.name, row)
    if not build.usable:
        raise LabError(f"{build.name} failed its self-test: {row.self_test}")
    return 0


def bring_cublas(into: Path, search_path: Sequence[str]) -> bool:
    """Take cuBLAS from a Python package that is installed, where it is: a toolkit without one would download it.

    Args:
        into: where a compilation looks for what an earlier one downloaded.
        search_path: folders of Python packages.
    """
    if any(into.rglob("cublas_v2.h")):
        return True
    for folder in search_path:
        for header in Path(folder).glob(_CUBLAS_HEADER) if Path(folder).is_dir() else ():
            root = header.parent.parent
            libraries = [*root.glob("lib/libcublas.so.*"), *root.glob("lib/libcublasLt.so.*")]
            if not libraries:
                continue
            for path in (*header.parent.glob("cublas*.h"), *libraries):
                target = into / "nvidia/cu" / path.parent.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                target.symlink_to(path.resolve())
            return True
    return False


class _Teller:
    """Says what is done, and of the steps one in a while."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._told_s = clock()

    def __call__(self, event: Event) -> None:
        """One event."""
        if isinstance(event, Phase):
            self._tell(f"  {event.what}")
        elif isinstance(event, Step) and self._clock() - self._told_s > _EVERY_S:
            self._told_s = self._clock()
            left = "" if event.left_s is None else f", {event.left_s:.0f} s left"
            self._tell(f"  {event.done} of {event.total}{left}")


def name_of(kept: Kept) -> str | None:
    """The engine that was built; None where none was."""
    known = kept.rows("build", BuildRow)
    return known[-1].name if known else None


def note_environment(kept: Kept) -> int:
    """For a rehearsal: the launcher's own engine, tested."""
    from launcher.builds.selftest import self_test

    own = store.environment_build()
    if own is None:
        raise LabError("llama-cpp-python is not installed")
    began = time.monotonic()
    test = self_test(own)
    passed = "passed" if test.passed else test.why or "failed"
    kept.add("build", own.name, build_row(own, took_s=time.monotonic() - began, self_test=passed))
    return 0


def build_row(build: Build, *, took_s: float, self_test: str | None = None) -> BuildRow:
    """A build, as rows tell of it; `self_test` is of one without a record."""
    record = build.record
    test = None if record is None else record.self_test
    return BuildRow(
        name=build.name,
        version=None if record is None else record.version,
        commit=None if record is None else record.commit,
        options=() if record is None else record.options,
        n_bytes=size_bytes(build.package if record is None else build.site),
        took_s=took_s,
        site=None if record is None else str(build.site),
        self_test=self_test if test is None else "passed" if test.passed else test.why or "failed",
    )
