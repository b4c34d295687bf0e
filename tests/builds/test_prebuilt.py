"""Ready-made engines end to end: from a release and a wheel of the environment's own engine to a build of the store."""

from __future__ import annotations

import errno
import os
import platform
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from launcher.builds import store
from launcher.builds.commit import commit_of
from launcher.builds.disk import locked
from launcher.builds.fetching import Fetcher
from launcher.builds.prebuilt import Means, environment_bindings, install, lay_out, look_up
from launcher.builds.releases import GitHub
from launcher.builds.selftest import self_test
from launcher.builds.shelf import Pinned
from launcher.errors import DamagedFileError, DoesNotFitError, EngineError, LauncherError, NetworkError, UsageError
from launcher.hardware.engine_devices import read_engine
from launcher.store.disk import free_bytes
from tests.builds import archives
from tests.builds.copies import FAILED, PASSED
from tests.fakes.releases import FakeGitHub, loopback_releases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from launcher.builds.shelf import Archive
    from launcher.builds.types import Build, SelfTest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the archive is laid out as those for Linux are")


@pytest.fixture(scope="module")
def engine() -> bytes:
    return archives.release_bytes()


@pytest.fixture
def github(engine: bytes) -> Iterator[FakeGitHub]:
    with loopback_releases() as fake:
        fake.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: engine, archives.RUNTIME: archives.runtime_bytes()})
        yield fake


def make(
    github: FakeGitHub,
    folder: Path,
    archive: Archive,
    *,
    test: Callable[[Build], SelfTest] = lambda _build: PASSED,
    pinned: Pinned | None = None,
    free: Callable[[Path], int] = free_bytes,
) -> Build:
    known = {archives.VERSION: pinned or Pinned(commit=archives.COMMIT, tag="b1")}
    shelf = archives.shelf(github, archive, pinned=known)
    found = look_up(shelf.archive, archives.VERSION, shelf=shelf, github=GitHub(shelf.where))
    bindings = environment_bindings(archives.VERSION)
    assert bindings is not None
    means = Means(
        data_dir=folder / "data",
        fetcher=Fetcher(folder=folder / "cache", retry="gpt-oss engine install", wait=lambda _s: None, free_bytes=free),
        bindings=lambda _version: bindings,
        self_test=test,
        system=platform.system(),
        arch=platform.machine(),
        now=lambda: datetime(2026, 10, 11, tzinfo=UTC),
    )
    return install(found, means)


def left(folder: Path) -> list[str]:
    """Files of the cache and half-made builds that were left behind; locks do not count."""
    cache = [path.name for path in (folder / "cache").glob("*") if path.suffix != ".lock"]
    data = [path.name for path in (folder / "data/engines").glob(".*") if path.suffix != ".lock"]
    return [*cache, *data]


def test_a_release_becomes_a_build_that_passes_its_self_test(github: FakeGitHub, tmp_path: Path) -> None:
    build = make(github, tmp_path, archives.release(), test=self_test)
    record = build.record
    assert record is not None
    assert record.self_test is not None
    assert (record.self_test.passed, record.self_test.why) == (True, None)
    assert (record.name, record.backend, record.version) == ("cpu-0.3.36", "cpu", "0.3.36")
    assert archives.COMMIT.startswith(str(record.commit))
    assert (record.source.kind, record.source.what) == ("release", archives.ENGINE)
    assert store.installed(tmp_path / "data")[0] == (build,)
    assert read_engine(build.package).devices is not None
    assert left(tmp_path) == []


def test_nobody_clears_archives_that_are_being_unpacked(github: FakeGitHub, tmp_path: Path) -> None:
    def test(_build: Build) -> SelfTest:
        with pytest.raises(UsageError, match="another process"), locked(tmp_path / "cache", "cpu-0.3.36"):
            pass
        return PASSED

    assert make(github, tmp_path, archives.release(), test=test).usable


def test_programs_find_their_libraries_beside_themselves_and_both_are_one_file(
    github: FakeGitHub, tmp_path: Path
) -> None:
    """Backends as separate files are looked for in the program's folder, and nowhere else."""
    site = make(github, tmp_path, archives.release(runtime=True)).site
    names = {path.name for path in (site / "bin").iterdir()}
    assert {"llama-server", "libllama.so", "libggml-cpu.so", "libcudart.so.13"} <= names
    assert os.access(site / "bin/llama-server", os.X_OK)
    libraries = {path.name for path in (site / "llama_cpp/lib").iterdir()}
    assert libraries == {name for name in names if ".so" in name}
    assert (site / "bin/libllama.so").samefile(site / "llama_cpp/lib/libllama.so")
    assert (site / "llama_cpp/lib/libllama.so").samefile(site / "llama_cpp/lib/libllama.so.0")
    assert {path.name for path in site.iterdir()} == {"bin", "llama_cpp"}


def test_a_wheel_becomes_a_build_without_programs(github: FakeGitHub, tmp_path: Path) -> None:
    github.add(archives.BINDINGS, "v0.3.36-test", {archives.WHEEL: archives.wheel_bytes()})
    build = make(github, tmp_path, archives.wheel())
    assert {path.name for path in build.site.iterdir()} == {"llama_cpp"}
    assert build.record is not None
    assert (build.record.source.kind, build.record.commit) == ("wheel", "0c1e570")
    assert read_engine(build.package).devices is not None


def test_a_store_that_cannot_keep_it_is_told_before_anything_comes(github: FakeGitHub, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "engines").write_text("a file")
    with pytest.raises(LauncherError, match="engines"):
        make(github, tmp_path, archives.release())
    assert left(tmp_path) == []


