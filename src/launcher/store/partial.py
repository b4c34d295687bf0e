"""A file that grows in several places at once: what is missing of it, who fetches what, and the bytes as they come."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from launcher.store.journal import PIECE_BYTES, Journal
from launcher.store.part_file import PartFile

LONGEST_CLAIM_PIECES = 16
"""One request asks for 64 MiB at most: its round trip is nothing beside that, and the file grows nearly in order."""
SHORTEST_CLAIM_PIECES = 2
"""Nor does one ask for less than 8 MiB while more is missing."""


class ClosedError(Exception):
    """The download was stopped while a connection still brought bytes."""


@dataclass(kw_only=True, slots=True, eq=False)
class Claim:
    """A range that one connection fetches; nobody else does meanwhile."""

    partial: Partial
    position: int
    """Next byte of the file that is missing."""
    end: int
    first_piece: int
    past_piece: int

    @property
    def is_rest(self) -> bool:
        """Whether the range goes to the end of the file."""
        return self.end == self.partial.size_bytes


class Partial:
    """A growing file and its journal. Connections write into it from their threads, each within its own claim."""

    def __init__(self, file: PartFile, journal: Journal) -> None:
        self.file = file
        self.journal = journal
        self.size_bytes = journal.size_bytes
        self.changed = threading.Condition()
        """Told when a piece becomes whole, is dropped, or a claim ends."""
        self.inherited = frozenset(piece for piece in range(len(journal)) if journal.filled(piece))
        """Pieces that an earlier run began: this disk may have damaged them since."""
        self.in_order_only = False
        """The server ignores ranges: one connection reads all of it from the beginning."""
        self._done_bytes = journal.done_bytes()
        self._claimed: set[int] = set()
        self._first_open = 0
        self._users = 0
        self._closed = False

    @property
    def done_bytes(self) -> int:
        """Bytes that are here."""
        return self._done_bytes

    @property
    def is_complete(self) -> bool:
        """Whether every byte is here."""
        return self._done_bytes == self.size_bytes

    @property
    def has_open_ranges(self) -> bool:
        """Whether something is missing that nobody fetches."""
        with self.changed:
            return not self._closed and any(
                not self.journal.is_whole(piece) and piece not in self._claimed
                for piece in range(self._first_open, len(self.journal))
            )

    def claim(self, n_connections: int) -> Claim | None:
        """The next missing range that nobody fetches; None where there is none."""
        with self.changed:
            if self._closed or (self.in_order_only and self._claimed):
                return None
            journal = self.journal
            first = self._first_open
            while first < len(journal) and journal.is_whole(first):
                first += 1
            self._first_open = first
            while first < len(journal) and (journal.is_whole(first) or first in self._claimed):
                first += 1
            if first == len(journal):
                return None
            past = len(journal) if self.in_order_only else self._past(first, n_connections)
            self._claimed.update(range(first, past))
            return Claim(
                partial=self,
                position=first * PIECE_BYTES + journal.filled(first),
                end=min(past * PIECE_BYTES, self.size_bytes),
                first_piece=first,
                past_piece=past,
            )

    def _past(self, first: int, n_connections: int) -> int:
        """End of a range from `first`: shorter where little is missing, so that all connections have some of it."""
        missing = (self.size_bytes - self._done_bytes) // PIECE_BYTES // (2 * n_connections)
        longest = max(SHORTEST_CLAIM_PIECES, min(LONGEST_CLAIM_PIECES, missing))
        if n_connections == 1:
            longest = LONGEST_CLAIM_PIECES
        past = first + 1
        while (
            past < len(self.journal)
            and past - first < longest
            and past not in self._claimed
            and self.journal.filled(past) == 0
        ):
            past += 1
        return past

    def release(self, claim: Claim) -> None:
        """A connection is done with its range, or gives it up."""
        with self.changed:
            self._claimed.difference_update(range(claim.first_piece, claim.past_piece))
            self.changed.notify_all()

    def put(self, position: int, data: bytes) -> int:
        """Add bytes that continue what is here, or repeat it; how many of them were new.

        They are in the file when this returns, and the journal says so: a kill loses what was not put yet.
        """
        new = 0
        with self.in_use():
            rest = memoryview(data)
            while rest:
                piece, inside = divmod(position, PIECE_BYTES)
                here = rest[: PIECE_BYTES - inside]
                new += self._put(piece, inside, here)
                position += len(here)
                rest = rest[len(here) :]
        return new

    def _put(self, piece: int, inside: int, data: memoryview) -> int:
        journal = self.journal
        filled = journal.filled(piece)
        if inside > filled:
            raise ValueError(f"a gap before byte {inside} of piece {piece}, which has {filled}")
        data = data[filled - inside :]
        new = len(data)
        while data:
            n = self.file.write_at(piece * PIECE_BYTES + filled, data)
            before = journal.checksum(piece) if filled else 0
            journal.note(piece, filled + n, None if before is None else zlib.crc32(data[:n], before))
            filled += n
            data = data[n:]
            with self.changed:
                self._done_bytes += n
                if journal.is_whole(piece):
                    self.changed.notify_all()
        return new

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the file open meanwhile. Raises ClosedError where it is closed already."""
        with self.changed:
            if self._closed:
                raise ClosedError
            self._users += 1
        try:
            yield
        finally:
            with self.changed:
                self._users -= 1
                self.changed.notify_all()

    def read_all_in_order(self, claim: Claim) -> bool:
        """The server sends the whole file whatever is asked: make `claim` all of it. False while others fetch some."""
        with self.changed:
            self.in_order_only = True
            if self._claimed.difference(range(claim.first_piece, claim.past_piece)):
                return False
            claim.first_piece, claim.past_piece = 0, len(self.journal)
            claim.position, claim.end = 0, self.size_bytes
            self._claimed.update(range(len(self.journal)))
            return True

    def drop(self, piece: int) -> None:
        """Throw a piece away that turned out damaged: it is fetched again."""
        with self.changed:
            self._done_bytes -= self.journal.filled(piece)
            self.journal.note(piece, 0, 0)
            self._first_open = min(self._first_open, piece)
            self.changed.notify_all()

    def clear(self) -> None:
        """Throw everything away."""
        with self.changed:
            self.journal.clear()
            self.file.clear()
            self._done_bytes = self._first_open = 0
            self.inherited = frozenset()
            self.changed.notify_all()

    def adopt(self, n_bytes: int) -> None:
        """Take the first `n_bytes` of the file, which somebody else wrote, as they are."""
        for piece in range(-(-n_bytes // PIECE_BYTES)):
            self.journal.note(piece, min(PIECE_BYTES, n_bytes - piece * PIECE_BYTES), None)
        self._done_bytes = n_bytes

    def sync(self) -> None:
        """Bring bytes and journal to the disk."""
        with self.in_use():
            self.file.sync()
            self.journal.sync()

    def close(self) -> None:
        """Let nobody write any more, and keep everything for the next run."""
        with self.changed:
            self._closed = True
            self.changed.wait_for(lambda: self._users == 0)
            self.changed.notify_all()
        self.file.close()
        self.journal.close()

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more bytes."""
        return self._closed
