"""One process at a time, as far as the disk can."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock

from launcher.system.locks import BusyError, held


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.lock"


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none."""

    def unknown(self: FileLock) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "_acquire", unknown)


def test_another_holder_is_told_at_once(path: Path) -> None:
    with held(path) as alone:
        assert alone
        with pytest.raises(BusyError), held(path):
            pass
    with held(path) as alone:
        assert alone


def test_waiting_for_another_holder(path: Path) -> None:
    with ExitStack() as other:
        other.enter_context(held(path))
        asked = []

        def waiting() -> None:
            asked.append(1)
            if len(asked) == 2:
                other.close()

        with held(path, waiting=waiting, poll_s=0.01) as alone:
            assert alone
        assert asked == [1, 1]


def test_the_lock_is_freed_after_a_fault(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(path):
        raise ZeroDivisionError
    with held(path) as alone:
        assert alone


def test_a_folder_that_is_not_there_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), held(tmp_path / "file" / "a.lock"):
        pass


@pytest.mark.usefixtures("no_locks")
def test_where_the_disk_has_no_locks(path: Path) -> None:
    with held(path) as alone:
        assert not alone
        with held(path) as second:
            assert not second
    with held(path, plain=True) as alone:
        assert alone
        assert path.exists()
        with pytest.raises(BusyError), held(path, plain=True):
            pass
    assert not path.exists()
