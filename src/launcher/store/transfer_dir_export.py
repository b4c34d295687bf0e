"""Write a model that is on this disk into a folder to be carried away: whole, verified, resumed where it stopped."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from launcher.catalogue.types import ModelFile
from launcher.configs import configs_dir
from launcher.errors import DamagedFileError, DoesNotFitError, LauncherError, UsageError
from launcher.store.cache import PART_SUFFIX
from launcher.store.disk import free_bytes, is_full, locked
from launcher.store.transfer_dir import (
    LARGEST_MANIFEST_BYTES,
    MANIFEST,
    SCHEMA,
    SUMS,
    CarriedPart,
    Manifest,
    Piece,
    folder_name,
    manifest_text,
    parse_manifest,
    piece_name,
    piece_sizes,
    sums_text,
)
from launcher.store.transfer_dir_copy import (
    Segment,
    copy_segments,
    forget_cached,
    hash_segments,
    largest_file_bytes,
    open_part,
    share,
)
from launcher.store.transfer_dir_source import Source, commit_of, sources_of
from launcher.store.types import ProgressSink
from launcher.units import format_bytes

LICENCE = "Apache-2.0"
"""Of both GPT OSS releases and of their conversions."""
FAT_PIECE_BYTES = 4_000_000_000
"""Pieces on a FAT file system, where nobody said another size."""
LEAST_PIECE_BYTES = 1024**2
MOST_PIECES = 999


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """How a model is written."""

    piece_bytes: int | None = None
    """Cut files into pieces of this size; None: only where the file system can't hold a whole one."""
    link: bool = False
    """Share the blocks, or the file, instead of copying, where both lie on one file system."""
    free_bytes: Callable[[Path], int] = free_bytes
    largest_file_bytes: Callable[[Path], int | None] = largest_file_bytes
    opened: Callable[[Path], BinaryIO] = open_part


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written, and where."""

    folder: Path
    manifest: Manifest
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Export:
    folder: Path
    options: ExportOptions
    progress: ProgressSink
    retry: str
    piece_bytes: int | None
    notes: list[str] = field(default_factory=list)


def export_model(
    file: ModelFile, into: Path, *, cache_dir: Path, options: ExportOptions, progress: ProgressSink
) -> Exported:
    """Write `file`, its manifest, its hashes and its licence into a folder of its own in `into`.

    A call that was interrupted is gone on with by the next. A file has its final name only when what lies there was
    read back and has the right hash; the manifest comes last.

    Raises:
        UsageError: the repository or the commit of the file is not known, or the sizes of pieces make no sense.
        DamagedFileError: the model on this disk is not what the catalogue says, or the target does not keep its bytes.
        DoesNotFitError: no room.
        LauncherError: the folder can't be written.
    """
    if file.repo is None or file.local_path is None:
        raise UsageError(
            f"{file.name} is of no repository that the catalogue knows: copy the file itself",
            hint="gpt-oss models export --help",
        )
    folder = into / folder_name(file.repo, file.quant)
    retry = f"gpt-oss models export {into} --model {file.name}"
    commit = commit_of(file, cache_dir)
    sources = sources_of(file)
    with _disk_errors(folder, retry):
        folder.mkdir(parents=True, exist_ok=True)
        run = _Export(
            folder=folder,
            options=options,
            progress=progress,
            retry=retry,
            piece_bytes=_piece_bytes(folder, options, sources, retry),
        )
        _check_other(run, file, commit)
        _check_room(run, sources)
        with locked(folder / ".gpt-oss.lock", lambda: progress.phase("another process is exporting it: waiting")):
            try:
                manifest = _write(run, file, commit, sources)
            finally:
                (folder / ".gpt-oss.lock").unlink(missing_ok=True)
    return Exported(folder=folder, manifest=manifest, notes=tuple(run.notes))


def _piece_bytes(folder: Path, options: ExportOptions, sources: tuple[Source, ...], retry: str) -> int | None:
    largest = max(source.size_bytes for source in sources)
    limit = options.largest_file_bytes(folder)
    wanted = options.piece_bytes
    if wanted is None and limit is not None and largest > limit:
        wanted = min(FAT_PIECE_BYTES, limit)
    if wanted is None:
        return None
    if options.link and largest > wanted:
        raise UsageError("a link is to a whole file: --link can't be had with pieces", hint=retry)
    if limit is not None and wanted > limit:
        raise UsageError(
            f"{folder} is on a FAT file system: a piece of {format_bytes(wanted)} is more than its files can hold",
            hint=_in_pieces(retry),
        )
    if wanted < LEAST_PIECE_BYTES or len(piece_sizes(largest, wanted)) > MOST_PIECES:
        raise UsageError(
            f"pieces of {format_bytes(wanted)}: there may be {MOST_PIECES} of a file, of 1 MiB or more",
            hint=_in_pieces(retry),
        )
    return wanted


def _in_pieces(retry: str) -> str:
    return f"{retry} --piece-size 4GB"


def _check_other(run: _Export, file: ModelFile, commit: str) -> None:
    """Refuse a folder that holds another build of the model, or the same in other pieces."""
    path = run.folder / MANIFEST
    if not path.exists():
        return
    with path.open("rb") as stream:
        there = parse_manifest(stream.read(LARGEST_MANIFEST_BYTES), str(path))
    cut = [[piece.size_bytes for piece in part.pieces] for part in there.parts]
    wanted = [list(piece_sizes(part.size_bytes, run.piece_bytes)) for part in there.parts]
    same = there.commit == commit and [part.path for part in there.parts] == [part.path for part in file.parts]
    if not same or cut != wanted:
        what = "another build of it" if not same else "it in pieces of another size"
        raise UsageError(f"{run.folder} holds {what}: delete that folder, or name another", hint=f"ls {run.folder}")


def _check_room(run: _Export, sources: tuple[Source, ...]) -> None:
    if run.options.link:
        return  # what can't be shared after all is met by the disk itself
    total = sum(source.size_bytes for source in sources)
    here = 0
    for source in sources:
        sizes = piece_sizes(source.size_bytes, run.piece_bytes)
        for number, size_bytes in enumerate(sizes, start=1):
            path = run.folder / piece_name(source.listed.path, number, len(sizes))
            there = [each.stat().st_size for each in (path, _unfinished(path)) if each.is_file()]
            here += min(max(there, default=0), size_bytes)
    free = run.options.free_bytes(run.folder)
    if total - here > free:
        raise DoesNotFitError(
            f"{run.folder} needs {format_bytes(total - here)} more, and has {format_bytes(free)} free",
            needs_bytes=total - here,
            has_bytes=free,
            hint="gpt-oss models export --help",
        )


def _write(run: _Export, file: ModelFile, commit: str, sources: tuple[Source, ...]) -> Manifest:
    total = sum(source.size_bytes * (2 if source.sha256 else 3) for source in sources)
    run.progress.start(total, 0, file.name)
    try:
        parts = tuple(_write_part(run, source) for source in sources)
    finally:
        run.progress.finish()
    known = file.model in {"gpt-oss-20b", "gpt-oss-120b"}
    manifest = Manifest(
        schema=SCHEMA,
        kind="gpt-oss-launcher model",
        model=file.model,
        quant=file.quant,
        repo=str(file.repo),
        commit=commit,
        licence=LICENCE if known else None,
        dense_bpw=file.dense_bpw,
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
        parts=parts,
    )
    texts = {MANIFEST: manifest_text(manifest)}
    if known:
        texts[f"LICENCE-{LICENCE}.txt"] = (configs_dir() / "licences" / f"{LICENCE}.txt").read_text(encoding="utf-8")
    hashes = [(piece.sha256, piece.file) for part in parts for piece in part.pieces]
    hashes += [(hashlib.sha256(text.encode()).hexdigest(), name) for name, text in texts.items()]
    for name, text in [(SUMS, sums_text(hashes)), *reversed(texts.items())]:
        _write_text(run.folder / name, text)
    return manifest


def _write_part(run: _Export, source: Source) -> CarriedPart:
    """One part in as many pieces as it takes. Pieces that a wrong content was found in are written once more."""
    whole_source = [Segment(path=source.path, start=0, n_bytes=source.size_bytes)]
    want = source.sha256 or hash_segments(whole_source, run.progress, f"hashing {source.path.name}")
    for is_last in (False, True):
        whole = hashlib.sha256()
        pieces = _write_pieces(run, source, whole)
        if whole.hexdigest() == want:
            return CarriedPart(path=source.listed.path, size_bytes=source.size_bytes, sha256=want, pieces=pieces)
        for piece in pieces:
            (run.folder / piece.file).unlink()
        run.progress.advance(-2 * source.size_bytes)
        if is_last or hash_segments(whole_source, run.progress, f"hashing {source.path.name}") != want:
            break
    raise DamagedFileError(
        f"{source.path.name} is damaged on this disk: its sha256 is not {want[:12]}…; nothing of it was exported",
        path=str(source.path),
        hint="gpt-oss models verify",
    )


def _write_pieces(run: _Export, source: Source, whole: hashlib._Hash) -> tuple[Piece, ...]:
    sizes = piece_sizes(source.size_bytes, run.piece_bytes)
    pieces = []
    start = 0
    for number, size_bytes in enumerate(sizes, start=1):
        name = piece_name(source.listed.path, number, len(sizes))
        segment = Segment(path=source.path, start=start, n_bytes=size_bytes)
        pieces.append(Piece(file=name, size_bytes=size_bytes, sha256=_write_piece(run, segment, name, whole)))
        start += size_bytes
    return tuple(pieces)


def _write_piece(run: _Export, segment: Segment, name: str, whole: hashlib._Hash) -> str:
    """Make one file of the folder be there; its sha256, which is that of what lies there. `whole` is fed with it."""
    path = run.folder / name
    part = _unfinished(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    here = [Segment(path=path, start=0, n_bytes=segment.n_bytes)]
    if path.is_file() and path.stat().st_size == segment.n_bytes:
        run.progress.advance(segment.n_bytes)
        return hash_segments(here, run.progress, f"checking {name}, which is already there", whole)
    if run.options.link and (how := share(segment.path, part)):
        part.replace(path)
        run.notes.append(f"{name} takes no room of its own ({how})")
        run.progress.advance(segment.n_bytes)
        return hash_segments(here, run.progress, f"checking {name}", whole)
    if run.options.link:
        run.notes.append(f"{name} was copied: {run.folder} can't share it with {segment.path.parent}")
    copied = copy_segments([segment], part, run.progress, f"writing {name}", whole, opened=run.options.opened)
    forget_cached(part)
    there = [Segment(path=part, start=0, n_bytes=segment.n_bytes)]
    if hash_segments(there, run.progress, f"reading {name} back") != copied.sha256:
        part.unlink()
        raise DamagedFileError(
            f"{run.folder} does not keep what is written to it: {name} reads back with another sha256; it was deleted",
            path=str(path),
            hint=run.retry,
        )
    part.replace(path)
    return copied.sha256


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + PART_SUFFIX)


def _write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = _unfinished(path)
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


@contextmanager
def _disk_errors(folder: Path, retry: str) -> Iterator[None]:
    """Say what an error of the target's disk means. What was written stays, and is gone on with."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if is_full(error):
            message = f"{folder} is full; what was written is kept, and the same command goes on from there"
        elif error.errno == errno.EFBIG:
            message = f"{folder} can't hold a file this large (FAT32 ends at 4 GiB): write it in pieces"
            raise LauncherError(message, hint=_in_pieces(retry)) from error
        else:
            message = f"can't write {where}: {error.strerror or error}"
        raise LauncherError(message, hint=retry) from error
