"""The journal of a growing file: what it says is there, and nothing that it can't know."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.store.journal import PIECE_BYTES, journal_path, open_journal, read_journal, watched_bytes

SIZE = 2 * PIECE_BYTES + 1000


def test_what_was_noted_is_there_again(tmp_path: Path) -> None:
    journal, known = open_journal(tmp_path / "j", SIZE)
    assert (known, len(journal), journal.done_bytes()) == (False, 3, 0)
    journal.note(0, PIECE_BYTES, 7)
    journal.note(2, 500, None)
    journal.close()
    again, known = open_journal(tmp_path / "j", SIZE)
    assert known
    assert [again.filled(piece) for piece in range(3)] == [PIECE_BYTES, 0, 500]
    assert [again.checksum(piece) for piece in range(3)] == [7, 0, None]
    assert [again.is_whole(piece) for piece in range(3)] == [True, False, False]
    assert (again.length(2), again.done_bytes()) == (1000, PIECE_BYTES + 500)
    again.close()


def test_another_process_can_watch_it(tmp_path: Path) -> None:
    assert watched_bytes(tmp_path / "j", SIZE) is None
    journal, _ = open_journal(tmp_path / "j", SIZE)
    journal.note(1, 12345, 1)
    assert watched_bytes(tmp_path / "j", SIZE) == 12345
    journal.close()


@pytest.mark.parametrize("damage", ["cut", "header", "longer", "empty"])
def test_a_damaged_one_is_begun_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "j"
    journal, _ = open_journal(path, SIZE)
    journal.note(0, 100, 1)
    journal.close()
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-1], "header": b"x" + data[1:], "longer": data + b"\0", "empty": b""}[damage])
    assert watched_bytes(path, SIZE) is None
    again, known = open_journal(path, SIZE)
    assert (known, again.done_bytes()) == (False, 0)
    again.close()


def test_one_of_another_size_is_not_believed(tmp_path: Path) -> None:
    open_journal(tmp_path / "j", SIZE)[0].close()
    assert read_journal(tmp_path / "j", SIZE + 1) is None


def test_an_entry_that_can_not_be_counts_as_nothing(tmp_path: Path) -> None:
    """A power cut may leave any bytes in it."""
    path = tmp_path / "j"
    journal, _ = open_journal(path, SIZE)
    journal.note(2, 1001, 1)
    journal.close()
    assert watched_bytes(path, SIZE) == 0


def test_the_last_of_it_goes_with_the_file(tmp_path: Path) -> None:
    path = journal_path(tmp_path / "abc.part")
    journal, _ = open_journal(path, SIZE)
    journal.delete()
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []
