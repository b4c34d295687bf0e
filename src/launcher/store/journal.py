"""The journal beside a growing file: how much of each piece has come, and its checksum. README.md has the format."""

from __future__ import annotations

import os
import struct
import threading
import uuid
import zlib
from array import array
from pathlib import Path
from typing import BinaryIO

from launcher.store.small import read_small
from launcher.units import MIB

PIECE_BYTES = 4 * MIB
"""What damage on this disk costs at least; 65 GB have 16,000 pieces, whose journal has 128 kB."""
JOURNAL_SUFFIX = ".journal"
_MAGIC = b"gptossJ1"
_HEADER = struct.Struct("<8sQII")  # magic, size of the file, size of a piece, checksum of these
_ENTRY = struct.Struct("<II")  # bytes of the piece that are here, their CRC-32
_UNSUMMED = 1 << 31
"""In the first number of an entry: the bytes came without a checksum, from another program or an older version."""


class Journal:
    """One entry a piece, written in place after the bytes that it speaks of.

    An entry that a power cut tore, or that reached the disk before its bytes did, disagrees with the bytes, and costs
    one piece. So the entries need no order on the disk.
    """

    def __init__(self, path: Path, size_bytes: int, entries: array[int], stream: BinaryIO) -> None:
        """Use `open_journal`."""
        self.path = path
        self.size_bytes = size_bytes
        self._entries = entries
        self._stream = stream
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Pieces of the file."""
        return len(self._entries) // 2

    def length(self, piece: int) -> int:
        """Bytes of a piece when it is whole: the last may be shorter."""
        return min(PIECE_BYTES, self.size_bytes - piece * PIECE_BYTES)

    def filled(self, piece: int) -> int:
        """Bytes of a piece that are here, from its beginning."""
        return self._entries[2 * piece] & ~_UNSUMMED

    def checksum(self, piece: int) -> int | None:
        """CRC-32 of what is here of a piece; None where it came without one."""
        return None if self._entries[2 * piece] & _UNSUMMED else self._entries[2 * piece + 1]

    def is_whole(self, piece: int) -> bool:
        """Whether all bytes of a piece are here."""
        return self.filled(piece) == self.length(piece)

    def done_bytes(self) -> int:
        """Bytes of the file that are here."""
        return sum(self.filled(piece) for piece in range(len(self)))

    def note(self, piece: int, n_bytes: int, checksum: int | None) -> None:
        """Say that the first `n_bytes` of a piece are in the file now."""
        first = n_bytes | (_UNSUMMED if checksum is None else 0)
        self._entries[2 * piece] = first
        self._entries[2 * piece + 1] = checksum or 0
        # Connections write at the same time, and where a system has no writes at a position they are two steps.
        with self._lock:
            _write_at(self._stream, _HEADER.size + piece * _ENTRY.size, _ENTRY.pack(first, checksum or 0))

    def clear(self) -> None:
        """Forget everything."""
        for piece in range(len(self)):
            if self._entries[2 * piece]:
                self.note(piece, 0, 0)

    def sync(self) -> None:
        """Bring the entries to the disk."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Keep it for the next run."""
        self._stream.close()

    def delete(self) -> None:
        """The file is whole, or thrown away."""
        self._stream.close()
        self.path.unlink(missing_ok=True)


def journal_path(part: Path) -> Path:
    """The journal's place, beside the growing file."""
    return part.with_name(part.name + JOURNAL_SUFFIX)


def open_journal(path: Path, size_bytes: int) -> tuple[Journal, bool]:
    """The journal of a file, and whether there was one; a damaged one, or one of another file, is begun anew."""
    entries = read_journal(path, size_bytes)
    known = entries is not None
    if entries is None:
        entries = array("I", bytes(_ENTRY.size * -(-size_bytes // PIECE_BYTES)))
        _create(path, size_bytes, len(entries) // 2)
    return Journal(path, size_bytes, entries, path.open("r+b", buffering=0)), known


def read_journal(path: Path, size_bytes: int) -> array[int] | None:
    """The entries as they stand, for whoever only watches; None where there is no journal of such a file."""
    try:
        data = read_small(path)
    except OSError:
        return None
    count = -(-size_bytes // PIECE_BYTES)
    if data[: _HEADER.size] != _header(size_bytes) or len(data) != _HEADER.size + count * _ENTRY.size:
        return None
    entries = array("I", [value for entry in _ENTRY.iter_unpack(data[_HEADER.size :]) for value in entry])
    for piece in range(count):
        if entries[2 * piece] & ~_UNSUMMED > min(PIECE_BYTES, size_bytes - piece * PIECE_BYTES):
            entries[2 * piece] = 0
    return entries


def watched_bytes(path: Path, size_bytes: int) -> int | None:
    """Bytes that a journal says are here; None where there is none."""
    entries = read_journal(path, size_bytes)
    return None if entries is None else sum(value & ~_UNSUMMED for value in entries[::2])


def _header(size_bytes: int) -> bytes:
    fields = _HEADER.pack(_MAGIC, size_bytes, PIECE_BYTES, 0)[:-4]
    return fields + struct.pack("<I", zlib.crc32(fields))


def _create(path: Path, size_bytes: int, count: int) -> None:
    # A fresh name and a rename: a journal is there with all its entries or not at all.
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with fresh.open("wb") as stream:
            stream.write(_header(size_bytes) + bytes(_ENTRY.size * count))
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _write_at(stream: BinaryIO, offset: int, data: bytes) -> None:
    if hasattr(os, "pwrite"):
        os.pwrite(stream.fileno(), data, offset)
    else:  # Windows
        stream.seek(offset)
        stream.write(data)
