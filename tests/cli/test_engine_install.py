"""`gpt-oss engine install`: what it decides here, what it asks, and what it makes of a release on loopback."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.builds import store
from launcher.builds.decision import Decision
from launcher.builds.prebuilt import Found
from launcher.builds.releases import Asset
from launcher.builds.shelf import Pinned, Shelf
from launcher.builds.unfinished import begun, work_folder
from launcher.cli.engine_install_session import (
    InstallWishes,
    bindings,
    compile_decided,
    decide,
    look_up_for,
    not_to_be_had,
    packages_for,
    run_install,
)  # fmt: skip
from launcher.cli.engine_install_view import print_decision, print_found, print_installed
from launcher.cli.engine_wishes import newest_version
from launcher.doctor.sources import Sources
from launcher.doctor.system import read_platform
from launcher.errors import EngineError, ExitCode, LauncherError, NetworkError, UsageError
from launcher.paths import folders
from tests.builds import archives
from tests.builds.copies import FAILED, PASSED, copy_build
from tests.cli.sandbox import Sandbox, assert_runnable
from tests.fakes.releases import FakeGitHub, loopback_releases

if TYPE_CHECKING:
    from collections.abc import Iterator

Said = pytest.CaptureFixture[str]
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the archive is laid out as those for Linux are")
PREBUILT = InstallWishes(backend="cpu", how="prebuilt")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("DATA", "CACHE", "CONFIG", "STATE"):
        monkeypatch.setenv(f"GPT_OSS_{kind}_DIR", str(tmp_path / kind.lower()))


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with loopback_releases() as fake:
        fake.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: b"not an archive"})
        yield fake


@pytest.fixture
def shelf(github: FakeGitHub) -> Shelf:
    return archives.shelf(github)


def refused(kind: type[LauncherError], wishes: InstallWishes, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        run_install(wishes, **{"dry_run": True, "yes": True, "as_json": False, **options})
    assert caught.value.hint is not None
    assert_runnable(caught.value.hint)
    return caught.value.message


@needs_linux
def test_a_release_is_fetched_tested_and_in_the_store(
    github: FakeGitHub, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capfd: Said
) -> None:
    monkeypatch.setattr("launcher.cli.engine_install_session.self_test", lambda _build: PASSED)
    github.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: archives.release_bytes()})
    (work_folder(folders().cache, "cpu-0.3.36") / "source").mkdir(parents=True)  # for its Python files alone
    run_install(PREBUILT, dry_run=False, yes=True, as_json=False, shelf=shelf)
    assert begun(folders().cache) == ()
    (build,), damaged = store.installed(folders().data)
    assert (build.name, build.usable, damaged) == ("cpu-0.3.36", True, ())
    said = capfd.readouterr().err
    assert "cpu-0.3.36: " in said
    assert f"    {archives.ENGINE}  " in said
    assert "cpu-0.3.36 is installed, and passed its self-test." in said
    assert "Plans take it where it is the best.\n" in said
    run_install(PREBUILT, dry_run=False, yes=True, as_json=False, shelf=shelf)
    assert "cpu-0.3.36 is installed, and passed its self-test\n" in capfd.readouterr().err


@needs_linux
def test_an_engine_that_fails_its_self_test_is_kept_and_ends_with_code_6(
    github: FakeGitHub, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capfd: Said
) -> None:
    github.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: archives.release_bytes()})
    monkeypatch.setattr("launcher.cli.engine_install_session.self_test", lambda _build: FAILED)
    with pytest.raises(EngineError, match="failed its self-test, and no plan takes it: it computes wrongly") as caught:
        run_install(PREBUILT, dry_run=False, yes=True, as_json=False, shelf=shelf)
    assert (caught.value.code, caught.value.hint) == (ExitCode.ENGINE, "gpt-oss engine test cpu-0.3.36")
    assert [build.usable for build in store.installed(folders().data)[0]] == [False]
    assert "is installed" not in capfd.readouterr().err


@needs_linux
def test_compiling_is_named_as_the_other_way_of_the_same_engine(github: FakeGitHub, shelf: Shelf) -> None:
    github.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: b"not an archive"})
    with pytest.raises(LauncherError, match="cannot be unpacked") as caught:
        run_install(PREBUILT, dry_run=False, yes=True, as_json=False, shelf=shelf)
    assert caught.value.hint == "gpt-oss engine install cpu --how build", "the bug: without a name it took another"


def test_a_dry_run_tells_files_and_sizes_and_fetches_nothing(github: FakeGitHub, shelf: Shelf, capfd: Said) -> None:
    run_install(PREBUILT, dry_run=True, yes=False, as_json=False, shelf=shelf)
    said = capfd.readouterr().err
    assert "a release of llama.cpp, b1, from 127.0.0.1; each file's sha256 is checked" in said
    assert "14 B to download" in said
    run_install(PREBUILT, dry_run=True, yes=False, as_json=True, shelf=shelf)
    found = json.loads(capfd.readouterr().out)
    assert (found["schema"], found["decision"]["do"], found["assets"][0]["size_bytes"]) == (1, "prebuilt", 14)
    assert not [path for path in github.asked if "/download/" in path]


def test_without_a_network_nothing_is_looked_up(github: FakeGitHub, shelf: Shelf) -> None:
    offline = replace(PREBUILT, offline=True)
    assert refused(NetworkError, offline, shelf=shelf) == "cpu-0.3.36 is to be downloaded, and offline mode is on"
    with pytest.raises(NetworkError, match="offline mode is on") as caught:
        run_install(
            InstallWishes(backend="cuda", version="latest", offline=True), dry_run=False, yes=True, as_json=False
        )
    assert caught.value.hint == "gpt-oss engine install cuda --version latest"
    assert github.asked == []


def test_a_mirror_is_asked_for_the_files(github: FakeGitHub, shelf: Shelf, capfd: Said) -> None:
    run_install(
        replace(PREBUILT, mirror="https://mirror.example/github"), dry_run=True, yes=True, as_json=True, shelf=shelf
    )
    url = json.loads(capfd.readouterr().out)["assets"][0]["url"]
    assert url == f"https://mirror.example/github/ggml-org/llama.cpp/releases/download/b1/{archives.ENGINE}"


@pytest.mark.parametrize(
    ("wishes", "what"),
    [
        (InstallWishes(backend="hip"), "no backend is called hip; there are cpu, cuda, vulkan, rocm, metal, sycl, and"),
        (InstallWishes(how="download"), "--how takes build or prebuilt, not 'download'"),
        (InstallWishes(version="../x"), "'../x' is no version"),
        (InstallWishes(version="new est"), "'new est' is no version"),
        (InstallWishes(mirror="http://mirror.example"), "--mirror takes an address that begins with https://"),
    ],
)
def test_what_makes_no_sense_is_told(wishes: InstallWishes, what: str) -> None:
    assert what in refused(UsageError, wishes)


def test_what_cannot_be_had_names_what_is_missing_and_ends_with_code_6() -> None:
    error = not_to_be_had(
        Decision(
            do="packages", backend="rocm", version="0.3.36", gpu=None, why="an engine for ROCm cannot be had",
            missing=("hipcc is not here",), command="sudo apt install hipcc", other_way="gpt-oss engine install vulkan",
        )
    )  # fmt: skip
    assert (error.code, error.hint) == (ExitCode.ENGINE, "sudo apt install hipcc")
    assert error.details == ("hipcc is not here", "Slower, and possible now: gpt-oss engine install vulkan")


def test_a_compilation_that_fails_names_the_way_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_options: object) -> None:
        raise EngineError("the compiler ended with an error", hint="gpt-oss doctor", details=("log: x",))

    monkeypatch.setattr("launcher.cli.engine_install_session.run_build", fails)
    decision = Decision(
        do="build",
        backend="cuda",
        version="1",
        gpu=None,
        why="",
        other_way="gpt-oss engine install cuda --how prebuilt",
    )
    with pytest.raises(EngineError, match="the compiler ended") as caught:
        compile_decided(decision, InstallWishes(), dry_run=False, yes=True, as_json=False)
    assert caught.value.details == ("log: x", "Ready made instead: gpt-oss engine install cuda --how prebuilt")


def test_packages_of_nvidias_come_from_its_repository_alone() -> None:
    fedora = replace(
        read_platform(Sources()), system="Linux", distro="fedora", packages="dnf", wsl=False, is_root=False
    )
    page = "xdg-open https://developer.nvidia.com/cuda-downloads"
    assert packages_for(replace(fedora, nvidia_repository=False))["cuda toolkit"] == page
    own = packages_for(replace(fedora, nvidia_repository=True))["cuda toolkit"]
    assert own == "sudo dnf install cuda-toolkit-12-8"


def test_the_python_files_of_the_pinned_version_are_the_environments(tmp_path: Path) -> None:
    assert (bindings("0.3.36", "cpu", folders()) / "llama_cpp.py").is_file()


def test_the_newest_version_is_the_package_indexs(github: FakeGitHub, shelf: Shelf, capfd: Said) -> None:
    """With the llama.cpp of that very version, as GitHub tells it."""
    github.submodules["v0.3.99"], github.tags = "e" * 40, {"b42": "e" * 40}
    github.add(archives.LLAMA_CPP, "b42", {"llama-b42-bin-test-x64.tar.gz": b"x"})
    wishes = replace(PREBUILT, version="latest")
    decision = decide(wishes, folders(), shelf=shelf, newest=lambda _own: "0.3.99")
    assert decision.name == "cpu-0.3.99"
    assert "0.3.99 is the newest\n" in capfd.readouterr().err
    found = look_up_for(decision, shelf=shelf)
    assert (found.pinned, found.assets[0].name) == (Pinned(commit="e" * 40, tag="b42"), "llama-b42-bin-test-x64.tar.gz")


def test_the_index_is_asked_through_pip(tmp_path: Path) -> None:
    (tmp_path / "pip.py").write_text("print('llama-cpp-python (0.3.41)')", encoding="utf-8")
    command = (sys.executable, "-I", "-S", str(tmp_path / "pip.py"))
    assert newest_version(folders(), command) == "0.3.41"


def test_what_came_of_it_says_what_plans_take(tmp_path: Path, capfd: Said) -> None:
    build = copy_build(tmp_path / "data", "cuda-0.3.36", self_test=PASSED)
    assert build.record is not None
    build = replace(build, record=replace(build.record, backend="cuda"))
    print_installed(build, "auto", is_other=False)
    said = capfd.readouterr().err
    assert "It sees no GPU here, so that it computes on the CPU: gpt-oss doctor" in said
    assert "back: gpt-oss engine remove cuda-0.3.36" in said
    assert build.record is not None
    on_the_cpu = replace(build, record=replace(build.record, backend="cpu"))
    print_installed(on_the_cpu, "vulkan-0.3.36", is_other=True)
    said = capfd.readouterr().err
    assert "Plans take vulkan-0.3.36, which was chosen before: gpt-oss engine use auto" in said
    assert "back: gpt-oss engine use environment" in said


def test_what_will_be_fetched_is_told_with_its_sizes(capfd: Said) -> None:
    assets = tuple(
        Asset(name=name, size_bytes=size, sha256="0" * 64, url=f"https://github.com/{name}")
        for name, size in ((archives.ENGINE, 149_265_156), (archives.RUNTIME, 440_231_388))
    )
    pinned = Pinned(commit=archives.COMMIT, tag="b11312")
    print_found(Found(archive=archives.release(runtime=True), version="0.3.36", pinned=pinned, assets=assets))
    assert capfd.readouterr().err == (
        "  a release of llama.cpp, b11312, from github.com; each file's sha256 is checked\n"
        "    llama-b1-bin-test-x64.tar.gz          142 MiB\n"
        "    cudart-llama-b1-bin-test-x64.tar.gz   420 MiB\n"
        "  562 MiB to download, about 1.2 GiB on disk\n"
    )
    print_found(Found(archive=archives.wheel(), version="0.3.36", pinned=pinned, assets=assets[:1]))
    assert "A wheel has no programs: `serve` goes on" in capfd.readouterr().err


def test_nothing_better_is_one_line_and_the_way_to_more(capfd: Said) -> None:
    print_decision(Decision(do="nothing", backend=None, version="1", gpu=None, why="nothing", command="gpt-oss doctor"))
    assert capfd.readouterr().err == "nothing\nmore: gpt-oss doctor\n"


def test_the_command_itself_says_what_it_would_do(sandbox: Sandbox) -> None:
    done = sandbox.run("engine", "install", "cpu", "--how", "build", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("cpu-0.3.36: ")
