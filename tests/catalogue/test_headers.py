import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from launcher.catalogue.headers import ensure_header, file_from_path
from launcher.catalogue.recipes import model_tensors
from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import DamagedFileError, NetworkError
from tests.catalogue.builders import (
    NATIVE,
    header_bytes,
    tiny_file,
    tiny_header,
    tiny_metadata,
    tiny_spec,
    write_split,
)


class FakeHub:
    """Files of one repository, opened by range; counts what is opened."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.opened: list[tuple[str, str, str | None]] = []

    @contextmanager
    def __call__(self, repo: str, path: str, *, revision: str | None) -> Iterator[BinaryIO]:
        self.opened.append((repo, path, revision))
        if path not in self.files:
            raise NetworkError("not there", status=404)
        yield io.BytesIO(self.files[path])


def remote(files: dict[str, bytes], **changes: Any) -> ModelFile:
    parts = tuple(FilePart(path=path, size_bytes=len(data), sha256=None) for path, data in files.items())
    file = ModelFile(model="tiny", quant="MXFP4", repo="a/b", revision="c0", parts=parts, dense_bpw=None)
    return replace(file, **changes)


def test_a_remote_header_is_read_once_and_kept(tmp_path: Path) -> None:
    hub = FakeHub({"x.gguf": tiny_file()})
    file = remote(hub.files)
    known = ensure_header(file, cache_dir=tmp_path, isa=("AVX2",), open_remote=hub)
    assert known.spec == tiny_spec()
    assert known.weights.basis == "header"
    assert known.weights.total_bytes == sum(tensor.n_bytes for tensor in model_tensors(tiny_spec(), NATIVE))
    assert known.file.dense_bpw == known.weights.dense_bpw
    assert hub.opened == [("a/b", "x.gguf", "c0")]
    assert ensure_header(file, cache_dir=tmp_path, isa=("AVX2",)) == known
    # What is kept does not depend on the machine.
    elsewhere = ensure_header(file, cache_dir=tmp_path, isa=())
    assert sum(layer.repack_bytes for layer in elsewhere.weights.layers) == 0
    assert sum(layer.repack_bytes for layer in known.weights.layers) > 0


def test_without_a_commit_or_hash_nothing_is_kept(tmp_path: Path) -> None:
    hub = FakeHub({"x.gguf": tiny_file()})
    for _ in range(2):
        ensure_header(remote(hub.files, revision=None), cache_dir=tmp_path, isa=(), open_remote=hub)
    assert len(hub.opened) == 2
    assert not list(tmp_path.iterdir())


def test_every_part_of_a_remote_model_is_read(tmp_path: Path) -> None:
    paths = write_split(
        tmp_path / "tiny.gguf",
        tiny_metadata(tiny_spec()),
        model_tensors(tiny_spec(), NATIVE),
        n_parts=3,
        metadata_first=True,
    )
    hub = FakeHub({path.name: path.read_bytes() for path in paths})
    known = ensure_header(remote(hub.files), cache_dir=tmp_path / "cache", isa=(), open_remote=hub)
    assert len(hub.opened) == 3
    assert known.weights.total_bytes == sum(tensor.n_bytes for tensor in model_tensors(tiny_spec(), NATIVE))


def test_offline_and_not_here(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="not on this disk"):
        ensure_header(remote({"x.gguf": b""}), cache_dir=tmp_path, isa=())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>not found</html>", "not a GGUF"),
        (tiny_header()[:500], "truncated"),
        (tiny_header(), r"truncated: .* bytes, its header says"),
        (header_bytes(tiny_metadata(tiny_spec()), ()), "holds no tensors"),
        (header_bytes({"general.architecture": "gptoss"}, ()), "Ollama"),
        (header_bytes({}, ()), "names no architecture"),
    ],
)
def test_what_is_not_a_model_is_refused_and_not_kept(tmp_path: Path, data: bytes, message: str) -> None:
    hub = FakeHub({"x.gguf": data})
    with pytest.raises(DamagedFileError, match=message) as caught:
        ensure_header(remote(hub.files), cache_dir=tmp_path, isa=(), open_remote=hub)
    assert caught.value.path == "a/b/x.gguf"
    assert not list(tmp_path.iterdir())


# Files given by path


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "tiny-MXFP4.gguf"
    path.write_bytes(tiny_file())
    known = file_from_path(path, isa=())
    assert (known.file.model, known.file.quant, known.file.repo) == ("tiny", "MXFP4", None)
    assert known.file.local_path == path
    assert known.file.size_bytes == path.stat().st_size
    assert known.file.name == str(path)
    assert known.spec == tiny_spec()


def test_any_part_of_a_split_model_means_the_whole(tmp_path: Path) -> None:
    paths = write_split(
        tmp_path / "tiny.gguf", tiny_metadata(tiny_spec()), model_tensors(tiny_spec(), NATIVE), n_parts=2
    )
    for path in paths:
        known = file_from_path(path, isa=())
        assert known.file.local_path == paths[0]
        assert len(known.file.parts) == 2
    assert known.weights.total_bytes == sum(tensor.n_bytes for tensor in model_tensors(tiny_spec(), NATIVE))
    paths[1].unlink()
    with pytest.raises(DamagedFileError, match="one of the 2 parts"):
        file_from_path(paths[0], isa=())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\3\4" + bytes(100), "not a GGUF"),
        (tiny_file()[:-40], "truncated"),
        (tiny_file()[:300], "truncated"),
        (header_bytes({"general.architecture": "gptoss"}, ()), "Ollama"),
        (b"", "is empty"),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=message) as caught:
        file_from_path(path, isa=())
    assert caught.value.path == str(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="is not in"):
        file_from_path(tmp_path / "none.gguf", isa=())
    with pytest.raises(DamagedFileError, match="folder"):
        file_from_path(tmp_path, isa=())
