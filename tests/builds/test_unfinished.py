"""What was compiled of engines that never came to be: found in the cache, and cleared."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.builds.disk import locked
from launcher.builds.unfinished import begun, clear, forget_source, unfinished, work_folder
from launcher.errors import UsageError
from launcher.system.locks import held


def begin(cache: Path, name: str) -> Path:
    folder = work_folder(cache, name) / "build"
    folder.mkdir(parents=True)
    (folder / "ggml.o").write_bytes(b"x" * 1000)
    return folder


def test_what_was_begun_is_found_and_cleared(tmp_path: Path) -> None:
    assert unfinished(tmp_path) == ()
    for name in ("vulkan-0.3.36", "cuda-0.3.37", "tools", "downloads"):
        begin(tmp_path, name)
    cuda, vulkan = unfinished(tmp_path)
    assert (cuda.name, cuda.backend, cuda.size_bytes, cuda.busy) == ("cuda-0.3.37", "cuda", 1000, False)
    assert vulkan.backend == "vulkan"
    assert clear(tmp_path, "cuda-0.3.37") == 1000
    assert not cuda.folder.exists()
    assert clear(tmp_path, "cuda-0.3.37") == 0
    assert [each.name for each in unfinished(tmp_path)] == ["vulkan-0.3.36"]


def test_one_that_is_being_compiled_stays(tmp_path: Path) -> None:
    folder = begin(tmp_path, "cuda-0.3.36")
    with locked(tmp_path / "engines", "cuda-0.3.36"):
        (found,) = unfinished(tmp_path)
        assert found.busy
        with pytest.raises(UsageError, match="another process"):
            clear(tmp_path, "cuda-0.3.36")
    assert folder.is_dir()


def test_archives_of_a_download_that_was_given_up(tmp_path: Path) -> None:
    """The bug: hundreds of megabytes stayed, and nothing told of them."""
    folder = work_folder(tmp_path, "downloads")
    folder.mkdir(parents=True)
    lock = folder / "0123-cudart.tar.gz.lock"
    lock.touch()
    assert begun(tmp_path) == (), "a lock takes no room"
    (folder / "0123-llama.tar.gz").write_bytes(b"x" * 1000)
    (folder / "0123-cudart.tar.gz.part").write_bytes(b"x" * 500)
    (found,) = unfinished(tmp_path)
    assert (found.name, found.backend, found.size_bytes, found.busy) == ("downloads", None, 1500, False)
    assert clear(tmp_path, "downloads") == 1500
    assert list(folder.iterdir()) == [lock]
    assert unfinished(tmp_path) == ()


@pytest.mark.parametrize("lock", ["0123-llama.tar.gz.lock", ".cuda-0.3.36.lock"])
def test_archives_that_are_fetched_or_unpacked_stay(tmp_path: Path, lock: str) -> None:
    folder = work_folder(tmp_path, "downloads")
    folder.mkdir(parents=True)
    archive = folder / "0123-llama.tar.gz"
    archive.write_bytes(b"x")
    with held(folder / lock):
        assert [each.busy for each in unfinished(tmp_path)] == [True]
        with pytest.raises(UsageError, match="another process"):
            clear(tmp_path, "downloads")
    assert archive.is_file()


def test_a_source_for_its_python_files_alone_does_not_stay(tmp_path: Path) -> None:
    """The bug: after a ready-made engine of another version `engine list` told of one that was begun."""
    begin(tmp_path, "cuda-0.3.37")
    begin(tmp_path, "vulkan-0.3.37")
    (work_folder(tmp_path, "cuda-0.3.37") / "recipe.json").write_text("{}")
    for name in ("cuda-0.3.37", "vulkan-0.3.37", "cpu-0.3.37"):
        forget_source(tmp_path, name)
    assert begun(tmp_path) == ("cuda-0.3.37",)
