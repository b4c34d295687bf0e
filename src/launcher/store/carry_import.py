"""Take a model that was carried here into the hub's cache, under its repository and commit, every hash verified."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from launcher.catalogue.types import ModelFile
from launcher.errors import DamagedFileError
from launcher.store.cache import IMPORT_SUFFIX, RepoCache, is_sha256, link_pointer, write_ref
from launcher.store.carry import MANIFEST, CarriedPart
from launcher.store.carry_copy import Segment, check_regular, copy_segments, hash_segments, open_part
from launcher.store.carry_find import Carried
from launcher.store.disk import disk_errors, free_bytes, locked, no_room
from launcher.store.types import LocalModel, NullProgress, ProgressSink


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """What an import touches outside this program; tests put fakes here."""

    free_bytes: Callable[[Path], int] = free_bytes
    opened: Callable[[Path], BinaryIO] = open_part


@dataclass(frozen=True, kw_only=True, slots=True)
class _Import:
    carried: Carried
    cache: RepoCache
    options: ImportOptions
    progress: ProgressSink

    @property
    def retry(self) -> str:
        return f"gpt-oss models import {shlex.quote(str(self.carried.folder))}"


def import_model(
    carried: Carried,
    *,
    cache_dir: Path,
    known: Iterable[ModelFile] = (),
    options: ImportOptions | None = None,
    progress: ProgressSink | None = None,
) -> LocalModel:
    """Bring a carried model into the hub's cache. An interrupted call is gone on with by the next.

    A file gets its final name there only when its sha256 is the manifest's; `known` files of the same commit must have
    the same hashes, so that a manifest can't pass another content off as theirs.

    Raises:
        DamagedFileError: a file of the folder is missing, of another size or hash, or not what is known of it.
        DoesNotFitError: no room.
        LauncherError: the cache can't be written.
    """
    manifest = carried.manifest
    cache = RepoCache(cache_dir=cache_dir, repo=manifest.repo)
    run = _Import(carried=carried, cache=cache, options=options or ImportOptions(), progress=progress or NullProgress())
    confirmed = _check_known(run, known)
    with disk_errors(
        _name(run),
        run.cache.cache_dir,
        missing_bytes=lambda: run.carried.manifest.size_bytes,
        free_bytes=run.options.free_bytes,
        retry=run.retry,
    ):
        for part in manifest.parts:
            _check_pointer(run, part)
        missing = [part for part in manifest.parts if not _is_here(run, part)]
        for part in missing:
            for piece in part.pieces:
                check_regular(carried.folder / piece.file, piece.size_bytes, hint=run.retry)
        _check_room(run, missing)
        verified: list[Path] = []
        run.progress.start(manifest.size_bytes, 0, f"{manifest.repo}:{manifest.quant}")
        try:
            paths = tuple(_take(run, part, verified) for part in manifest.parts)
        finally:
            run.progress.finish()
        if cache.read_ref("main") is None:
            write_ref(cache.ref("main"), manifest.commit)
    notes = () if confirmed else ("its hashes are those of the manifest: this launcher's catalogue has no such build",)
    return LocalModel(paths=paths, notes=notes, verified=tuple(verified))


def _check_known(run: _Import, known: Iterable[ModelFile]) -> bool:
    """Whether all hashes are those of the catalogue. Raises where one is another's."""
    manifest = run.carried.manifest
    hashes = {
        part.path: part.sha256
        for file in known
        if file.repo == manifest.repo and file.revision == manifest.commit
        for part in file.parts
        if part.sha256 is not None
    }
    for part in manifest.parts:
        if hashes.get(part.path, part.sha256) != part.sha256:
            raise DamagedFileError(
                f"{part.path} of {manifest.repo} at {manifest.commit[:7]} has the sha256 {hashes[part.path][:12]}…, "
                f"not {part.sha256[:12]}… as this manifest says",
                path=str(run.carried.folder / MANIFEST),
                hint="gpt-oss models export --help",
            )
    return all(part.path in hashes for part in manifest.parts)


