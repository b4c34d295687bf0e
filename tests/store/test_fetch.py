"""A fetch that goes well: the shared cache, several parts, nothing asked twice."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import NetworkError, UsageError
from launcher.store.hub import fetch
from launcher.store.local import find_cached
from tests.fakes.hub import Hub
from tests.store.build import PATH, REPO, SPLIT, Remembered, blobs_in, config, gguf, model_file, parts_in


def test_a_fetched_file_is_found_by_huggingface_hub(hub: Hub, cache_dir: Path) -> None:
    progress = Remembered()
    local = fetch(model_file(hub), config=config(hub, cache_dir), progress=progress)
    assert local.first.read_bytes() == gguf(600_000)
    assert huggingface_hub.hf_hub_download(REPO, PATH, cache_dir=cache_dir, local_files_only=True) == str(local.first)
    # Without a revision it is found only by refs/main, and so is `llama-server -hf`.
    assert huggingface_hub.try_to_load_from_cache(REPO, PATH, cache_dir=cache_dir) == str(local.first)
    assert progress.started == [(600_000, 0, f"{REPO}:MXFP4")]
    assert (progress.done_bytes, progress.finished) == (600_000, 1)
    assert parts_in(cache_dir) == []


def test_the_layout_is_the_one_that_huggingface_hub_writes(hub: Hub, cache_dir: Path, tmp_path: Path) -> None:
    fetch(model_file(hub), config=config(hub, cache_dir))
    theirs = tmp_path / "theirs"
    huggingface_hub.hf_hub_download(REPO, PATH, cache_dir=theirs, endpoint=hub.url)

    def layout(root: Path) -> dict[str, str]:
        found = (path for path in root.glob("models--*/**/*") if not path.is_dir())
        return {
            str(path.relative_to(root)): str(path.readlink())
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
            for path in found
        }

    assert layout(cache_dir) == layout(theirs)


def test_a_file_that_huggingface_hub_fetched_is_used(hub: Hub, cache_dir: Path) -> None:
    theirs = huggingface_hub.hf_hub_download(REPO, PATH, cache_dir=cache_dir, endpoint=hub.url)
    hub.requests.clear()
    assert fetch(model_file(hub), config=config(hub, cache_dir)).first == Path(theirs)
    assert len(hub.requests) == 0


def test_a_second_run_asks_nothing_of_the_network(hub: Hub, cache_dir: Path) -> None:
    first = fetch(model_file(hub), config=config(hub, cache_dir))
    hub.requests.clear()
    again = fetch(model_file(hub), config=config(hub, cache_dir, offline=True))
    assert again.paths == first.paths
    assert len(hub.requests) == 0


def test_all_parts_are_fetched_under_one_progress(hub: Hub, cache_dir: Path) -> None:
    file = model_file(hub, *SPLIT)
    progress = Remembered()
    local = fetch(file, config=config(hub, cache_dir), progress=progress)
    assert [path.name for path in local.paths] == [Path(path).name for path in SPLIT]
    assert [path.read_bytes() for path in local.paths] == [gguf(100_000 + 7 * no, seed=no) for no in (1, 2, 3)]
    # llama.cpp opens the first and looks for the others beside it.
    assert len({path.parent for path in local.paths}) == 1
    assert progress.started == [(300_042, 0, file.name)]
    assert (progress.done_bytes, progress.finished) == (300_042, 1)
    assert any("part 2 of 3" in phase for phase in progress.phases)


def test_of_a_model_in_parts_only_the_missing_ones_are_fetched(hub: Hub, cache_dir: Path) -> None:
    fetch(model_file(hub, SPLIT[1]), config=config(hub, cache_dir))
    hub.requests.clear()
    file = model_file(hub, *SPLIT)
    assert find_cached(file, cache_dir) is None
    progress = Remembered()
    fetch(file, config=config(hub, cache_dir), progress=progress)
    assert hub.requests.body_bytes("cdn") == 100_007 + 100_021
    assert progress.started == [(300_042, 100_014, file.name)]
    assert progress.done_bytes == 300_042


def test_the_same_content_under_a_new_name_is_linked_without_a_request(hub: Hub, cache_dir: Path) -> None:
    """ggml-org renamed its files in place: 12 GB that are here must not come a second time."""
    fetch(model_file(hub), config=config(hub, cache_dir))
    hub.repos[REPO].rename(PATH, "gpt-oss-20b-mxfp4.gguf")
    hub.requests.clear()
    local = fetch(model_file(hub, "gpt-oss-20b-mxfp4.gguf"), config=config(hub, cache_dir, offline=True))
    assert local.first.name == "gpt-oss-20b-mxfp4.gguf"
    assert local.first.read_bytes() == gguf(600_000)
    assert len(hub.requests) == 0
    assert len(blobs_in(cache_dir)) == 1


def test_an_older_commit_can_be_fetched_and_does_not_become_main(hub: Hub, cache_dir: Path) -> None:
    old = model_file(hub)
    new_commit = hub.repos[REPO].rename(PATH, "renamed.gguf")
    local = fetch(old, config=config(hub, cache_dir))
    assert local.first.read_bytes() == gguf(600_000)
    assert not (cache_dir / "models--ggml-org--gpt-oss-20b-GGUF" / "refs").exists()
    assert new_commit not in str(local.first)


def test_without_a_commit_the_hub_says_which_it_is(hub: Hub, cache_dir: Path) -> None:
    local = fetch(model_file(hub, revision=None), config=config(hub, cache_dir))
    assert local.first.parent.name == hub.repos[REPO].head
    (ref,) = cache_dir.glob("models--*/refs/main")
    assert ref.read_text() == hub.repos[REPO].head


def test_sizes_and_hashes_that_a_catalogue_does_not_know_come_from_the_hub(hub: Hub, cache_dir: Path) -> None:
    file = replace(model_file(hub), parts=(FilePart(path=PATH, size_bytes=None, sha256=None),))
    local = fetch(file, config=config(hub, cache_dir))
    assert local.first.read_bytes() == gguf(600_000)
    assert local.notes == ()
    assert blobs_in(cache_dir)[0].name == hub.file(REPO, PATH).sha256


def test_where_the_hub_gives_no_sha256_the_size_is_checked_and_ours_is_noted(hub: Hub, cache_dir: Path) -> None:
    hub.file(REPO, PATH).faults.hide_sha256 = True
    file = model_file(hub)
    assert file.parts[0].sha256 is None
    local = fetch(file, config=config(hub, cache_dir))
    ours = hashlib.sha256(gguf(600_000)).hexdigest()
    assert local.first.read_bytes() == gguf(600_000)
    assert len(local.notes) == 1
    assert ours in local.notes[0]
    (recorded,) = cache_dir.rglob("*.gpt-oss.sha256")
    assert recorded.read_text() == f"{ours}  {PATH}\n"
    assert huggingface_hub.hf_hub_download(REPO, PATH, cache_dir=cache_dir, local_files_only=True) == str(local.first)


def test_a_blob_of_the_wrong_size_is_fetched_anew(hub: Hub, cache_dir: Path) -> None:
    """A cache copied from another disk can hold a truncated blob, which llama.cpp would fail on."""
    file = model_file(hub)
    local = fetch(file, config=config(hub, cache_dir))
    with blobs_in(cache_dir)[0].open("r+b") as blob:
        blob.truncate(1000)
    assert find_cached(file, cache_dir) is None
    assert fetch(file, config=config(hub, cache_dir)).first.read_bytes() == gguf(600_000)
    assert local.first.stat().st_size == 600_000


def test_where_links_are_not_possible_the_file_itself_is_in_the_snapshot(hub: Hub, cache_dir: Path) -> None:
    """exFAT and some network disks have no links; huggingface_hub puts the file there as well."""
    from launcher.store.cache import link_pointer

    blob, pointer = cache_dir / "blobs" / "b", cache_dir / "snapshots" / "c" / "m.gguf"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"GGUF")

    def no_links(_link: Path, _target: str) -> None:
        raise OSError(1, "Operation not permitted")

    link_pointer(blob, pointer, symlink=no_links)
    assert pointer.read_bytes() == b"GGUF"
    assert not pointer.is_symlink()
    assert [path.name for path in pointer.parent.iterdir()] == ["m.gguf"]


def test_offline_says_so_and_asks_nothing(hub: Hub, cache_dir: Path) -> None:
    with pytest.raises(NetworkError, match="HF_HUB_OFFLINE") as raised:
        fetch(model_file(hub), config=config(hub, cache_dir, offline=True))
    assert any("--model PATH" in line for line in raised.value.details)
    assert len(hub.requests) == 0


def test_a_local_file_needs_no_hub(tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(gguf(100))
    file = ModelFile(
        model="own",
        quant="F16",
        repo=None,
        revision=None,
        parts=(FilePart(path="own.gguf", size_bytes=100, sha256=None),),
        dense_bpw=None,
        local_path=path,
    )
    assert fetch(file).paths == (path,)
    with pytest.raises(UsageError):
        fetch(replace(file, local_path=None))


@pytest.mark.parametrize("path", ["../../../../evil.gguf", "/etc/evil.gguf", "a/../../x.gguf", "a\\..\\b.gguf"])
def test_a_listed_name_can_not_leave_the_cache(hub: Hub, cache_dir: Path, path: str) -> None:
    file = replace(model_file(hub), parts=(FilePart(path=path, size_bytes=10, sha256="0" * 64),))
    with pytest.raises(UsageError, match="unsafe name"):
        fetch(file, config=config(hub, cache_dir))
    assert len(hub.requests) == 0
