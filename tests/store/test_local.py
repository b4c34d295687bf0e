"""What is already here: the cache folder, complete files in it, and the parts of a split model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import DamagedFileError
from launcher.store.local import check_parts, find_cached, hub_cache_dir

REPO = "unsloth/gpt-oss-20b-GGUF"
OLD, NEW = "a" * 40, "b" * 40
SHA = "c" * 64

ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"XDG_CACHE_HOME": "/x/cache"},
    {"XDG_CACHE_HOME": "~/xdg"},
    {"HF_HOME": "/x/home", "XDG_CACHE_HOME": "/x/cache"},
    {"HF_HOME": "~/hf"},
    {"HF_HOME": "$BASE/hf", "BASE": "/data"},
    {"HF_HOME": "${BASE}/hf", "BASE": "/data"},
    {"HF_HOME": "$UNKNOWN/hf"},
    {"HF_HOME": ""},
    {"HUGGINGFACE_HUB_CACHE": "/x/old", "HF_HOME": "/x/home"},
    {"HF_HUB_CACHE": "~/hub", "HUGGINGFACE_HUB_CACHE": "/x/old"},
    {"HF_HUB_CACHE": "$HF_HOME/models", "HF_HOME": "/x/home"},
    {"HUGGINGFACE_HUB_CACHE": "~/${WHERE}/hub", "WHERE": "ssd"},
]

ASK_HUGGINGFACE_HUB = """
import importlib, json, os, sys
from huggingface_hub import constants
found = []
for env in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update({"HOME": "/home/someone", **env})
    found.append(importlib.reload(constants).HF_HUB_CACHE)
print(json.dumps(found))
"""


def test_the_cache_folder_is_where_huggingface_hub_has_it() -> None:
    run = subprocess.run(
        [sys.executable, "-c", ASK_HUGGINGFACE_HUB],
        input=json.dumps(ENVIRONMENTS),
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(run.stdout)
    ours = [str(hub_cache_dir({"HOME": "/home/someone", **env})) for env in ENVIRONMENTS]
    assert ours == theirs


def test_looking_for_a_file_imports_neither_huggingface_hub_nor_httpx() -> None:
    """`gpt-oss plan` looks here on every run; huggingface_hub alone would cost it half a second."""
    code = "import sys, launcher.store.local as l; l.hub_cache_dir(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"huggingface_hub", "httpx", "filelock"} & set(run.stdout.split())


def put(cache_dir: Path, commit: str, path: str, size: int, *, blob: str | None = SHA) -> Path:
    """A file in the cache: a link to a blob, or (blob None) the file itself as on a disk without links."""
    repo = cache_dir / "models--unsloth--gpt-oss-20b-GGUF"
    pointer = repo / "snapshots" / commit / path
    pointer.parent.mkdir(parents=True, exist_ok=True)
    target = pointer if blob is None else repo / "blobs" / blob
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(bytes(size))
    if blob is not None:
        pointer.symlink_to(target)
    return pointer


def wanted(*parts: FilePart, revision: str | None = NEW) -> ModelFile:
    parts = parts or (FilePart(path="m.gguf", size_bytes=100, sha256=SHA),)
    return ModelFile(model="gpt-oss-20b", quant="Q8_0", repo=REPO, revision=revision, parts=parts, dense_bpw=8.5)


def test_the_own_revision_is_found(tmp_path: Path) -> None:
    pointer = put(tmp_path, NEW, "m.gguf", 100)
    assert find_cached(wanted(), tmp_path) == pointer


def test_another_snapshot_with_the_same_content_is_as_good(tmp_path: Path) -> None:
    pointer = put(tmp_path, OLD, "m.gguf", 100)
    assert find_cached(wanted(), tmp_path) == pointer
    assert find_cached(wanted(revision=None), tmp_path) == pointer


def test_another_snapshot_of_the_same_size_but_other_content_is_not(tmp_path: Path) -> None:
    """ggml-org's rebuilds of one file differ by 64 bytes or by none: size alone does not tell them apart."""
    put(tmp_path, OLD, "m.gguf", 100, blob="d" * 64)
    assert find_cached(wanted(), tmp_path) is None


def test_a_truncated_file_is_not_found(tmp_path: Path) -> None:
    put(tmp_path, NEW, "m.gguf", 99)
    assert find_cached(wanted(), tmp_path) is None


def test_a_broken_link_is_not_found(tmp_path: Path) -> None:
    put(tmp_path, NEW, "m.gguf", 100).resolve().unlink()
    assert find_cached(wanted(), tmp_path) is None


