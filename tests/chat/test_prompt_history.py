"""The file of what was typed before."""

import json
import stat
from pathlib import Path

import pytest

from launcher.chat.prompt import history
from launcher.chat.prompt.history import MAX_ENTRIES, MAX_ENTRY_BYTES, HistoryFile
from tests.systems import POSIX


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "chat_history"


def silent(text: str) -> None:
    raise AssertionError(text)


@POSIX
def test_entries_come_back_as_they_were(path: Path) -> None:
    file = HistoryFile(path, warn=silent)
    assert file.load() == []
    entries = ["one", "two\nlines\t\\", "森 \U0001f600", "half \udc80", '"""']
    for entry in entries:
        file.append(entry)
    assert HistoryFile(path, warn=silent).load() == entries
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@POSIX
def test_a_file_that_others_may_read_is_closed(path: Path) -> None:
    HistoryFile(path, warn=silent).append("x")
    path.chmod(0o644)
    HistoryFile(path, warn=silent).load()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_chats_append_to_one_file(path: Path) -> None:
    one, two = HistoryFile(path, warn=silent), HistoryFile(path, warn=silent)
    one.append("1")
    two.append("2")
    one.append("3")
    assert HistoryFile(path, warn=silent).load() == ["1", "2", "3"]


def test_the_oldest_go_when_there_are_too_many(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("".join(f"{json.dumps(str(n))}\n" for n in range(MAX_ENTRIES + 501)))
    kept = HistoryFile(path, warn=silent).load()
    assert kept == [str(n) for n in range(501, MAX_ENTRIES + 501)]
    assert len(path.read_text().splitlines()) == MAX_ENTRIES
    assert [entry.name for entry in path.parent.iterdir()] == ["chat_history"]


def test_a_few_too_many_are_not_written_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("".join(f"{json.dumps(str(n))}\n" for n in range(MAX_ENTRIES + 10)))
    before = path.stat().st_ino
    assert len(HistoryFile(path, warn=silent).load()) == MAX_ENTRIES
    assert path.stat().st_ino == before


def test_bytes_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_BYTES", 100)
    file = HistoryFile(path, warn=silent)
    for n in range(30):
        file.append(f"{n:08}")
    assert file.load() == [f"{n:08}" for n in range(21, 30)]
    assert path.stat().st_size <= 100


def test_a_huge_entry_stays_out(path: Path) -> None:
    file = HistoryFile(path, warn=silent)
    file.append("x" * MAX_ENTRY_BYTES)
    file.append("small")
    assert file.load() == ["small"]


def test_an_entry_that_a_crash_cut_is_dropped(path: Path) -> None:
    HistoryFile(path, warn=silent).append("whole")
    with path.open("a") as file:
        file.write('"cut in the mid')
    again = HistoryFile(path, warn=silent)
    assert again.load() == ["whole"]
    again.append("next")
    assert HistoryFile(path, warn=silent).load() == ["whole", "next"]


@pytest.mark.parametrize("damage", [b"not json\n", b"\xff\xfe\x00\n", b"[1]\n", b"[" * 100_000 + b"\n"])
def test_a_broken_file_is_kept_aside(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    whole = b'"a"\n' + damage + b'"b"\n'
    for n, name in enumerate(("chat_history.broken", "chat_history.broken-2")):
        path.write_bytes(whole)
        told: list[str] = []
        assert HistoryFile(path, warn=told.append).load() == ["a", "b"]
        assert path.with_name(name).read_bytes() == whole
        assert path.read_bytes() == b'"a"\n"b"\n'
        assert len(told) == 1, n
        assert name in told[0]


def test_a_history_that_cannot_be_kept_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    file = HistoryFile(tmp_path, warn=told.append)  # a folder
    assert file.load() == []
    file.append("x")
    file.append("y")
    assert len(told) == 1
    assert str(tmp_path) in told[0]
    told.clear()
    blocked = tmp_path / "file"
    blocked.touch()
    file = HistoryFile(blocked / "chat_history", warn=told.append)
    file.append("x")
    file.append("y")
    assert len(told) == 1


def test_without_a_path_nothing_is_kept() -> None:
    file = HistoryFile(None, warn=silent)
    file.append("x")
    assert file.load() == []
