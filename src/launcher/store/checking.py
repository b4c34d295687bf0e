"""The sha256 of a file while it grows, and the pieces of it that this disk has damaged."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Callable, Iterator

from launcher.store.journal import PIECE_BYTES
from launcher.store.partial import ClosedError, Partial
from launcher.units import MIB

_READ_BYTES = MIB


class Checker:
    """Reads a growing file behind its writers, in a thread of its own, while the system still has it in memory.

    What an earlier run left is compared with its checksums on the way; a piece that differs is dropped, and waited for.
    """

    def __init__(self, partial: Partial, on_end: Callable[[], None] = lambda: None) -> None:
        self._partial = partial
        self._on_end = on_end
        self.sha256: str | None = None
        """Of the whole file, once it is whole."""
        self.error: BaseException | None = None
        self.dropped: list[int] = []
        """Pieces that were found damaged."""
        self._thread = threading.Thread(target=self._run, name="gpt-oss-check", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether it has come to an end, good or bad."""
        return self.sha256 is not None or self.error is not None

    def join(self) -> None:
        """Wait for its end; the file must be whole, or closed."""
        self._thread.join()

    def _run(self) -> None:
        try:
            sha256 = self._follow()
        except ClosedError:
            return
        except BaseException as error:  # noqa: BLE001 -- handed to the thread that waits for it
            self.error = error
        else:
            self.sha256 = sha256
        self._on_end()

    def _follow(self) -> str:
        partial, journal = self._partial, self._partial.journal
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_READ_BYTES))
        inherited = set(partial.inherited)
        piece = 0
        while piece < len(journal):
            self._wait_for(piece)
            before = digest.copy()
            expected = journal.checksum(piece)
            checksum = n_read = 0
            for data in read_piece(partial, piece, buffer):
                digest.update(data)
                n_read += len(data)
                if expected is None or piece in inherited:
                    checksum = zlib.crc32(data, checksum)
            if n_read < journal.length(piece) or (piece in inherited and expected not in {None, checksum}):
                self.dropped.append(piece)
                inherited.discard(piece)
                digest = before
                partial.drop(piece)
                continue
            if expected is None:
                journal.note(piece, n_read, checksum)
            piece += 1
        return digest.hexdigest()

    def _wait_for(self, piece: int) -> None:
        partial = self._partial
        with partial.changed:
            partial.changed.wait_for(lambda: partial.is_closed or partial.journal.is_whole(piece))
            if partial.is_closed:
                raise ClosedError


def read_piece(partial: Partial, piece: int, buffer: memoryview) -> Iterator[memoryview]:
    """A piece as it is on the disk, in steps; short where the file is."""
    position, end = piece * PIECE_BYTES, piece * PIECE_BYTES + partial.journal.length(piece)
    while position < end:
        with partial.in_use():
            n = partial.file.read_at(position, buffer[: end - position])
        if n == 0:
            return
        yield buffer[:n]
        position += n


def drop_damaged(partial: Partial) -> int:
    """Compare every piece with its checksum and drop those that differ; how many they were."""
    buffer = memoryview(bytearray(_READ_BYTES))
    count = 0
    for piece in range(len(partial.journal)):
        checksum = n_read = 0
        for data in read_piece(partial, piece, buffer):
            checksum = zlib.crc32(data, checksum)
            n_read += len(data)
        if n_read < partial.journal.length(piece) or partial.journal.checksum(piece) not in {None, checksum}:
            partial.drop(piece)
            count += 1
    return count