def test_a_file_in_a_snapshot_without_links_is_found(tmp_path: Path) -> None:
    pointer = put(tmp_path, NEW, "m.gguf", 100, blob=None)
    assert find_cached(wanted(), tmp_path) == pointer


def test_a_blob_that_links_on_into_a_shared_store_is_found(tmp_path: Path) -> None:
    """huggingface_hub 2 keeps one copy of equal blobs: `blobs/<sha256>` is itself a link to a file of another name."""
    pointer = put(tmp_path, NEW, "m.gguf", 100)
    shared = tmp_path / "blobs" / "ab" / ("e" * 64)
    shared.parent.mkdir(parents=True)
    pointer.resolve().rename(shared)
    (pointer.parent / pointer.readlink()).symlink_to(shared)
    assert find_cached(wanted(), tmp_path) == pointer


def test_without_a_revision_the_last_seen_main_comes_first(tmp_path: Path) -> None:
    any_size = FilePart(path="m.gguf", size_bytes=None, sha256=None)
    main = put(tmp_path, OLD, "m.gguf", 100)
    newer = put(tmp_path, NEW, "m.gguf", 200, blob="d" * 64)
    assert find_cached(wanted(any_size, revision=None), tmp_path) in {main, newer}
    ref = tmp_path / "models--unsloth--gpt-oss-20b-GGUF" / "refs" / "main"
    ref.parent.mkdir()
    ref.write_text(OLD)
    assert find_cached(wanted(any_size, revision=None), tmp_path) == main


def test_all_parts_must_be_in_one_snapshot(tmp_path: Path) -> None:
    """llama.cpp looks for the other parts beside the first."""
    parts = tuple(FilePart(path=f"Q/m-0000{no}-of-00002.gguf", size_bytes=10, sha256=str(no) * 64) for no in (1, 2))
    first = put(tmp_path, OLD, parts[0].path, 10, blob="1" * 64)
    put(tmp_path, NEW, parts[1].path, 10, blob="2" * 64)
    assert find_cached(wanted(*parts), tmp_path) is None
    put(tmp_path, OLD, parts[1].path, 10, blob="2" * 64)
    assert find_cached(wanted(*parts), tmp_path) == first


def test_no_cache_and_no_repository_find_nothing(tmp_path: Path) -> None:
    assert find_cached(wanted(), tmp_path / "none") is None
    assert find_cached(replace(wanted(), repo=None), tmp_path) is None


def make(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(b"GGUF")
    return [folder / name for name in names]


def test_a_single_file_is_its_only_part(tmp_path: Path) -> None:
    (path,) = make(tmp_path, "model.gguf")
    assert check_parts(path) == (path,)


def test_all_parts_are_found_from_any_of_them(tmp_path: Path) -> None:
    paths = make(tmp_path, *(f"gpt-oss-120b-mxfp4-{no:05d}-of-00003.gguf" for no in (1, 2, 3)))
    assert check_parts(paths[0]) == tuple(paths)
    assert check_parts(paths[2]) == tuple(paths)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_missing_part_is_named(tmp_path: Path, missing: int) -> None:
    paths = make(tmp_path, *(f"m-{no:05d}-of-00003.gguf" for no in (1, 2, 3)))
    paths[missing - 1].unlink()
    with pytest.raises(DamagedFileError, match=f"m-{missing:05d}-of-00003.gguf") as raised:
        check_parts(paths[0])
    assert raised.value.path == str(paths[missing - 1])


def test_a_part_number_beyond_the_count_is_told(tmp_path: Path) -> None:
    (path,) = make(tmp_path, "m-00004-of-00003.gguf")
    with pytest.raises(DamagedFileError, match="has been renamed"):
        check_parts(path)


def test_what_is_no_readable_file_is_told(tmp_path: Path) -> None:
    folder, empty = tmp_path / "m.gguf", tmp_path / "e.gguf"
    folder.mkdir()
    empty.touch()
    with pytest.raises(DamagedFileError, match="is a folder"):
        check_parts(folder)
    with pytest.raises(DamagedFileError, match="is empty"):
        check_parts(empty)
    with pytest.raises(DamagedFileError, match=r"gone\.gguf is not in"):
        check_parts(tmp_path / "gone.gguf")
    with pytest.raises(DamagedFileError, match="can't be read"):
        check_parts(empty / "below-a-file.gguf")
