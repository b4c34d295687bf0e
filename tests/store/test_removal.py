"""What goes from the hub's cache, and what must stay: shared content, other revisions, the only copy of a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from launcher.errors import UsageError
from launcher.store.cache import RepoCache
from launcher.store.pruning import prunable
from launcher.store.removal import Doomed, doomed_model, doomed_parts, remove, set_aside
from tests.store import layouts
from tests.store.layouts import COMMIT, REPO, put, put_text

OLD = "a" * 40
MODEL = b"GGUF" + b"m" * 9000
OTHER = b"GGUF" + b"o" * 5000


def cache_of(folder: Path, repo: str = REPO) -> RepoCache:
    return RepoCache(cache_dir=folder, repo=repo)


def left(folder: Path) -> list[str]:
    """Files that are left, links too, by their path in the cache."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def test_a_model_goes_whole_and_its_repository_with_it(tmp_path: Path) -> None:
    pointer = layouts.hub(tmp_path, MODEL)
    blob = pointer.resolve()
    put(blob.with_name(blob.name + ".gpt-oss.part"), b"rest")
    put(blob.with_name(blob.name + ".gpt-oss.part.journal"), b"rest")
    put_text(tmp_path / "models--ggml-org--gpt-oss-20b-GGUF" / "refs" / "main", COMMIT)
    doomed = doomed_model(cache_of(tmp_path), [pointer], what="gpt-oss-20b", everywhere=True)
    expected = doomed.freed_bytes
    assert expected >= len(MODEL) + 8
    assert remove(cache_of(tmp_path), doomed) == expected
    assert left(tmp_path) == []
    assert not (tmp_path / "models--ggml-org--gpt-oss-20b-GGUF").exists()


def test_content_that_another_revision_shows_stays(tmp_path: Path) -> None:
    pointer = layouts.hub(tmp_path, MODEL)
    other = layouts.hub(tmp_path, MODEL, commit=OLD, file="another-name.gguf")
    doomed = doomed_model(cache_of(tmp_path), [pointer], what="x", everywhere=False)
    assert (doomed.pointers, doomed.blobs, doomed.freed_bytes) == ((pointer,), (), 0)
    remove(cache_of(tmp_path), doomed)
    assert other.read_bytes() == MODEL
    everywhere = doomed_model(cache_of(tmp_path), [other], what="x", everywhere=True)
    assert everywhere.freed_bytes > 0


def test_everywhere_means_every_revision(tmp_path: Path) -> None:
    pointer = layouts.hub(tmp_path, MODEL)
    layouts.hub(tmp_path, MODEL, commit=OLD)
    kept = layouts.hub(tmp_path, OTHER, commit=OLD, file="gpt-oss-20b-F16.gguf")
    remove(cache_of(tmp_path), doomed_model(cache_of(tmp_path), [pointer], what="x", everywhere=True))
    assert kept.read_bytes() == OTHER
    assert len(left(tmp_path)) == len([kept, kept.resolve(), "its lock"])


def test_content_that_is_linked_from_elsewhere_frees_nothing(tmp_path: Path) -> None:
    pointer = layouts.hub(tmp_path / "hub", MODEL)
    put(tmp_path / "elsewhere.gguf", pointer.resolve())
    doomed = doomed_model(cache_of(tmp_path / "hub"), [pointer], what="x", everywhere=True)
    assert doomed.freed_bytes == 0
    remove(cache_of(tmp_path / "hub"), doomed)
    assert (tmp_path / "elsewhere.gguf").read_bytes() == MODEL


def test_a_store_that_repositories_share_keeps_what_another_needs(tmp_path: Path) -> None:
    pointers = [layouts.hub(tmp_path, MODEL, repo=repo) for repo in ("a/one", "a/two")]
    shared = put(tmp_path / "blobs" / "ab" / "content", MODEL)
    for pointer in pointers:
        blob = pointer.parent / pointer.readlink()
        blob.unlink()
        blob.symlink_to(shared)
    for pointer, repo, still in zip(pointers, ("a/one", "a/two"), (True, False), strict=True):
        cache = cache_of(tmp_path, repo)
        remove(cache, doomed_model(cache, [pointer], what="x", everywhere=True))
        assert shared.exists() is still


def test_on_a_disk_without_links_the_file_itself_goes(tmp_path: Path) -> None:
    path = put(tmp_path / "models--a--b" / "snapshots" / OLD / "Q" / "m.gguf", MODEL)
    cache = cache_of(tmp_path, "a/b")
    assert remove(cache, doomed_model(cache, [path], what="x", everywhere=True)) >= len(MODEL)
    assert left(tmp_path) == []


def test_a_link_that_leaves_the_repository_takes_nothing_along(tmp_path: Path) -> None:
    target = put(tmp_path / "mine" / "m.gguf", MODEL)
    pointer = tmp_path / "hub" / "models--a--b" / "snapshots" / OLD / "m.gguf"
    pointer.parent.mkdir(parents=True)
    pointer.symlink_to(target)
    cache = cache_of(tmp_path / "hub", "a/b")
    remove(cache, doomed_model(cache, [pointer], what="x", everywhere=True))
    assert target.read_bytes() == MODEL
    assert not pointer.is_symlink()


