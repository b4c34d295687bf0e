"""Engines that others compiled: find the archive, fetch it, lay it out as a build, test it, and put it in the store.

A release of llama.cpp has programs and libraries in one folder, most of them with their backends as separate files
(GGML_BACKEND_DL), which are looked for beside the program and nowhere else. So `bin/` holds all of it, and
`llama_cpp/lib/` further names of the libraries, for llama-cpp-python's Python files of the same commit.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path, PurePosixPath

from launcher.builds import store
from launcher.builds.commit import commit_of
from launcher.builds.disk import locked, told
from launcher.builds.fetching import Fetcher
from launcher.builds.program import ask_version, server_in
from launcher.builds.record import SITE
from launcher.builds.releases import COMPILE, Asset, GitHub
from launcher.builds.selftest_judge import program_fault
from launcher.builds.shelf import Archive, Pinned, Shelf, matching
from launcher.builds.types import Backend, Build, BuildRecord, SelfTest, Source
from launcher.builds.unpack import same_file, unpack
from launcher.errors import DamagedFileError, DoesNotFitError, EngineError
from launcher.units import format_bytes

SERVER = "llama-server"
_UNPACKED = 2.2
"""Archives of llama.cpp and of NVIDIA's libraries shrink to somewhat under half."""
_LIBRARY = re.compile(r".*\.(so(\.\d+)*|dylib|dll|metal)")
_CUDA = re.compile(r"cuda-\d+\.(?:\d+|\*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What will be fetched."""

    archive: Archive
    version: str
    """llama-cpp-python's."""
    pinned: Pinned
    assets: tuple[Asset, ...]
    """The engine first, then what it needs of the GPU's maker."""

    @property
    def name(self) -> str:
        """Of the build that it becomes."""
        return f"{self.archive.backend}-{self.version}"

    @property
    def size_bytes(self) -> int:
        """To download."""
        return sum(asset.size_bytes for asset in self.assets)

    @property
    def disk_bytes(self) -> int:
        """What the build will take, roughly."""
        return round(self.size_bytes * _UNPACKED)


def pinned_of(version: str, shelf: Shelf, github: GitHub) -> Pinned:
    """Which llama.cpp belongs to a version of llama-cpp-python.

    Raises:
        EngineError: there is no such version.
        NetworkError: it is not among those that are known, and GitHub can't be asked.
    """
    known = shelf.pinned.get(version)
    if known is not None:
        return known
    commit = github.vendored(version)
    if commit is None:
        raise EngineError(
            f"GitHub knows no llama-cpp-python {version} with a llama.cpp in it", hint="gpt-oss engine install"
        )
    return Pinned(commit=commit, tag=github.tag_of(commit))


def look_up(candidates: Iterable[Archive], version: str, *, shelf: Shelf, github: GitHub) -> Found:
    """The first of these archives that its release really has.

    Raises:
        EngineError: none has.
        NetworkError: GitHub can't be asked.
    """
    pinned = pinned_of(version, shelf, github)
    backend: Backend | None = None
    missing: list[str] = []
    for archive in candidates:
        backend = archive.backend
        if archive.kind == "release" and pinned.tag is None:
            missing.append(f"llama.cpp has made no release of commit {pinned.commit[:9]}, which {version} needs")
            continue
        tag = pinned.tag or ""
        of_bindings = archive.kind == "wheel"
        repository = shelf.where.bindings if of_bindings else shelf.where.llama_cpp
        release = github.release(repository, archive.name_of_release(version, tag))
        names = release.names if release is not None else ()
        wanted = [archive.pattern(version, tag)]
        found = [matching(wanted[0], names)]
        runtime = archive.runtime_pattern(version, tag)
        if runtime is not None:
            wanted.append(_of_same_cuda(runtime, found[0]))
            found.append(matching(wanted[1], names))
        if release is not None and all(found):
            assets = tuple(release.asset(name) for name in found if name is not None)
            return Found(archive=archive, version=version, pinned=pinned, assets=assets)
        lacking = next(pattern for pattern, name in zip(wanted, found, strict=True) if name is None)
        missing.append(f"{repository} has no {lacking} in its release {archive.name_of_release(version, tag)}")
    raise EngineError(
        f"there is no {backend or 'such'} engine of llama-cpp-python {version} ready made for this system",
        details=tuple(dict.fromkeys(missing)),
        hint=f"gpt-oss engine build {backend}" if backend is not None else COMPILE,
    )


def _of_same_cuda(pattern: str, engine: str | None) -> str:
    """The pattern of NVIDIA's libraries, of the version that the engine was compiled with."""
    version = _CUDA.search(engine or "")
    return _CUDA.sub(version[0], pattern) if version is not None else pattern


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What making a build of an archive takes from outside; tests give fakes."""

    data_dir: Path
    fetcher: Fetcher
    bindings: Callable[[str], Path]
    """The folder `llama_cpp` with the Python files of a version."""
    self_test: Callable[[Build], SelfTest]
    system: str
    arch: str
    tell: Callable[[str], None] = lambda _: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def install(found: Found, means: Means) -> Build:
    """Fetch it, lay it out, test it and add it to the store. A build that fails its self-test is kept, and not usable.

    Raises:
        LauncherError: it can't be fetched, unpacked or added, or is not of the commit that it should be of.
        UsageError: an older one that it would replace is in use, or another process is installing it.
    """
    store.check(means.data_dir, found.name)
    _check_room(found, means)
    with locked(means.fetcher.folder, found.name):  # nobody clears the archives before they are unpacked
        paths = means.fetcher.fetch(found.assets)
        build = _kept(found, paths, means)
        means.fetcher.forget(found.assets)
    return build


def _kept(found: Found, paths: Sequence[Path], means: Means) -> Build:
    """The archives as a build of the store."""
    with store.staged(means.data_dir, found.name) as staging:
        site = staging / SITE
        means.tell("unpacking")
        with told(means.data_dir):
            if found.archive.kind == "wheel":
                unpack(paths[0], site, keep=_of_wheel)
            else:
                for path in paths:
                    unpack(path, site / "bin")
                lay_out(site, means.bindings(found.version))
        commit = _checked(site, found)
        record = BuildRecord(
            name=found.name,
            backend=found.archive.backend,
            version=found.version,
            commit=commit,
            source=Source(kind=found.archive.kind, what=found.assets[0].name, sha256=found.assets[0].sha256),
            options=(),
            system=means.system,
            arch=means.arch,
            made_at=means.now().isoformat(timespec="seconds"),
            self_test=None,
        )
        means.tell("testing it: the demo model's answers against those that are known to be right")
        result = means.self_test(Build(name=found.name, site=site, record=record))
        record = replace(record, self_test=result)
        return store.add(staging, record)


def _check_room(found: Found, means: Means) -> None:
    free = means.fetcher.free_bytes(means.data_dir)
    if found.disk_bytes > free:
        backend, needs, has = found.archive.backend, format_bytes(found.disk_bytes), format_bytes(free)
        raise DoesNotFitError(
            f"{found.name} takes about {needs} on disk; {means.data_dir} has {has} free",
            needs_bytes=found.disk_bytes,
            has_bytes=free,
            hint=f"GPT_OSS_DATA_DIR=/folder/on/a/larger/disk gpt-oss engine install {backend} --how prebuilt",
        )


def _of_wheel(path: PurePosixPath) -> bool:
    """What of a wheel belongs to a build: other packages' files and the installer's notes do not."""
    top = path.parts[0]
    return top in {"llama_cpp", "bin"} or top.endswith(".libs")


def lay_out(site: Path, bindings: Path) -> None:
    """Make a package `llama_cpp` of Python files and of the libraries that are in `bin/`.

    Raises:
        DamagedFileError: there are no libraries, or no Python files.
    """
    programs, package = site / "bin", site / "llama_cpp"
    libraries = [path for path in programs.iterdir() if path.is_dir() or _LIBRARY.fullmatch(path.name)]
    if not any("llama" in path.name for path in libraries):
        raise DamagedFileError("there is no library of llama.cpp in the archive", path=str(programs), hint=COMPILE)
    if not (bindings / "__init__.py").is_file():
        raise DamagedFileError(
            f"llama-cpp-python's Python files are not in {bindings}", path=str(bindings), hint="gpt-oss doctor"
        )
    shutil.copytree(bindings, package, ignore=shutil.ignore_patterns("lib", "__pycache__", "bin", "include"))
    for source in libraries:
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file():
                name = package / "lib" / path.relative_to(programs)
                name.parent.mkdir(parents=True, exist_ok=True)
                same_file(path, name)


def _checked(site: Path, found: Found) -> str:
    """The commit, as the programs tell it: libraries of another would not fit the Python files.

    Raises:
        EngineError: they cannot run here, or are of another commit.
    """
    server = server_in(site, "win32" if found.archive.system == "Windows" else "")
    if not server.is_file():
        if found.archive.kind == "release":
            raise EngineError(f"there is no {SERVER} in {found.assets[0].name}", hint=COMPILE)
        return found.pinned.commit[:7]
    status, told = ask_version(server, os.environ)
    commit = commit_of(told)
    if commit is None:
        reason = program_fault(status, told) or "it tells no commit of llama.cpp"
        raise EngineError(f"{found.assets[0].name} does not run on this system: {reason}", hint=COMPILE)
    if not found.pinned.commit.startswith(commit):
        raise EngineError(
            f"{found.assets[0].name} is of llama.cpp {commit}; llama-cpp-python {found.version} needs "
            f"{found.pinned.commit[: len(commit)]}",
            hint=COMPILE,
        )
    return commit


def environment_bindings(version: str) -> Path | None:
    """The Python files of a version, where the environment's own engine is of it."""
    own = store.environment_build()
    try:
        return own.package if own is not None and version_of("llama-cpp-python") == version else None
    except PackageNotFoundError:
        return None
