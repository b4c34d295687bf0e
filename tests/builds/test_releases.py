"""What GitHub tells: releases, the llama.cpp that a version vendors, tags; and when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.builds.prebuilt import look_up, pinned_of
from launcher.builds.releases import GitHub, checked_address, parse_refs, parse_release, refused
from launcher.builds.shelf import Pinned, read_shelf
from launcher.errors import EngineError, NetworkError, UsageError
from launcher.store.reach import Reach
from tests.builds import archives
from tests.fakes.releases import FakeGitHub, loopback_releases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.builds.shelf import Shelf

OTHER = "f" * 40


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with loopback_releases() as fake:
        fake.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: b"engine", archives.RUNTIME: b"runtime"})
        fake.add(archives.BINDINGS, "v0.3.36-test", {archives.WHEEL: b"wheel"})
        yield fake


def asked(shelf: Shelf, mirror: str | None = None) -> GitHub:
    return GitHub(shelf.where, mirror=mirror)


def test_the_first_archive_that_its_release_has_is_found_with_its_hash(github: FakeGitHub) -> None:
    shelf = archives.shelf(github)
    found = look_up(shelf.archive, "0.3.36", shelf=shelf, github=asked(shelf))
    assert (found.name, found.archive.kind, found.size_bytes) == ("cpu-0.3.36", "release", 6)
    assert [asset.url for asset in found.assets] == [
        f"{github.url}/ggml-org/llama.cpp/releases/download/b1/{archives.ENGINE}"
    ]
    assert found.assets[0].sha256 is not None


def test_the_makers_libraries_come_with_it(github: FakeGitHub) -> None:
    shelf = archives.shelf(github, archives.release(runtime=True))
    found = look_up(shelf.archive, "0.3.36", shelf=shelf, github=asked(shelf))
    assert [asset.name for asset in found.assets] == [archives.ENGINE, archives.RUNTIME]


def test_where_a_release_lacks_the_file_the_next_way_is_taken(github: FakeGitHub) -> None:
    github.add(archives.LLAMA_CPP, "b1", {"llama-b1-bin-other-x64.tar.gz": b"x"})
    shelf = archives.shelf(github)
    found = look_up(shelf.archive, "0.3.36", shelf=shelf, github=asked(shelf))
    assert [asset.name for asset in found.assets] == [archives.WHEEL]


def test_an_engine_without_the_makers_libraries_is_not_taken(github: FakeGitHub) -> None:
    github.add(archives.LLAMA_CPP, "b1", {archives.ENGINE: b"engine"})
    shelf = archives.shelf(github, archives.release(runtime=True))
    with pytest.raises(EngineError, match="ready made for this system") as refusal:
        look_up(shelf.archive, "0.3.36", shelf=shelf, github=asked(shelf))
    assert refusal.value.details == ("ggml-org/llama.cpp has no cudart-llama-b1-bin-test-*.tar.gz in its release b1",)
    assert refusal.value.hint == "gpt-oss engine build cpu"


def test_the_makers_libraries_are_of_the_version_that_the_engine_was_compiled_with(github: FakeGitHub) -> None:
    def names(*files: str) -> list[str]:
        github.add(archives.LLAMA_CPP, "b11312", dict.fromkeys(files, b"x"))
        shelf = archives.shelf(github, pinned=dict(read_shelf().pinned))
        wanted = [each for each in read_shelf().archive if each.cuda == "12.8"]
        return [asset.name for asset in look_up(wanted, "0.3.36", shelf=shelf, github=asked(shelf)).assets]

    old = "cudart-llama-b11312-bin-ubuntu-cuda-12.8-x64.tar.gz"
    new = "cudart-llama-b11312-bin-ubuntu-cuda-12.9-x64.tar.gz"
    engine = "llama-b11312-bin-ubuntu-cuda-12.8-x64.tar.gz"
    assert names(engine, old, new) == [engine, old]
    with pytest.raises(EngineError) as refusal:
        names(engine, new)
    assert refusal.value.details == (f"ggml-org/llama.cpp has no {old} in its release b11312",)


def test_a_newer_version_finds_its_llama_cpp_and_the_release_of_that_very_commit(github: FakeGitHub) -> None:
    github.submodules["v0.3.40"] = OTHER
    github.tags = {"b7": archives.COMMIT, "gguf-v0.9": OTHER, "b9": OTHER}
    shelf = archives.shelf(github)
    assert pinned_of("0.3.40", shelf, asked(shelf)) == Pinned(commit=OTHER, tag="b9")
    assert pinned_of("0.3.36", shelf, asked(shelf)).tag == "b1"


def test_a_commit_without_a_release_is_refused_and_never_guessed(github: FakeGitHub) -> None:
    github.submodules["v0.3.40"] = OTHER
    github.tags = {"b7": archives.COMMIT}
    shelf = archives.shelf(github)
    with pytest.raises(EngineError) as refusal:
        look_up(shelf.archive, "0.3.40", shelf=shelf, github=asked(shelf))
    assert refusal.value.details == (
        "llama.cpp has made no release of commit fffffffff, which 0.3.40 needs",
        "abetlen/llama-cpp-python has no llama_cpp_python-0.3.40-py3-none-*.whl in its release v0.3.40-test",
    )


def test_a_version_that_there_is_not_is_told_as_such(github: FakeGitHub) -> None:
    shelf = archives.shelf(github)
    with pytest.raises(EngineError, match=r"GitHub knows no llama-cpp-python 9\.9\.9 with a llama\.cpp in it"):
        pinned_of("9.9.9", shelf, asked(shelf))


def test_too_many_questions_are_told_with_the_time(github: FakeGitHub) -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1000"}
    assert refused(403, headers, "https://api.github.com/x", now_s=lambda: 400.0).message == (
        "api.github.com answers no more questions from this address for now (60 an hour): try again in 10 min"
    )
    assert refused(403, {"x-ratelimit-remaining": "7"}, "https://api.github.com/x").message == (
        "api.github.com answered 403"
    )
    github.statuses = [(403, {"x-ratelimit-remaining": "0"})]
    shelf = archives.shelf(github)
    with pytest.raises(NetworkError, match="try again within the hour") as refusal:
        asked(shelf).release(archives.LLAMA_CPP, "b1")
    assert refusal.value.hint == "gpt-oss engine install --how build"


def test_a_network_that_answers_in_githubs_place_is_told_as_such(github: FakeGitHub) -> None:
    github.statuses = [(200, {})]  # an answer that is no JSON
    shelf = archives.shelf(github)
    with pytest.raises(NetworkError, match="does not answer as GitHub does"):
        asked(shelf).release(archives.LLAMA_CPP, "b1")


def test_no_network_is_told_at_once() -> None:
    with loopback_releases() as gone:
        pass
    shelf = archives.shelf(gone)
    with pytest.raises(NetworkError, match=r"no connection to 127\.0\.0\.1: "):
        GitHub(shelf.where, reach=Reach(timeout_s=2)).release(archives.LLAMA_CPP, "b1")


def test_names_that_no_folder_may_hold_and_odd_hashes_are_left_out() -> None:
    data = {
        "tag_name": "b1",
        "assets": [
            {"name": "../evil.zip", "size": 1, "digest": None},
            {"name": "a.zip", "size": 1, "digest": "md5:123"},
            {"name": "b c.zip", "size": 1},
        ],
    }
    release = parse_release(data, base="https://x/y")
    assert [(asset.name, asset.sha256, asset.url) for asset in release.assets] == [("a.zip", None, "https://x/y/a.zip")]
    odds: tuple[object, ...] = (None, [], {"assets": [{}], "tag_name": "b1"}, {"assets": 3, "tag_name": "b1"}, "text")
    for odd in odds:
        with pytest.raises(ValueError, match="no listing"):
            parse_release(odd, base="")


def test_only_tags_of_builds_count() -> None:
    lines = f"001e# service=git-upload-pack\n0000003d{OTHER} refs/heads/b1\n003d{OTHER} refs/tags/v1\n"
    assert parse_refs(lines, OTHER) is None
    assert parse_refs(f"{lines}003e{OTHER} refs/tags/b11312\n", OTHER) == "b11312"
    assert parse_refs(f"{lines}003e{OTHER} refs/tags/b11312\n", archives.COMMIT) is None


@pytest.mark.parametrize(
    "text", ["http://mirror.example", "ftp://mirror.example", "mirror.example", "https://", "https://x/?a=b", ""]
)
def test_a_mirror_has_to_be_an_encrypted_address(text: str) -> None:
    with pytest.raises(UsageError, match="--mirror takes an address that begins with https://"):
        checked_address(text, "--mirror")


def test_a_password_in_an_address_is_refused() -> None:
    with pytest.raises(UsageError, match="ends up in records"):
        checked_address("https://me:secret@mirror.example", "--mirror")
    assert checked_address("https://mirror.example/github/", "--mirror") == "https://mirror.example/github"
