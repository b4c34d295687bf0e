"""Write the parts of a model as files of a folder: in pieces or shared, read back, gone on with where one stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from launcher.errors import DamagedFileError
from launcher.store.cache import PART_SUFFIX
from launcher.store.carry import CarriedPart, Piece, piece_name, piece_sizes
from launcher.store.carry_copy import Segment, copy_segments, forget_cached, hash_segments, share
from launcher.store.carry_source import Source
from launcher.store.types import ProgressSink


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The folder that is written, and how."""

    folder: Path
    piece_bytes: int | None
    """Cut files into pieces of this size; None leaves them whole."""
    link: bool
    """Share the blocks, or the file, instead of copying, where both lie on one file system."""
    opened: Callable[[Path], BinaryIO]
    progress: ProgressSink
    retry: str
    """The command that goes on with it."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of it."""


def unfinished_path(path: Path) -> Path:
    """Where a file of the folder grows until it is whole and verified."""
    return path.with_name(path.name + PART_SUFFIX)


def write_part(target: Target, source: Source) -> CarriedPart:
    """One part in as many pieces as it takes. Pieces that a wrong content was found in are written once more.

    A file has its final name only when what lies there was read back and has the right hash.

    Raises:
        DamagedFileError: the part on this disk has not the hash that it should have, or the target does not keep what
            is written to it.
        OSError: the target is full, or can't be written.
    """
    whole_source = [Segment(path=source.path, start=0, n_bytes=source.size_bytes)]
    want = source.sha256 or hash_segments(whole_source, target.progress, f"hashing {source.path.name}")
    for is_last in (False, True):
        whole = hashlib.sha256()
        pieces = _write_pieces(target, source, whole)
        if whole.hexdigest() == want:
            return CarriedPart(path=source.listed.path, size_bytes=source.size_bytes, sha256=want, pieces=pieces)
        for piece in pieces:
            (target.folder / piece.file).unlink()
        target.progress.advance(-2 * source.size_bytes)
        if is_last or hash_segments(whole_source, target.progress, f"hashing {source.path.name}") != want:
            break
    raise DamagedFileError(
        f"{source.path.name} is damaged on this disk: its sha256 is not {want[:12]}…; nothing of it was exported",
        path=str(source.path),
        hint="gpt-oss models verify",
    )


def _write_pieces(target: Target, source: Source, whole: hashlib._Hash) -> tuple[Piece, ...]:
    sizes = piece_sizes(source.size_bytes, target.piece_bytes)
    pieces = []
    start = 0
    for number, size_bytes in enumerate(sizes, start=1):
        name = piece_name(source.listed.path, number, len(sizes))
        segment = Segment(path=source.path, start=start, n_bytes=size_bytes)
        pieces.append(Piece(file=name, size_bytes=size_bytes, sha256=_write_piece(target, segment, name, whole)))
        start += size_bytes
    return tuple(pieces)


def _write_piece(target: Target, segment: Segment, name: str, whole: hashlib._Hash) -> str:
    """Make one file of the folder be there; its sha256, which is that of what lies there. `whole` is fed with it."""
    path = target.folder / name
    part = unfinished_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    here = [Segment(path=path, start=0, n_bytes=segment.n_bytes)]
    if path.is_file() and path.stat().st_size == segment.n_bytes:
        target.progress.advance(segment.n_bytes)
        return hash_segments(here, target.progress, f"checking {name}, which is already there", whole)
    if target.link and (how := share(segment.path, part)):
        part.replace(path)
        target.notes.append(f"{name} takes no room of its own ({how})")
        target.progress.advance(segment.n_bytes)
        return hash_segments(here, target.progress, f"checking {name}", whole)
    if target.link:
        target.notes.append(f"{name} was copied: {target.folder} can't share it with {segment.path.parent}")
    copied = copy_segments([segment], part, target.progress, f"writing {name}", whole, opened=target.opened)
    forget_cached(part)
    there = [Segment(path=part, start=0, n_bytes=segment.n_bytes)]
    if hash_segments(there, target.progress, f"reading {name} back") != copied.sha256:
        part.unlink()
        raise DamagedFileError(
            f"{target.folder} does not keep what is written to it: {name} reads back with another sha256; it was "
            "deleted",
            path=str(path),
            hint=target.retry,
        )
    part.replace(path)
    return copied.sha256


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = unfinished_path(path)
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)
