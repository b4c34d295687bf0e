"""Headers with a hole behind: what is fetched, what is kept, and that llama.cpp takes them for the whole model."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from launcher.catalogue.gguf import read_header
from launcher.catalogue.skeleton import skeleton
from launcher.catalogue.types import FilePart, ModelFile
from launcher.demo import demo_model_path
from launcher.engines.oracle import ask
from launcher.errors import DamagedFileError, NetworkError
from tests.catalogue.builders import make_gguf
from tests.engines.demo import load_params

DEMO = demo_model_path().read_bytes()

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="llama.cpp's breakdown is read on Linux")


class Opened:
    """One repository whose files are streams made on demand; counts what is opened."""

    def __init__(self, files: dict[str, Callable[[], BinaryIO]]) -> None:
        self.files = files
        self.paths: list[str] = []

    @contextmanager
    def __call__(self, repo: str, path: str, *, revision: str | None) -> Iterator[BinaryIO]:
        assert (repo, revision) == ("a/b", "c0")
        self.paths.append(path)
        with self.files[path]() as stream:
            yield stream


class BreaksOff(io.BytesIO):
    """Read once from end to end, it breaks off when it is read again from the beginning."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        raise NetworkError("the hub hung up", status=502)


def listed(sizes: dict[str, int | None], *, revision: str | None = "c0", local_path: Path | None = None) -> ModelFile:
    return ModelFile(
        model="tiny",
        quant="MXFP4",
        repo="a/b",
        revision=revision,
        parts=tuple(FilePart(path=path, size_bytes=size, sha256=None) for path, size in sizes.items()),
        dense_bpw=None,
        local_path=local_path,
    )


def demo_hub(data: bytes = DEMO) -> Opened:
    return Opened({"sub/x.gguf": lambda: io.BytesIO(data)})


def test_the_header_is_copied_and_the_rest_is_a_hole(tmp_path: Path) -> None:
    hub = demo_hub()
    path = skeleton(listed({"sub/x.gguf": len(DEMO)}), cache_dir=tmp_path, open_remote=hub)
    end = read_header(io.BytesIO(DEMO), size_bytes=len(DEMO)).data_offset
    content = path.read_bytes()
    assert content[:end] == DEMO[:end]
    assert len(content) == len(DEMO)
    assert not any(content[end:])
    assert path.name == "x.gguf", "llama.cpp reads a split's number from its name"
    again = skeleton(listed({"sub/x.gguf": len(DEMO)}), cache_dir=tmp_path, open_remote=None)
    assert (again, hub.paths) == (path, ["sub/x.gguf"])


def test_a_file_that_is_here_is_asked_itself(tmp_path: Path) -> None:
    file = listed({"sub/x.gguf": len(DEMO)}, local_path=demo_model_path())
    assert skeleton(file, cache_dir=tmp_path, open_remote=None) == demo_model_path()
    assert not list(tmp_path.iterdir())


def test_another_commit_is_another_skeleton(tmp_path: Path) -> None:
    here = skeleton(listed({"sub/x.gguf": len(DEMO)}), cache_dir=tmp_path, open_remote=demo_hub())
    other = listed({"sub/x.gguf": len(DEMO)}, revision="c1")
    with pytest.raises(DamagedFileError, match="not on this disk"):
        skeleton(other, cache_dir=tmp_path, open_remote=None)
    assert here.is_file()


@pytest.mark.parametrize(
    ("size", "revision", "words"),
    [(None, "c0", "does not say"), (len(DEMO), None, "does not say"), (len(DEMO), "c0", "not on this disk")],
)
def test_what_cannot_be_had_is_told(tmp_path: Path, size: int | None, revision: str | None, words: str) -> None:
    with pytest.raises(DamagedFileError, match=words) as caught:
        skeleton(listed({"sub/x.gguf": size}, revision=revision), cache_dir=tmp_path, open_remote=None)
    assert caught.value.hint == "gpt-oss plan --refresh"


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (lambda: BreaksOff(DEMO), NetworkError),
        (lambda: io.BytesIO(DEMO[:4000]), DamagedFileError),
        (lambda: io.BytesIO(b"<html>" * 1000), DamagedFileError),
    ],
)
def test_what_breaks_off_leaves_nothing_behind(
    tmp_path: Path, stream: Callable[[], BinaryIO], error: type[Exception]
) -> None:
    file = listed({"sub/x.gguf": len(DEMO)})
    with pytest.raises(error):
        skeleton(file, cache_dir=tmp_path, open_remote=Opened({"sub/x.gguf": stream}))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert skeleton(file, cache_dir=tmp_path, open_remote=demo_hub()).is_file()


def test_one_of_another_size_is_written_anew(tmp_path: Path) -> None:
    file = listed({"sub/x.gguf": len(DEMO)})
    path = skeleton(file, cache_dir=tmp_path, open_remote=demo_hub())
    path.write_bytes(b"short")
    assert skeleton(file, cache_dir=tmp_path, open_remote=demo_hub()) == path
    assert path.stat().st_size == len(DEMO)


@on_linux
def test_llama_cpp_says_of_a_skeleton_what_it_says_of_the_model(tmp_path: Path) -> None:
    path = skeleton(listed({"sub/x.gguf": len(DEMO)}), cache_dir=tmp_path, open_remote=demo_hub())
    cases = [load_params(n_ctx=n_ctx) for n_ctx in (512, 4096)]
    assert ask(path, cases) == ask(demo_model_path(), cases)


@on_linux
def test_a_model_in_parts(tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "x.gguf"
    whole.parent.mkdir()
    make_gguf.main([str(whole), "--n-layer", "2", "--split", "3", "--metadata-first"])
    parts = sorted(whole.parent.iterdir())
    hub = Opened({part.name: lambda part=part: part.open("rb") for part in parts})  # type: ignore[misc]
    file = listed({part.name: part.stat().st_size for part in parts})
    cache = tmp_path / "cache"
    first = skeleton(file, cache_dir=cache, open_remote=hub)
    assert first.name == "x-00001-of-00003.gguf"
    assert hub.paths == [part.name for part in parts]
    case = load_params()
    (stated,) = ask(first, [case])
    assert (stated,) == ask(parts[0], [case])
    assert stated.refused is None
    assert sum(path.stat().st_blocks * 512 for path in cache.rglob("*.gguf")) < 32 * 1024**2
