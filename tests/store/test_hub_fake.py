"""The loopback hub against the real client: what these tests stand on has to answer as the hub does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import huggingface_hub
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from tests.fakes.hub import FakeFile, FakeRepo, Hub, loopback_hub, repo_of_folder
from tests.store.build import PATH, REPO, SPLIT, gguf


def api(hub: Hub, token: str | None = None) -> HfApi:
    return HfApi(endpoint=hub.url, token=token or False)


def test_model_info_has_the_commit_sizes_and_hashes(hub: Hub) -> None:
    info = api(hub).model_info(REPO, files_metadata=True)
    assert info.sha == hub.repos[REPO].head
    by_path = {sibling.rfilename: sibling for sibling in info.siblings or []}
    assert set(by_path) == {PATH, *SPLIT, "README.md"}
    lfs = by_path[PATH].lfs
    assert lfs is not None
    assert (by_path[PATH].size, lfs.size, lfs.sha256) == (600_000, 600_000, hub.file(REPO, PATH).sha256)
    assert (by_path["README.md"].size, by_path["README.md"].lfs) == (10, None)


def test_the_tree_is_paged_and_has_folders(hub: Hub) -> None:
    hub.page_size = 2
    found = list(api(hub).list_repo_tree(REPO, recursive=True))
    assert len(hub.requests.of("tree")) == 3
    files = {entry.path: entry for entry in found if isinstance(entry, RepoFile)}
    assert set(files) == {PATH, *SPLIT, "README.md"}
    assert [entry.path for entry in found if isinstance(entry, RepoFolder)] == ["Q8_0"]
    lfs = files[SPLIT[0]].lfs
    assert lfs is not None
    assert (lfs.size, lfs.sha256) == (100_007, hub.file(REPO, SPLIT[0]).sha256)
    in_folder = api(hub).list_repo_tree(REPO, "Q8_0")
    assert {entry.path for entry in in_folder} == set(SPLIT)


def test_the_real_client_downloads_large_and_small_files(hub: Hub, tmp_path: Path) -> None:
    large = huggingface_hub.hf_hub_download(REPO, PATH, cache_dir=tmp_path, endpoint=hub.url)
    small = huggingface_hub.hf_hub_download(REPO, "README.md", cache_dir=tmp_path, endpoint=hub.url)
    assert Path(large).read_bytes() == gguf(600_000)
    assert Path(small).read_bytes() == b"# gpt-oss\n"
    assert Path(large).resolve().name == hub.file(REPO, PATH).sha256
    assert len(hub.requests.of("cdn")) == 1
    assert {seen.method for seen in hub.requests.of("cache")} == {"HEAD", "GET"}


def test_the_real_client_survives_a_cut(hub: Hub, tmp_path: Path) -> None:
    faults = hub.file(REPO, PATH).faults
    faults.cut_at, faults.cut_times = 250_000, 1
    path = huggingface_hub.hf_hub_download(REPO, PATH, cache_dir=tmp_path, endpoint=hub.url)
    assert Path(path).read_bytes() == gguf(600_000)
    # It starts over rather than resuming: what it reads in steps of 10 MB is lost with the connection.
    assert [seen.body_bytes for seen in hub.requests.of("cdn")] == [250_000, 600_000]


def test_errors_arrive_as_the_real_client_names_them(hub: Hub) -> None:
    asked = api(hub)
    with pytest.raises(RepositoryNotFoundError):
        asked.model_info("nobody/nothing")
    with pytest.raises(RevisionNotFoundError):
        asked.model_info(REPO, revision="0" * 40)
    with pytest.raises(RemoteEntryNotFoundError):
        list(asked.list_repo_tree(REPO, "no-such-folder"))
    with pytest.raises(RemoteEntryNotFoundError):
        asked.hf_hub_download(REPO, "gone.gguf")
    hub.repos[REPO].token, hub.repos[REPO].gated = "hf_right", True
    with pytest.raises(GatedRepoError):
        asked.model_info(REPO)
    with pytest.raises(GatedRepoError):
        api(hub, "hf_wrong").model_info(REPO)
    assert api(hub, "hf_right").model_info(REPO).gated == "auto"
    hub.faults.status = 503
    with pytest.raises(HfHubHTTPError):
        api(hub, "hf_right").model_info(REPO)


def test_a_renamed_file_is_gone_from_main_and_stays_at_its_commit(hub: Hub) -> None:
    old = hub.repos[REPO].head
    hub.repos[REPO].rename(PATH, "new.gguf")
    asked = api(hub)
    assert PATH not in asked.list_repo_files(REPO)
    assert "new.gguf" in asked.list_repo_files(REPO)
    assert PATH in asked.list_repo_files(REPO, revision=old)


def test_refs_name_the_head(hub: Hub) -> None:
    (main,) = api(hub).list_repo_refs(REPO).branches
    assert (main.name, main.target_commit) == ("main", hub.repos[REPO].head)


def test_a_full_size_sparse_file_is_streamed_from_disk(tmp_path: Path) -> None:
    """12 GB read into memory would end the machine that the tests run on."""
    path = tmp_path / PATH
    size = 12_109_566_624
    with path.open("wb") as stream:
        stream.write(b"GGUF")
        stream.truncate(size)
        stream.seek(size - 4)
        stream.write(b"last")
    with loopback_hub({REPO: FakeRepo(REPO, {PATH: FakeFile(path, known_sha256="ab" * 32)})}) as hub:
        info = api(hub).model_info(REPO, files_metadata=True)
        assert [sibling.size for sibling in info.siblings or []] == [size]
        url = f"{hub.cdn_url}/cdn/{REPO}/main/{PATH}"
        for span, body in ((f"{size - 4}-", b"last"), ("0-3", b"GGUF")):
            with urlopen(Request(url, headers={"Range": f"bytes={span}"})) as answer:
                assert (answer.status, answer.read()) == (206, body)
                assert answer.headers["Content-Range"].endswith(f"/{size}")
        # Hanging up on the whole file leaves the server able to stop: it does not go on reading to the end.
        with urlopen(url) as answer:
            assert answer.headers["Content-Length"] == str(size)
            assert answer.read(4) == b"GGUF"


def test_a_folder_can_be_served_by_hand(tmp_path: Path) -> None:
    (tmp_path / "Q8_0").mkdir()
    (tmp_path / "Q8_0" / "a.gguf").write_bytes(gguf(1000))
    assert set(repo_of_folder(REPO, tmp_path).files) == {"Q8_0/a.gguf"}
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.hub", "--repo", f"{REPO}={tmp_path}"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().startswith("# ")
            name, _, url = child.stdout.readline().strip().partition("=")
            assert name == "export HF_ENDPOINT"
            with urlopen(f"{url}/api/models/{REPO}?blobs=true") as answer:
                assert json.load(answer)["siblings"][0]["rfilename"] == "Q8_0/a.gguf"
        finally:
            child.kill()
