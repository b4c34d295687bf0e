"""Hashes that were computed of files on this disk, kept until the file changes. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.records import from_jsonable, to_jsonable
from launcher.store.small import read_small, write_json

CHUNK_BYTES = 4 * 1024**2


@dataclass(frozen=True, kw_only=True, slots=True)
class HashRecord:
    """What one file's content was, at one time."""

    path: str
    """The file itself, links resolved."""
    size_bytes: int
    mtime_ns: int
    sha256: str
    hashed_at: str
    """ISO time with zone."""
    expected: str | None = None
    """What it was held against; None where nobody had told a hash."""

    @property
    def is_damaged(self) -> bool:
        """Whether the content was not what it should be."""
        return self.expected is not None and self.expected != self.sha256


def read_hash(cache_dir: Path, path: Path) -> HashRecord | None:
    """What is known of a file as it is now; None where nothing is, or it has changed since."""
    try:
        found = path.stat()
        record = from_jsonable(HashRecord, json.loads(read_small(_record_path(cache_dir, path))))
    except (OSError, ValueError, RecursionError):
        return None
    same = (record.size_bytes, record.mtime_ns) == (found.st_size, found.st_mtime_ns)
    return record if same and record.path == os.path.realpath(path) else None


def write_hash(cache_dir: Path, record: HashRecord) -> None:
    """Keep what is known of a file. A folder that cannot be written costs a hash next time."""
    with suppress(OSError):
        write_json(_record_path(cache_dir, Path(record.path)), to_jsonable(record))


def forget_hash(cache_dir: Path, path: Path) -> None:
    """Forget a file that is removed."""
    with suppress(OSError):
        _record_path(cache_dir, path).unlink(missing_ok=True)


def hash_file(
    path: Path, *, hashed_at: str, expected: str | None = None, advance: Callable[[int], None] = lambda _: None
) -> HashRecord | None:
    """Read a file to its end; None where it changed meanwhile, so that its hash is that of nothing.

    Args:
        path: the file, or a link to it.
        hashed_at: the time to note, ISO with zone.
        expected: the hash that it should have.
        advance: told of bytes as they are read.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        before = os.fstat(stream.fileno())
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while n_bytes := stream.readinto(buffer):
            digest.update(buffer[:n_bytes])
            advance(n_bytes)
        after = os.fstat(stream.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return None
    return HashRecord(
        path=os.path.realpath(path),
        size_bytes=after.st_size,
        mtime_ns=after.st_mtime_ns,
        sha256=digest.hexdigest(),
        hashed_at=hashed_at,
        expected=expected,
    )


def _record_path(cache_dir: Path, path: Path) -> Path:
    name = hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()[:40]
    return cache_dir / "hashes" / f"{name}.json"
