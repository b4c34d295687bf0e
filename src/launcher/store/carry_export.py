"""Write a model that is on this disk into a folder to be carried away: whole, verified, resumed where it stopped."""

from __future__ import annotations

import errno
import hashlib
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from launcher.catalogue.types import ModelFile
from launcher.configs import configs_dir
from launcher.errors import DoesNotFitError, LauncherError, UsageError
from launcher.store.carry import (
    LARGEST_MANIFEST_BYTES,
    MANIFEST,
    SCHEMA,
    SUMS,
    Manifest,
    folder_name,
    manifest_text,
    parse_manifest,
    piece_name,
    piece_sizes,
    sums_text,
)
from launcher.store.carry_copy import open_part
from launcher.store.carry_source import Source, commit_of, sources_of
from launcher.store.carry_write import Target, unfinished_path, write_part, write_text
from launcher.store.disk import free_bytes, is_full, locked
from launcher.store.disk_facts import fat_limit_bytes
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
    largest_file_bytes: Callable[[Path], int | None] = fat_limit_bytes
    opened: Callable[[Path], BinaryIO] = open_part


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written, and where."""

    folder: Path
    manifest: Manifest
    notes: tuple[str, ...]


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
    retry = f"gpt-oss models export {shlex.quote(str(into))} --model {file.name}"
    commit = commit_of(file, cache_dir)
    sources = sources_of(file)
    again = retry + _as_typed(options)
    with _disk_errors(folder, sources, options, retry=retry, again=again):
        folder.mkdir(parents=True, exist_ok=True)
        target = Target(
            folder=folder,
            piece_bytes=_piece_bytes(folder, options, sources, retry),
            link=options.link,
            opened=options.opened,
            progress=progress,
            retry=again,
        )
        _check_other(target, file, commit)
        if not options.link:  # what can't be shared after all is met by the disk itself
            _check_room(target, sources, options.free_bytes(folder))
        with locked(folder / ".gpt-oss.lock", lambda: progress.phase("another process is exporting it: waiting")):
            try:
                manifest = _write(target, file, commit, sources)
            finally:
                (folder / ".gpt-oss.lock").unlink(missing_ok=True)
    return Exported(folder=folder, manifest=manifest, notes=tuple(target.notes))


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


def _check_other(target: Target, file: ModelFile, commit: str) -> None:
    """Refuse a folder that holds another build of the model, or the same in other pieces."""
    path = target.folder / MANIFEST
    if not path.exists():
        return
    with path.open("rb") as stream:
        there = parse_manifest(stream.read(LARGEST_MANIFEST_BYTES), str(path))
    cut = [[piece.size_bytes for piece in part.pieces] for part in there.parts]
    wanted = [list(piece_sizes(part.size_bytes, target.piece_bytes)) for part in there.parts]
    same = there.commit == commit and [part.path for part in there.parts] == [part.path for part in file.parts]
    if not same or cut != wanted:
        what = "another build of it" if not same else "it in pieces of another size"
        raise UsageError(
            f"{target.folder} holds {what}: delete that folder, or name another",
            hint=f"ls {shlex.quote(str(target.folder))}",
        )


def _check_room(target: Target, sources: tuple[Source, ...], free: int) -> None:
    total = sum(source.size_bytes for source in sources)
    here = 0
    for source in sources:
        sizes = piece_sizes(source.size_bytes, target.piece_bytes)
        for number, size_bytes in enumerate(sizes, start=1):
            path = target.folder / piece_name(source.listed.path, number, len(sizes))
            there = [each.stat().st_size for each in (path, unfinished_path(path)) if each.is_file()]
            here += min(max(there, default=0), size_bytes)
    if total - here > free:
        raise DoesNotFitError(
            f"{target.folder} needs {format_bytes(total - here)} more, and has {format_bytes(free)} free",
            needs_bytes=total - here,
            has_bytes=free,
            hint="gpt-oss models export --help",
        )


def _write(target: Target, file: ModelFile, commit: str, sources: tuple[Source, ...]) -> Manifest:
    total = sum(source.size_bytes * (2 if source.sha256 else 3) for source in sources)
    target.progress.start(total, 0, file.name)
    try:
        parts = tuple(write_part(target, source) for source in sources)
    finally:
        target.progress.finish()
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
        write_text(target.folder / name, text)
    return manifest


def _as_typed(options: ExportOptions) -> str:
    pieces = "" if options.piece_bytes is None else f" --piece-size {options.piece_bytes}"
    return f"{pieces}{' --link' if options.link else ''}"


@contextmanager
def _disk_errors(
    folder: Path, sources: tuple[Source, ...], options: ExportOptions, *, retry: str, again: str
) -> Iterator[None]:
    """Say what an error of the target's disk means. What was written stays, and is gone on with."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if is_full(error):
            raise DoesNotFitError(
                f"{folder} is full; what was written is kept, and the same command goes on from there",
                needs_bytes=sum(source.size_bytes for source in sources),
                has_bytes=options.free_bytes(folder),
                hint=again,
            ) from error
        if error.errno == errno.EFBIG:
            message = f"{folder} can't hold a file this large (FAT32 ends at 4 GiB): write it in pieces"
            raise LauncherError(message, hint=_in_pieces(retry)) from error
        raise LauncherError(f"can't write {where}: {error.strerror or error}", hint=again) from error