def test_what_is_being_downloaded_is_not_removed(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    part = put(cache.folder / "blobs" / f"{'e' * 64}.gpt-oss.part", MODEL)
    doomed = doomed_parts(cache, "e" * 64, what="x")
    lock = cache.lock("e" * 64)
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(UsageError, match="being downloaded by another process"):
        remove(cache, doomed)
    assert part.exists()
    assert remove(cache, doomed) > 0
    assert not part.exists()


def test_a_damaged_content_loses_its_name_and_no_byte(tmp_path: Path) -> None:
    pointer = layouts.hub(tmp_path, MODEL)
    aside = set_aside(cache_of(tmp_path), pointer)
    assert aside.read_bytes() == MODEL
    assert aside.name.endswith(".damaged")
    assert pointer.is_symlink()
    assert not pointer.exists()


# What nobody needs


def whats(folder: Path, *repos: str) -> list[str]:
    return [doomed.what for doomed in prunable(folder, repos or (REPO,))]


def main_is(folder: Path, commit: str) -> None:
    put_text(folder / f"models--{REPO.replace('/', '--')}" / "refs" / "main", commit)


def test_a_whole_model_and_its_revision_are_needed(tmp_path: Path) -> None:
    layouts.hub(tmp_path, MODEL)
    assert whats(tmp_path) == []
    main_is(tmp_path, COMMIT)
    assert whats(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (".gpt-oss.part", "unfinished download"),
        (".1234.incomplete", "unfinished download"),
        (".damaged", "damaged file"),
    ],
)
def test_what_is_not_finished_goes_with_its_journal(tmp_path: Path, name: str, what: str) -> None:
    layouts.hub(tmp_path, MODEL)
    blobs = cache_of(tmp_path).folder / "blobs"
    path = put(blobs / f"{'e' * 64}{name}", b"x")
    beside = put(blobs / f"{path.name}.journal", b"x")
    (doomed,) = prunable(tmp_path, [REPO])
    assert (doomed.what, doomed.blobs) == (what, (path, beside))
    put(tmp_path / "models--other--tool" / "blobs" / f"{'e' * 64}.incomplete", b"x")
    assert len(whats(tmp_path)) == 1, "other tools' repositories are none of ours"


def test_a_revision_that_was_replaced_goes(tmp_path: Path) -> None:
    layouts.hub(tmp_path, MODEL)
    old = layouts.hub(tmp_path, OTHER, commit=OLD, file="GPT-OSS-20b-mxfp4.gguf")
    main_is(tmp_path, COMMIT)
    (doomed,) = prunable(tmp_path, [REPO])
    assert (doomed.what, doomed.pointers, doomed.blobs) == (f"older revision {OLD[:8]}", (old,), (old.resolve(),))


def test_the_only_copy_of_a_model_stays_however_old(tmp_path: Path) -> None:
    layouts.hub(tmp_path, b"# text", file="README.md")
    layouts.hub(tmp_path, MODEL, commit=OLD)
    main_is(tmp_path, COMMIT)
    assert whats(tmp_path) == []


def test_a_revision_that_a_tag_names_stays(tmp_path: Path) -> None:
    layouts.hub(tmp_path, MODEL)
    layouts.hub(tmp_path, OTHER, commit=OLD)
    main_is(tmp_path, COMMIT)
    put_text(cache_of(tmp_path).folder / "refs" / "refs" / "tags" / "v1", OLD)
    assert whats(tmp_path) == []


def test_content_that_no_revision_shows_goes(tmp_path: Path) -> None:
    layouts.hub(tmp_path, MODEL)
    blob = put(cache_of(tmp_path).folder / "blobs" / ("e" * 64), OTHER)
    (doomed,) = prunable(tmp_path, [REPO])
    assert (doomed.what, doomed.blobs) == ("content that no revision shows", (blob,))


def test_pruning_all_of_it_leaves_what_is_needed(tmp_path: Path) -> None:
    kept = layouts.hub(tmp_path, MODEL)
    layouts.hub(tmp_path, OTHER, commit=OLD)
    put(cache_of(tmp_path).folder / "blobs" / ("e" * 64), OTHER + b"1")
    put(cache_of(tmp_path).folder / "blobs" / f"{'f' * 64}.gpt-oss.part", OTHER)
    main_is(tmp_path, COMMIT)
    remove_all: Callable[[Doomed], int] = lambda doomed: remove(cache_of(tmp_path), doomed)  # noqa: E731
    assert sum(map(remove_all, prunable(tmp_path, [REPO]))) > 0
    assert kept.read_bytes() == MODEL
    assert whats(tmp_path) == []
    assert [path for path in left(tmp_path) if not path.endswith(".lock")] == [
        f"models--ggml-org--gpt-oss-20b-GGUF/blobs/{kept.resolve().name}",
        "models--ggml-org--gpt-oss-20b-GGUF/refs/main",
        f"models--ggml-org--gpt-oss-20b-GGUF/snapshots/{COMMIT}/{layouts.FILE}",
    ]


@pytest.mark.parametrize("repo", ["no-owner", "../../etc", "a/b--c", ""])
def test_a_name_that_is_no_repository_has_nothing(tmp_path: Path, repo: str) -> None:
    assert prunable(tmp_path, [repo]) == ()