def test_libraries_of_another_commit_are_refused(github: FakeGitHub, tmp_path: Path) -> None:
    """The Python files would read structures of another layout."""
    with pytest.raises(EngineError, match=r"is of llama\.cpp 0c1e570; llama-cpp-python 0\.3\.36 needs fffffff"):
        make(github, tmp_path, archives.release(), pinned=Pinned(commit="f" * 40, tag="b1"))
    assert store.installed(tmp_path / "data") == ((), ())


def test_a_build_that_fails_its_self_test_is_kept_and_not_usable(github: FakeGitHub, tmp_path: Path) -> None:
    build = make(github, tmp_path, archives.release(), test=lambda _build: FAILED)
    assert not build.usable
    assert [each.usable for each in store.installed(tmp_path / "data")[0]] == [False]


def test_the_self_test_sees_the_build_before_it_has_its_name(github: FakeGitHub, tmp_path: Path) -> None:
    seen = []

    def test(build: Build) -> SelfTest:
        seen.append((build.name, build.record is not None and build.record.self_test, build.site.parent.name[0]))
        assert store.installed(tmp_path / "data") == ((), ())
        return PASSED

    make(github, tmp_path, archives.release(), test=test)
    assert seen == [("cpu-0.3.36", None, ".")]


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (b"#!/bin/sh\necho 'error while loading shared libraries: libssl.so.3' >&2; exit 127\n", "libssl.so.3"),
        (b"#!/bin/sh\nkill -ILL $$\n", "its llama-server does not start: it crashed (SIGILL)"),
        (b"#!/bin/sh\nexit 0\n", "it tells no commit of llama.cpp"),
        (b"\x7fELF", "Exec format error"),
    ],
)
def test_a_program_that_cannot_run_here_is_told_with_its_reason(
    github: FakeGitHub, tmp_path: Path, program: bytes, why: str
) -> None:
    import io
    import tarfile

    with io.BytesIO() as content:
        with tarfile.open(fileobj=content, mode="w:gz") as opened:
            for name, data in (("llama-server", program), ("libllama.so", b"")):
                info = tarfile.TarInfo(f"llama-b1/{name}")
                info.size, info.mode = len(data), 0o755
                opened.addfile(info, io.BytesIO(data))
        github.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: content.getvalue()})
    with pytest.raises(EngineError, match="does not run on this system") as refusal:
        make(github, tmp_path, archives.release())
    assert why in refusal.value.message
    assert store.installed(tmp_path / "data") == ((), ())


def test_an_archive_without_an_engine_in_it_is_refused(github: FakeGitHub, tmp_path: Path) -> None:
    github.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: archives.runtime_bytes()})
    with pytest.raises(DamagedFileError, match=r"there is no library of llama\.cpp in the archive"):
        make(github, tmp_path, archives.release())
    assert not [name for name in left(tmp_path) if name.startswith(".cpu")]


def test_a_release_without_a_server_is_refused(github: FakeGitHub, tmp_path: Path) -> None:
    import io
    import tarfile

    with io.BytesIO() as content:
        with tarfile.open(fileobj=content, mode="w:gz") as opened:
            opened.addfile(tarfile.TarInfo("llama-b1/libllama.so"))
        github.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: content.getvalue()})
    with pytest.raises(EngineError, match="there is no llama-server in"):
        make(github, tmp_path, archives.release())


def test_libraries_without_python_files_are_no_engine(tmp_path: Path) -> None:
    (tmp_path / "site" / "bin").mkdir(parents=True)
    (tmp_path / "site" / "bin" / "libllama.so").touch()
    with pytest.raises(DamagedFileError, match="llama-cpp-python's Python files are not in"):
        lay_out(tmp_path / "site", tmp_path)


def test_a_broken_archive_leaves_no_half_of_a_build(github: FakeGitHub, tmp_path: Path, engine: bytes) -> None:
    github.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: engine[: len(engine) // 2]})
    with pytest.raises(DamagedFileError, match="cannot be unpacked"):
        make(github, tmp_path, archives.release())
    assert store.installed(tmp_path / "data") == ((), ())


def test_a_transfer_that_breaks_off_is_taken_up_by_the_same_command(github: FakeGitHub, tmp_path: Path) -> None:
    github.cut_after = [100_000, *[0] * 5]
    with pytest.raises(NetworkError, match="the same command goes on"):
        make(github, tmp_path, archives.release())
    assert make(github, tmp_path, archives.release()).usable
    assert [path for path in github.asked if "from" in path][-1].endswith("from 100000")


def test_a_disk_without_room_for_the_engine_is_told_before_anything_comes(github: FakeGitHub, tmp_path: Path) -> None:
    with pytest.raises(DoesNotFitError, match=r"cpu-0\.3\.36 takes about .* on disk; .* has 20 MiB free") as refusal:
        make(github, tmp_path, archives.release(), free=lambda _folder: 20 << 20)
    assert refusal.value.needs_bytes > refusal.value.has_bytes
    assert not [path for path in github.asked if "/download/" in path]


def test_a_disk_that_is_full_while_unpacking_leaves_nothing(
    github: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("launcher.builds.prebuilt.lay_out", full)
    with pytest.raises(LauncherError, match="No space left on device"):
        make(github, tmp_path, archives.release())
    assert store.installed(tmp_path / "data") == ((), ())
    assert not [name for name in left(tmp_path) if name.startswith(".cpu")]


def test_the_commit_of_what_a_program_says() -> None:
    assert commit_of("version: 0.5.0-dev (build 11312, commit 0c1e57098)\nbuilt with GNU 12") == "0c1e57098"
    assert commit_of("version: 9993 (a1b2c3d4e)\n") == "a1b2c3d4e"
    assert commit_of("llama-server: not found") is None
