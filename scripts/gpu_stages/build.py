"""The stage build: the engine for this GPU, compiled as `gpt-oss engine build cuda` does, or one that came along."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpu_stages import pack
from gpu_stages.kept import Kept
from gpu_stages.lab import LabError
from gpu_stages.records import BuildRow
from launcher.builds import store
from launcher.builds.compile import compile_build
from launcher.builds.compile_types import CompileRequest, Event, Phase, Step
from launcher.builds.disk import size_bytes
from launcher.builds.record import RECORD, SITE
from launcher.builds.selftest import self_test
from launcher.builds.source import known_sha256, pinned_version, version_of
from launcher.builds.types import Build, BuildRecord, SelfTest
from launcher.builds.unpack import unpack
from launcher.records import from_jsonable

PASSED = "passed"
_TOOLKITS = ("/usr/local/cuda", "/opt/cuda")
_EVERY_S = 20.0
"""Between two lines about progress."""
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
            source=self.source,
            offline=self.source is not None,
        )


def get_engine(kept: Kept, recipe: Recipe, *, prebuilt: Path | None, tell: Callable[[str], None]) -> int:
    """Unpack or compile an engine, unless that was done.

    Raises:
        LauncherError: it cannot be had, or it fails its self-test.
    """
    known = kept.rows("build", BuildRow)
    if known and known[-1].site is not None and Path(known[-1].site).is_dir() and known[-1].self_test == PASSED:
        tell(f"  {known[-1].name} is there")
        return 0
    began = time.monotonic()
    if prebuilt is None:
        build = compile_here(recipe, tell=tell)
    else:
        build = unpacked(prebuilt, recipe.data_dir, [*sys.path, *_TOOLKITS])
    row = build_row(build, took_s=time.monotonic() - began)
    kept.add("build", build.name, row)
    if not build.usable:
        raise LabError(f"{build.name} failed its self-test: {row.self_test}")
    return 0


def compile_here(recipe: Recipe, *, tell: Callable[[str], None]) -> Build:
    """Compile it. Raises LauncherError where that fails."""
    request = recipe.request()
    bring_cublas(recipe.cache_dir / "engines" / request.name / "cublas", sys.path)
    return compile_build(
        request, data_dir=recipe.data_dir, cache_dir=recipe.cache_dir, on_event=_Teller(tell, time.monotonic)
    )


def unpacked(archive: Path, data_dir: Path, search_path: Sequence[str]) -> Build:
    """Put a packed engine into the store, with NVIDIA's libraries of this machine, and test it here.

    Raises:
        LauncherError: it is no packed engine.
    """
    name = archive.name.removesuffix(".tar.xz")
    with store.staged(data_dir, name) as filling:
        unpack(archive, filling)
        try:
            table = json.loads((filling / RECORD).read_text(encoding="utf-8"))
            table.pop("schema")
            record = from_jsonable(BuildRecord, table)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise LabError(f"{archive} is no packed engine: {error}") from error
        for library in libraries(search_path):
            (filling / SITE / "llama_cpp/lib" / library.name).symlink_to(library.resolve())
        build = store.add(filling, replace(record, self_test=None))
    return store.keep_test(build, self_test(build))


def libraries(search_path: Sequence[str]) -> Iterator[Path]:
    """CuBLAS of this machine, by the names that an engine asks for: in Python packages, or in a toolkit's folder."""
    for pattern in pack.CARRIED:
        places = (
            path
            for folder in filter(None, search_path)
            for inside in ("nvidia/*/lib", "lib64", "targets/x86_64-linux/lib")
            for path in sorted(Path(folder).glob(f"{inside}/{pattern}.*"))
            if path.name.count(".") == 2
        )
        yield from itertools.islice(places, 1)


def bring_cublas(into: Path, search_path: Sequence[str]) -> bool:
    """Take cuBLAS from a Python package that is installed, where it is: a toolkit without one would download it.

    Args:
        into: where a compilation looks for what an earlier one downloaded.
        search_path: folders of Python packages.
    """
    if any(into.rglob("cublas_v2.h")):
        return True
    for folder in filter(None, search_path):
        for header in Path(folder).glob(_CUBLAS_HEADER):
            root = header.parent.parent
            found = [path for name in pack.CARRIED for path in root.glob(f"lib/{name}.*")]
            for path in (*header.parent.glob("cublas*.h"), *found) if found else ():
                target = into / "nvidia/cu" / path.parent.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                target.symlink_to(path.resolve())
            if found:
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
    own = store.environment_build()
    if own is None:
        raise LabError("llama-cpp-python is not installed")
    began = time.monotonic()
    test = self_test(own)
    kept.add("build", own.name, build_row(own, took_s=time.monotonic() - began, test=test))
    return 0


def build_row(build: Build, *, took_s: float, test: SelfTest | None = None) -> BuildRow:
    """A build, as rows tell of it; `test` is of one without a record."""
    record = build.record
    test = test if record is None else record.self_test
    return BuildRow(
        name=build.name,
        version=None if record is None else record.version,
        commit=None if record is None else record.commit,
        options=() if record is None else record.options,
        n_bytes=size_bytes(build.package if record is None else build.site),
        took_s=took_s,
        site=None if record is None else str(build.site),
        self_test=None if test is None else PASSED if test.passed else test.why or "failed",
    )
