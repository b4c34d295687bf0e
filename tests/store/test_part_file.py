"""The growing file on the disk: its room, its limits, its holes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import DoesNotFitError, LauncherError
from launcher.store import disk_facts
from launcher.store.cache import RepoCache
from launcher.store.disk_facts import file_system, held_bytes
from launcher.store.growing import bytes_so_far, open_partial, reserved_bytes
from launcher.store.hub import Outside, fetch
from launcher.store.part_file import DiskFile
from launcher.units import GIB, MIB
from tests.fakes.hub import Hub
from tests.store.build import PATH, REPO, config, model_file

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="fallocate is Linux's")


@LINUX
def test_room_is_taken_at_once_and_given_back(tmp_path: Path) -> None:
    """Its size goes on saying how far it was written: an older version, and a person, go by that."""
    path = tmp_path / "part"
    file = DiskFile(path)
    file.write_at(0, memoryview(b"x" * 5000))
    file.reserve(20 * MIB)
    if held_bytes(path) < 20 * MIB:
        pytest.skip("no fallocate on this file system")
    assert file.size() == 5000
    file.close()
    assert held_bytes(path) < MIB
    assert path.stat().st_size == 5000


@LINUX
@pytest.mark.parametrize("size", [2**60, 2**62])
def test_a_file_that_this_disk_can_not_hold_is_refused_before_the_first_byte(tmp_path: Path, size: int) -> None:
    file = DiskFile(tmp_path / "part")
    with pytest.raises(OSError, match="part") as raised:
        file.reserve(size)
    assert raised.value.errno in {errno.EFBIG, errno.ENOSPC}
    file.close()


def test_a_fat_disk_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told at once: after 4 GiB have come it would be an hour too late."""
    monkeypatch.setattr(disk_facts, "file_system", lambda _path: "vfat")
    file = DiskFile(tmp_path / "part")
    with pytest.raises(OSError, match="File too large") as raised:
        file.reserve(4 * GIB)
    assert raised.value.errno == errno.EFBIG
    file.reserve(10 * MIB)
    file.close()


def test_the_file_system_under_a_path_has_a_name(tmp_path: Path) -> None:
    assert file_system(tmp_path) is not None
    if Path("/proc/self").exists():
        assert file_system(Path("/proc/self")) == "proc"


def test_a_limit_on_file_sizes_is_met_before_the_first_byte(tmp_path: Path) -> None:
    """`ulimit -f`, in a process of its own."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such limits")
    import resource

    code = (
        "import resource, sys; from pathlib import Path; from launcher.store.part_file import DiskFile\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "DiskFile(Path(sys.argv[1])).reserve(2000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "p")], capture_output=True, text=True, check=False
    )
    assert "File too large" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_only_what_lies_before_a_hole_is_solid(tmp_path: Path) -> None:
    """A program that writes here and there leaves holes; what is beside one may be half written."""
    path = tmp_path / "part"
    file = DiskFile(path)
    assert file.solid_bytes() == 0
    file.write_at(0, memoryview(b"x" * (2 * MIB + 5000)))
    assert file.solid_bytes() == 2 * MIB + 5000
    file.write_at(8 * MIB, memoryview(b"x"))
    if file.solid_bytes() == 8 * MIB + 1:
        pytest.skip("no holes on this file system")
    assert file.solid_bytes() == 2 * MIB
    file.close()


def test_a_partial_with_holes_of_huggingface_hub_is_taken_up_to_the_first(tmp_path: Path) -> None:
    cache = RepoCache(cache_dir=tmp_path, repo=REPO)
    left = cache.blob("abc").with_name("abc.00ff00ff.incomplete")
    left.parent.mkdir(parents=True)
    with left.open("wb") as stream:
        stream.write(b"GGUF" + b"x" * (3 * MIB))
        stream.seek(40 * MIB)
        stream.write(b"x")
    partial = open_partial(cache, "abc", 50 * MIB, DiskFile)
    assert partial.done_bytes in {3 * MIB, 40 * MIB + 1}  # the second where a file system knows no holes
    assert not left.exists()
    assert bytes_so_far(cache, "abc", 50 * MIB) == partial.done_bytes
    assert reserved_bytes(cache, "abc", 50 * MIB) >= partial.done_bytes
    partial.close()


class _Refusing(DiskFile):
    code = errno.EFBIG

    def reserve(self, size_bytes: int) -> None:
        raise OSError(self.code, os.strerror(self.code), str(self._path))


def refusing(code: int) -> Callable[[Path], DiskFile]:
    return type("Refusing", (_Refusing,), {"code": code})


def test_a_disk_for_small_files_is_explained_before_anything_is_asked_of_storage(hub: Hub, cache_dir: Path) -> None:
    with pytest.raises(LauncherError, match="can't hold a file this large") as raised:
        fetch(model_file(hub), config=config(hub, cache_dir), outside=Outside(open_part=refusing(errno.EFBIG)))
    assert str(raised.value.hint).startswith("HF_HOME=")
    assert hub.requests.of("cdn") == []
    assert [path for path in cache_dir.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_quota_is_named(hub: Hub, cache_dir: Path) -> None:
    with pytest.raises(DoesNotFitError) as raised:
        fetch(model_file(hub), config=config(hub, cache_dir), outside=Outside(open_part=refusing(errno.EDQUOT)))
    assert raised.value.needs_bytes == hub.file(REPO, PATH).size_bytes
    assert "quota" in raised.value.details[0]
    assert hub.requests.of("cdn") == []
