"""Copy stretches of files into a growing file that an interruption leaves to be gone on with; hashed on the way."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from launcher.errors import DamagedFileError
from launcher.store.types import ProgressSink

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CHUNK_BYTES = 4 * 1024**2
_FICLONE = 0x40049409
"""linux/fs.h: `_IOW(0x94, 9, int)`, share another file's blocks until one of the two is written to."""


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: ReadableBuffer, /) -> None:
        """Take more bytes in."""

    def hexdigest(self) -> str:
        """Hash of what came so far."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of a file."""

    path: Path
    start: int
    n_bytes: int


def open_part(path: Path) -> BinaryIO:
    """Open an unfinished file to read and write, unbuffered: what is written survives the death of this process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(exist_ok=True)
    return path.open("r+b", buffering=0)


def check_regular(path: Path, n_bytes: int, *, hint: str) -> None:
    """Raise DamagedFileError unless `path` is a regular file of that size; a pipe or a device would hang a reader."""
    try:
        found = path.stat()
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror or error}"
        raise DamagedFileError(f"{path.name} {reason}", path=str(path), hint=hint) from error
    except ValueError as error:
        raise DamagedFileError(f"{str(path)!r:.80} is no file name", hint=hint) from error
    if not stat.S_ISREG(found.st_mode):
        raise DamagedFileError(f"{path.name} is no regular file", path=str(path), hint=hint)
    if found.st_size != n_bytes:
        raise DamagedFileError(
            f"{path.name} has {found.st_size:,} bytes instead of {n_bytes:,}", path=str(path), hint=hint
        )


def read_segments(segments: Sequence[Segment], skip: int) -> Iterator[bytes]:
    """The bytes of all segments one after the other, without the first `skip`.

    Raises:
        DamagedFileError: a file ends before its segment does, or can't be read.
    """
    for segment in segments:
        if skip >= segment.n_bytes:
            skip -= segment.n_bytes
            continue
        left = segment.n_bytes - skip
        try:
            with segment.path.open("rb", buffering=0) as stream:
                stream.seek(segment.start + skip)
                while left and (chunk := stream.read(min(CHUNK_BYTES, left))):
                    left -= len(chunk)
                    yield chunk
        except OSError as error:
            # Told apart from trouble with writing, which is the caller's: a stick that was pulled out, a bad sector.
            raise DamagedFileError(
                f"{segment.path.name} can't be read: {error.strerror or error}", path=str(segment.path)
            ) from error
        if left:
            raise DamagedFileError(f"{segment.path.name} ended early", path=str(segment.path))
        skip = 0


def hash_segments(segments: Sequence[Segment], progress: ProgressSink, label: str, *also: Digest) -> str:
    """The sha256 of some stretches of files; `also` are fed with the same bytes, and `progress` told of them."""
    progress.phase(label)
    digest = hashlib.sha256()
    for chunk in read_segments(segments, 0):
        _take_in(chunk, progress, digest, *also)
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """What a copy came to."""

    sha256: str
    resumed_bytes: int
    """What an earlier call had left."""


def copy_segments(
    segments: Sequence[Segment],
    part: Path,
    progress: ProgressSink,
    label: str,
    *also: Digest,
    opened: Callable[[Path], BinaryIO] = open_part,
) -> Copied:
    """Bring `segments` into the unfinished file `part`, from where an earlier call stopped, and onto the disk.

    What is there already is hashed, not compared: the caller knows the hash that the whole must have. `progress` is
    told of every byte, those that were there as well.

    Raises:
        DamagedFileError: a source can't be read to its end. What has come stays.
        OSError: the disk of `part` is full, or can't be written.
    """
    total = sum(segment.n_bytes for segment in segments)
    digest = hashlib.sha256()
    with opened(part) as stream:
        if stream.seek(0, os.SEEK_END) > total:
            stream.truncate(0)
        stream.seek(0)
        have = 0
        if os.fstat(stream.fileno()).st_size:
            progress.phase("checking what is already here")
        while chunk := stream.read(CHUNK_BYTES):
            have += _take_in(chunk, progress, digest, *also)
        progress.phase(label)
        resumed = have
        for chunk in read_segments(segments, have):
            rest = memoryview(chunk)
            while rest:
                rest = rest[stream.write(rest) :]
            _take_in(chunk, progress, digest, *also)
        stream.flush()
        os.fsync(stream.fileno())
    return Copied(sha256=digest.hexdigest(), resumed_bytes=resumed)


def _take_in(chunk: bytes, progress: ProgressSink, *digests: Digest) -> int:
    for digest in digests:
        digest.update(chunk)
    progress.advance(len(chunk))
    return len(chunk)


def forget_cached(path: Path) -> None:
    """Ask the system to read `path` from its disk next time, not from memory. Where it can't, that is no error."""
    if sys.platform == "linux":
        with suppress(OSError), path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def share(source: Path, target: Path) -> str | None:
    """Make `target` the same content as `source` without copying; how, or None where this disk can't.

    Blocks are shared where the file system knows how (neither file then sees what is written to the other), else the
    file gets a second name.
    """
    if sys.platform == "linux":
        import fcntl

        try:
            with source.open("rb") as have, target.open("wb") as want:
                fcntl.ioctl(want.fileno(), _FICLONE, have.fileno())
        except OSError:
            target.unlink(missing_ok=True)
        else:
            return "reflink"
    try:
        target.hardlink_to(source.resolve())
    except (OSError, NotImplementedError):
        return None
    return "hard link"
