"""A file that grows in several places at once: every byte claimed once, and none in the wrong place."""

from __future__ import annotations

import hashlib
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.store.checking import Checker, drop_damaged
from launcher.store.journal import PIECE_BYTES, open_journal
from launcher.store.part_file import DiskFile
from launcher.store.partial import LONGEST_CLAIM_PIECES, Claim, ClosedError, Partial

SIZE = 3 * PIECE_BYTES + 777
CONTENT = random.Random(5).randbytes(SIZE)


def opened(folder: Path, size: int = SIZE) -> Partial:
    return Partial(DiskFile(folder / "part"), open_journal(folder / "journal", size)[0])


def claims(partial: Partial, n_connections: int) -> list[Claim]:
    found = []
    while (claim := partial.claim(n_connections)) is not None:
        found.append(claim)
    return found


@pytest.mark.parametrize("n_connections", [1, 2, 7])
def test_claims_cover_the_file_once(tmp_path: Path, n_connections: int) -> None:
    partial = opened(tmp_path, 100 * PIECE_BYTES + 1)
    found = claims(partial, n_connections)
    assert [claim.position for claim in found] == [0, *(claim.end for claim in found[:-1])]
    assert found[-1].is_rest
    assert max(claim.end - claim.position for claim in found) <= LONGEST_CLAIM_PIECES * PIECE_BYTES
    assert not partial.has_open_ranges
    partial.release(found[2])
    again = partial.claim(n_connections)
    assert again is not None
    assert again.position == found[2].position
    partial.close()
    assert partial.claim(n_connections) is None


def test_what_an_earlier_run_began_is_gone_on_with_in_the_middle_of_a_piece(tmp_path: Path) -> None:
    partial = opened(tmp_path)
    partial.put(0, CONTENT[: PIECE_BYTES + 100])
    partial.close()
    again = opened(tmp_path)
    assert again.done_bytes == PIECE_BYTES + 100
    (first, *_) = claims(again, 1)
    assert first.position == PIECE_BYTES + 100
    again.close()


def test_bytes_that_are_here_already_are_passed_over_and_a_gap_is_refused(tmp_path: Path) -> None:
    partial = opened(tmp_path)
    assert partial.put(0, CONTENT[:1000]) == 1000
    assert partial.put(500, CONTENT[500:1500]) == 500
    assert partial.put(0, CONTENT[:1500]) == 0
    with pytest.raises(ValueError, match="a gap"):
        partial.put(1501, b"x")
    assert partial.done_bytes == 1500
    partial.close()
    assert (tmp_path / "part").read_bytes() == CONTENT[:1500]


def test_a_closed_file_takes_nothing(tmp_path: Path) -> None:
    """A connection that could not be stopped must not write into a file that somebody else has by then."""
    partial = opened(tmp_path)
    partial.close()
    with pytest.raises(ClosedError):
        partial.put(0, b"GGUF")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), n_connections=st.integers(1, 5))
def test_any_order_of_bytes_with_restarts_gives_the_file_and_its_hash(seed: int, n_connections: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        partial = opened(folder)
        while not partial.is_complete:
            found = claims(partial, n_connections)
            rng.shuffle(found)
            for claim in found:
                end = rng.choice([claim.end, rng.randint(claim.position, claim.end)])
                while claim.position < end:
                    block = CONTENT[claim.position : min(end, claim.position + rng.randint(1, 2 * PIECE_BYTES))]
                    partial.put(claim.position, block)
                    claim.position += len(block)
                partial.release(claim)
            if rng.random() < 0.5:
                partial.close()
                partial = opened(folder)
        checker = Checker(partial)
        checker.join()
        assert checker.sha256 == hashlib.sha256(CONTENT).hexdigest()
        partial.close()
        assert (folder / "part").read_bytes() == CONTENT


def test_the_checker_follows_and_drops_what_this_disk_damaged(tmp_path: Path) -> None:
    partial = opened(tmp_path)
    partial.put(0, CONTENT[: 2 * PIECE_BYTES])
    partial.close()
    with (tmp_path / "part").open("r+b") as part:
        part.seek(PIECE_BYTES + 5)
        part.write(b"\0\0\0\0")
    again = opened(tmp_path)
    checker = Checker(again)
    with again.changed:
        assert again.changed.wait_for(lambda: again.done_bytes == PIECE_BYTES, timeout=10)
    again.put(PIECE_BYTES, CONTENT[PIECE_BYTES:])
    checker.join()
    assert checker.dropped == [1]
    assert checker.sha256 == hashlib.sha256(CONTENT).hexdigest()
    again.close()


def test_a_file_that_lost_its_end_is_found_out(tmp_path: Path) -> None:
    partial = opened(tmp_path)
    partial.put(0, CONTENT)
    partial.close()
    with (tmp_path / "part").open("r+b") as part:
        part.truncate(2 * PIECE_BYTES + 5)
    again = opened(tmp_path)
    assert drop_damaged(again) == 2
    assert again.done_bytes == 2 * PIECE_BYTES
    again.close()


def test_a_checker_of_a_file_that_is_closed_ends(tmp_path: Path) -> None:
    partial = opened(tmp_path)
    checker = Checker(partial)
    partial.close()
    checker.join()
    assert not checker.is_done
