"""A look through the folders of applications: what is found, and what must not make it long, wrong or loud."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.store.apps import App, Layout, Place
from launcher.store.walk import MAX_DEPTH, SeenFile, Walk, walk
from tests.store import layouts
from tests.store.layouts import put, put_text

CONTENT = b"GGUF" + bytes(40)


def look(root: Path, layout: Layout, *, app: App = "your folder", max_entries: int = 1000) -> Walk:
    return walk([Place(app=app, root=root, layout=layout)], max_entries=max_entries)


def only(walked: Walk) -> SeenFile:
    assert walked.notes == ()
    (seen,) = walked.files
    return seen


def test_lm_studio(tmp_path: Path) -> None:
    path = layouts.lm_studio(tmp_path, CONTENT)
    seen = only(look(tmp_path, "tree", app="LM Studio"))
    found = path.stat()
    assert (seen.path, seen.app, seen.root) == (path, "LM Studio", tmp_path)
    assert (seen.size_bytes, seen.mtime_ns, seen.file_id) == (44, found.st_mtime_ns, (found.st_dev, found.st_ino))
    assert seen.sha256 is None


def test_gpt4all_and_older_llama_cpp(tmp_path: Path) -> None:
    path = layouts.gpt4all(tmp_path / "a", CONTENT)
    put(tmp_path / "a" / "deeper" / "x.gguf", CONTENT)
    assert only(look(tmp_path / "a", "flat")).path == path
    assert only(look(layouts.llama_cpp(tmp_path / "b", CONTENT).parent, "flat")).path.name.startswith(
        "ggml-org_gpt-oss"
    )


def test_jan(tmp_path: Path) -> None:
    path = layouts.jan(tmp_path / "data", CONTENT)
    assert only(look(tmp_path / "data", "jan")).path == path


def test_what_jan_was_told_of_is_where_it_was_left(tmp_path: Path) -> None:
    path = put(tmp_path / "mine" / "x.gguf", CONTENT)
    layouts.jan_import(tmp_path / "data", path)
    layouts.jan_import(tmp_path / "data", tmp_path / "gone.gguf", model="gone")
    layouts.jan_import(tmp_path / "data", tmp_path, model="folder")
    assert only(look(tmp_path / "data", "jan")).path == path


def test_the_hubs_cache(tmp_path: Path) -> None:
    path = layouts.hub(tmp_path, CONTENT, file="Q8_0/m.gguf")
    layouts.hub(tmp_path, b"{}", file="config.json")
    seen = only(look(tmp_path, "hub", app="hub cache"))
    assert (seen.path, seen.repo, seen.commit, seen.inner) == (path, layouts.REPO, layouts.COMMIT, "Q8_0/m.gguf")
    assert seen.sha256 == path.readlink().name


def test_the_hubs_cache_without_links_knows_no_hash(tmp_path: Path) -> None:
    put(tmp_path / "models--a--b" / "snapshots" / ("c" * 40) / "m.gguf", CONTENT)
    put(tmp_path / "models--a--b" / "snapshots" / "not-a-commit" / "m.gguf", CONTENT)
    assert only(look(tmp_path, "hub")).sha256 is None


@pytest.mark.parametrize(
    ("manifest", "label"),
    [
        ("registry.ollama.ai/library/gpt-oss/20b", "gpt-oss:20b"),
        ("registry.ollama.ai/someone/gpt-oss/latest", "someone/gpt-oss:latest"),
        ("hf.co/ggml-org/gpt-oss-20b-GGUF/MXFP4", "hf.co/ggml-org/gpt-oss-20b-GGUF:MXFP4"),
    ],
)
def test_ollama(tmp_path: Path, manifest: str, label: str) -> None:
    path = layouts.ollama(tmp_path, CONTENT, name=manifest)
    seen = only(look(tmp_path, "ollama", app="Ollama"))
    assert (seen.path, seen.label, seen.sha256) == (path, label, path.name.removeprefix("sha256-"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"layers": 7}',
        '{"layers": [7, {}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../../etc/passwd"}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": ["x"]}]}',
        "[" * 100_000,
    ],
)
def test_a_strange_manifest_names_nothing(tmp_path: Path, text: str) -> None:
    put_text(tmp_path / "manifests" / "registry.ollama.ai" / "library" / "m" / "t", text)
    assert look(tmp_path, "ollama") == Walk(files=(), unfinished=(), notes=())


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("tree", "a/b/downloading_gpt-oss-20b.gguf.part"),
        ("flat", "incomplete-gpt-oss-20b.gguf"),
        ("flat", "x.gguf.downloadInProgress"),
        ("flat", "x.gguf.crdownload"),
        ("hub", f"models--a--b/blobs/{'a' * 64}.gpt-oss.part"),
        ("hub", f"models--a--b/blobs/{'a' * 64}.incomplete"),
        ("ollama", f"blobs/sha256-{'a' * 64}-partial"),
    ],
)
def test_what_is_not_finished_is_no_model(tmp_path: Path, layout: Layout, name: str) -> None:
    path = put(tmp_path / name, CONTENT)
    walked = look(tmp_path, layout)
    assert walked.files == ()
    assert [seen.path for seen in walked.unfinished] == [path]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    path = put(tmp_path / "a" / "m.gguf", CONTENT)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self.gguf").symlink_to("self.gguf")
    (tmp_path / "broken.gguf").symlink_to("nothing")
    (tmp_path / "folder.gguf").mkdir()
    put(tmp_path / "empty.gguf", b"")
    assert only(look(tmp_path, "tree")).path == path


def test_a_linked_file_and_a_linked_folder_are_looked_into(tmp_path: Path) -> None:
    target = put(tmp_path / "disk" / "sub" / "m.gguf", CONTENT)
    root = tmp_path / "models"
    root.mkdir()
    (root / "link.gguf").symlink_to(target)
    (root / "folder").symlink_to(target.parent)
    files = look(root, "tree").files
    assert [seen.path for seen in files] == [root / "link.gguf", root / "folder" / "m.gguf"]
    assert files[0].file_id == files[1].file_id


def test_hidden_folders_and_great_depths_are_left_out(tmp_path: Path) -> None:
    put(tmp_path / ".git" / "m.gguf", CONTENT)
    deep = tmp_path.joinpath(*"abcdefgh"[: MAX_DEPTH - 1])
    path = put(deep / "m.gguf", CONTENT)
    put(deep / "deeper" / "m.gguf", CONTENT)
    assert only(look(tmp_path, "tree")).path == path


def test_a_huge_folder_is_looked_through_so_far_and_that_is_told(tmp_path: Path) -> None:
    for no in range(30):
        put(tmp_path / f"{no}.gguf", CONTENT)
    walked = look(tmp_path, "tree", max_entries=10)
    assert len(walked.files) == 10
    assert walked.notes == (f"{tmp_path} holds more than was looked through",)


def test_a_folder_that_cannot_be_read_is_told_and_costs_no_other(tmp_path: Path) -> None:
    path = put(tmp_path / "m.gguf", CONTENT)
    unreadable = Place(app="Jan", root=tmp_path / ("x" * 300), layout="tree")
    walked = walk([unreadable, Place(app="your folder", root=tmp_path, layout="flat")])
    assert [seen.path for seen in walked.files] == [path]
    (note,) = walked.notes
    assert "cannot be read: File name too long" in note


def test_names_that_are_no_text_are_found(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.gguf")
    try:
        put(path, CONTENT)
    except OSError:
        pytest.skip("this file system has text for names")
    assert only(look(tmp_path, "flat")).path == path