def _check_pointer(run: _Import, part: CarriedPart) -> None:
    """Refuse to put another content under a name of a commit that is here already."""
    pointer = run.cache.pointer(run.carried.manifest.commit, part.path)
    with suppress(OSError):
        name = pointer.readlink().name
        if is_sha256(name) and name != part.sha256:
            raise DamagedFileError(
                f"the cache holds another {part.path} of {run.cache.repo} at this commit: the manifest is wrong",
                path=str(run.carried.folder / MANIFEST),
                hint="gpt-oss models",
            )


def _is_here(run: _Import, part: CarriedPart) -> bool:
    pointer = run.cache.pointer(run.carried.manifest.commit, part.path)
    for path in (run.cache.blob(part.sha256), pointer):
        with suppress(OSError):
            if path.stat().st_size == part.size_bytes:
                return True
    return False


def _unfinished(run: _Import, part: CarriedPart) -> Path:
    """Beside the one of a download, which may have come from several places at once, and is not a beginning."""
    return run.cache.blob(part.sha256 + IMPORT_SUFFIX)


def _check_room(run: _Import, missing: list[CarriedPart]) -> None:
    here = 0
    for part in missing:
        with suppress(OSError):
            here += min(_unfinished(run, part).stat().st_size, part.size_bytes)
    needed = sum(part.size_bytes for part in missing) - here
    folder = run.cache.cache_dir
    if (free := run.options.free_bytes(folder)) < needed:
        raise no_room(_name(run), folder, missing_bytes=needed, free=free, retry=run.retry)


def _name(run: _Import) -> str:
    return f"{run.cache.repo}:{run.carried.manifest.quant}"


def _take(run: _Import, part: CarriedPart, verified: list[Path]) -> Path:
    """One part, under huggingface_hub's own lock of it; noted as verified where it was read to its end."""
    pointer = run.cache.pointer(run.carried.manifest.commit, part.path)
    blob = run.cache.blob(part.sha256)
    with locked(run.cache.lock(part.sha256), lambda: run.progress.phase(f"another process has {part.path}: waiting")):
        if _is_here(run, part):
            run.progress.advance(part.size_bytes)
        else:
            _copy(run, part)
            _unfinished(run, part).replace(blob)
            verified.append(pointer)
        if blob.exists():
            link_pointer(blob, pointer)
    return pointer


def _copy(run: _Import, part: CarriedPart) -> None:
    """Copy and verify. Where the beginning that was left here is what was wrong, once more from the start."""
    unfinished = _unfinished(run, part)
    segments = [
        Segment(path=run.carried.folder / piece.file, start=0, n_bytes=piece.size_bytes) for piece in part.pieces
    ]
    for is_last in (False, True):
        copied = copy_segments(segments, unfinished, run.progress, f"copying {part.path}", opened=run.options.opened)
        if copied.sha256 == part.sha256:
            return
        unfinished.unlink()
        run.progress.advance(-part.size_bytes)
        for piece, segment in zip(part.pieces, segments, strict=True):
            # Of a single piece that was read from its beginning the hash is known by now.
            alone = len(segments) == 1 and not copied.resumed_bytes
            got = copied.sha256 if alone else hash_segments([segment], NullProgress(), f"hashing {piece.file}")
            if got != piece.sha256:
                raise DamagedFileError(
                    f"{piece.file} is damaged: its sha256 is {got[:12]}…, the manifest's {piece.sha256[:12]}…; nothing "
                    "of it was kept",
                    path=str(segment.path),
                    hint=run.retry,
                )
        if is_last or not copied.resumed_bytes:
            break
    raise DamagedFileError(
        f"{part.path} is not what its pieces should make: its sha256 is {copied.sha256[:12]}…, the manifest's "
        f"{part.sha256[:12]}…",
        path=str(run.carried.folder / MANIFEST),
        hint="gpt-oss models export --help",
    )
