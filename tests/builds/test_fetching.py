"""Archives of a release: fetched, resumed, verified, refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from launcher.builds.fetching import Fetcher
from launcher.builds.releases import GitHub
from launcher.builds.shelf import Where
from launcher.errors import DamagedFileError, DoesNotFitError, NetworkError
from tests.cli.sandbox import free_port
from tests.fakes.releases import FakeGitHub, loopback_releases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from launcher.builds.releases import Asset

REPO = "ggml-org/llama.cpp"
ENGINE = bytes(range(256)) * 5000
RUNTIME = b"cublas" * 1000
RETRY = "gpt-oss engine install vulkan"


class Told:
    """A ProgressSink that keeps what it is told."""

    def __init__(self) -> None:
        self.total = self.here = 0
        self.phases: list[str] = []
        self.finished = False

    def start(self, total_bytes: int, already_bytes: int, label: str) -> None:
        self.total, self.here = total_bytes, already_bytes

    def advance(self, n_bytes: int) -> None:
        self.here += n_bytes

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with loopback_releases() as fake:
        fake.add(REPO, "b1", {"engine.tar.gz": ENGINE, "runtime.zip": RUNTIME})
        yield fake


def where(fake: FakeGitHub) -> Where:
    return Where(api=fake.url, site=fake.url, bindings="abetlen/llama-cpp-python", llama_cpp=REPO)


def assets(fake: FakeGitHub, mirror: str | None = None) -> tuple[Asset, ...]:
    release = GitHub(where(fake), mirror=mirror).release(REPO, "b1")
    assert release is not None
    return release.assets


def fetcher(folder: Path, waits: list[float] | None = None, told: Told | None = None) -> Fetcher:
    kept = waits if waits is not None else []
    return Fetcher(folder=folder, retry=RETRY, wait=kept.append, progress=told or Told())


def downloads(fake: FakeGitHub) -> list[str]:
    return [path.rpartition("/")[2] for path in fake.asked if "/download/" in path]


def test_all_files_come_whole_and_in_order(github: FakeGitHub, tmp_path: Path) -> None:
    told = Told()
    paths = fetcher(tmp_path, told=told).fetch(assets(github))
    assert [path.read_bytes() for path in paths] == [ENGINE, RUNTIME]
    assert (told.here, told.total, told.finished) == (len(ENGINE) + len(RUNTIME), len(ENGINE) + len(RUNTIME), True)


def test_what_is_here_is_not_fetched_again_and_what_is_used_can_be_forgotten(
    github: FakeGitHub, tmp_path: Path
) -> None:
    found = assets(github)
    fetcher(tmp_path).fetch(found)
    told = Told()
    fetcher(tmp_path, told=told).fetch(found)
    assert downloads(github) == ["engine.tar.gz", "runtime.zip"]
    assert told.here == told.total
    fetcher(tmp_path).forget(found)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_transfer_that_breaks_off_goes_on_where_it_was(github: FakeGitHub, tmp_path: Path) -> None:
    github.cut_after = [1000, 2000]
    told = Told()
    paths = fetcher(tmp_path, told=told).fetch(assets(github)[:1])
    assert paths[0].read_bytes() == ENGINE
    assert downloads(github) == ["engine.tar.gz", "engine.tar.gz from 1000", "engine.tar.gz from 3000"]
    assert told.here == len(ENGINE)


def test_a_second_command_goes_on_where_the_first_was_stopped(github: FakeGitHub, tmp_path: Path) -> None:
    github.cut_after = [5000, 0, 0, 0, 0, 0]
    waits: list[float] = []
    with pytest.raises(
        NetworkError, match=r"broke the transfer off; 5 KiB of 1.2 MiB are kept, and the same command goes on"
    ) as refused:
        fetcher(tmp_path, waits).fetch(assets(github)[:1])
    assert refused.value.hint == RETRY
    # The first wait is that of the transfer that brought something.
    assert waits == [1.0, 1.0, 2.0, 4.0, 8.0]
    told = Told()
    assert fetcher(tmp_path, told=told).fetch(assets(github)[:1])[0].read_bytes() == ENGINE
    assert downloads(github)[-1] == "engine.tar.gz from 5000"


def test_a_host_without_ranges_sends_all_of_it_again(github: FakeGitHub, tmp_path: Path) -> None:
    github.cut_after, github.knows_ranges = [1000], False
    told = Told()
    assert fetcher(tmp_path, told=told).fetch(assets(github)[:1])[0].read_bytes() == ENGINE
    assert downloads(github) == ["engine.tar.gz", "engine.tar.gz from 1000"]
    assert not any("damaged" in phase for phase in told.phases)
    assert told.here == len(ENGINE)


def test_an_overloaded_host_is_asked_again(github: FakeGitHub, tmp_path: Path) -> None:
    found = assets(github)[:1]
    github.statuses = [(503, {}), (502, {})]
    waits: list[float] = []
    assert fetcher(tmp_path, waits).fetch(found)[0].read_bytes() == ENGINE
    assert waits == [1.0, 2.0]


def test_a_file_that_arrives_damaged_once_is_fetched_again(github: FakeGitHub, tmp_path: Path) -> None:
    github.tamper["engine.tar.gz"] = [b"x" * len(ENGINE)]
    told = Told()
    assert fetcher(tmp_path, told=told).fetch(assets(github)[:1])[0].read_bytes() == ENGINE
    assert "engine.tar.gz arrived damaged: it is fetched again" in told.phases
    assert told.here == len(ENGINE)


def test_a_file_of_another_hash_is_refused_and_nothing_of_it_is_kept(github: FakeGitHub, tmp_path: Path) -> None:
    github.digests["engine.tar.gz"] = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(DamagedFileError, match="arrived damaged twice and was deleted: its sha256 is") as refused:
        fetcher(tmp_path).fetch(assets(github)[:1])
    assert refused.value.hint == RETRY
    assert downloads(github) == ["engine.tar.gz"] * 2
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_part_that_was_changed_on_the_disk_is_noticed(github: FakeGitHub, tmp_path: Path) -> None:
    found = assets(github)[:1]
    part = tmp_path / f"{str(found[0].sha256)[:16]}-engine.tar.gz.part"
    part.write_bytes(b"y" * 4000)
    assert fetcher(tmp_path).fetch(found)[0].read_bytes() == ENGINE
    assert downloads(github) == ["engine.tar.gz from 4000", "engine.tar.gz"]


def test_a_whole_file_that_was_changed_on_the_disk_is_fetched_again(github: FakeGitHub, tmp_path: Path) -> None:
    found = assets(github)[:1]
    (path,) = fetcher(tmp_path).fetch(found)
    path.write_bytes(b"y" * len(ENGINE))
    told = Told()
    assert fetcher(tmp_path, told=told).fetch(found)[0].read_bytes() == ENGINE
    assert downloads(github) == ["engine.tar.gz"] * 2
    assert (told.here, told.phases[0]) == (len(ENGINE), "downloading engine.tar.gz")


def test_a_host_that_does_not_answer_is_told_by_its_name(github: FakeGitHub, tmp_path: Path) -> None:
    nobody = replace(assets(github)[0], url=f"http://127.0.0.1:{free_port()}/engine.tar.gz")
    with pytest.raises(NetworkError, match=r"^no connection to 127\.0\.0\.1: "):
        fetcher(tmp_path).fetch((nobody,))


def test_a_file_without_a_hash_is_never_fetched(github: FakeGitHub, tmp_path: Path) -> None:
    github.digests["runtime.zip"] = None
    with pytest.raises(DamagedFileError, match=r"runtime\.zip has no sha256 to be verified with: it is not fetched"):
        fetcher(tmp_path).fetch(assets(github))
    assert downloads(github) == []


def test_a_disk_without_room_is_told_before_anything_comes(github: FakeGitHub, tmp_path: Path) -> None:
    small = Fetcher(folder=tmp_path, retry=RETRY, free_bytes=lambda _folder: 1000)
    with pytest.raises(DoesNotFitError, match=r"engine.tar.gz needs 1.2 MiB more on disk") as refused:
        small.fetch(assets(github))
    assert refused.value.hint == f"GPT_OSS_CACHE_DIR=/folder/on/a/larger/disk {RETRY}"
    assert downloads(github) == []


def test_a_file_that_is_gone_is_not_tried_again(github: FakeGitHub, tmp_path: Path) -> None:
    found = assets(github)[:1]
    github.files.clear()
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1 answered 404"):
        fetcher(tmp_path).fetch(found)
    assert downloads(github) == ["engine.tar.gz"]


def test_a_mirror_serves_the_files_and_github_says_what_they_must_be(github: FakeGitHub, tmp_path: Path) -> None:
    with loopback_releases() as mirror:
        mirror.add(REPO, "b1", {"engine.tar.gz": ENGINE})
        found = assets(github, mirror.url)[:1]
        assert fetcher(tmp_path).fetch(found)[0].read_bytes() == ENGINE
        assert downloads(github) == []
        mirror.add(REPO, "b1", {"engine.tar.gz": b"z" * len(ENGINE)})
        with pytest.raises(DamagedFileError, match="arrived damaged twice"):
            fetcher(tmp_path / "other").fetch(found)


def test_a_proxy_of_the_environment_is_used(
    github: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = assets(github)[:1]
    with loopback_releases() as proxy:
        # A proxy is asked for whole addresses; this one answers that it is overloaded, which shows who was asked.
        proxy.statuses = [(503, {})] * 5
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(NetworkError, match="answered 503"):
            fetcher(tmp_path).fetch(found)
        assert len(proxy.asked) == 5
    assert downloads(github) == []
