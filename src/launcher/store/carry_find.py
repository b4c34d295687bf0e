"""What is imported: the manifests of a folder, or a bare GGUF that is told by its hashes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from launcher.catalogue.types import ModelFile
from launcher.errors import DamagedFileError
from launcher.store.carry import LARGEST_MANIFEST_BYTES, MANIFEST, SCHEMA, CarriedPart, Manifest, Piece, parse_manifest
from launcher.store.carry_copy import Segment, hash_segments
from launcher.store.local import check_parts
from launcher.store.types import ProgressSink

MOST_FOLDERS = 1000
"""Folders of a stick that are looked into for a manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """A manifest, and the folder that its files are in."""

    manifest: Manifest
    folder: Path


def find_carried(path: Path) -> tuple[Carried, ...]:
    """The models in a folder that `export` wrote, or wrote into; or the one of a manifest file.

    Raises:
        DamagedFileError: there is none, or one of the manifests can't be used.
    """
    if path.name == MANIFEST and path.is_file():
        return (_read(path),)
    try:
        if (path / MANIFEST).is_file():
            return (_read(path / MANIFEST),)
        folders = sorted(path.iterdir())[:MOST_FOLDERS]
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise DamagedFileError(f"{path} can't be read: {reason}", path=str(path), hint="gpt-oss models") from error
    found = tuple(_read(folder / MANIFEST) for folder in folders if (folder / MANIFEST).is_file())
    if not found:
        raise DamagedFileError(
            f"no exported model is in {path}: neither it nor a folder in it has a {MANIFEST}",
            path=str(path),
            hint="gpt-oss models export --help",
        )
    return found


def _read(path: Path) -> Carried:
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_MANIFEST_BYTES + 1)
    except OSError as error:
        raise DamagedFileError(f"{path} can't be read: {error.strerror or error}", path=str(path)) from error
    if len(data) > LARGEST_MANIFEST_BYTES:
        raise DamagedFileError("this manifest is larger than any can be", path=str(path))
    return Carried(manifest=parse_manifest(data, str(path)), folder=path.parent)


def carried_file(path: Path, known: Iterable[ModelFile], progress: ProgressSink) -> Carried:
    """A bare GGUF (all its parts, if it is split) as if it had a manifest: told by its hash from the files known.

    Raises:
        DamagedFileError: it can't be read, or nothing known has these hashes.
    """
    paths = check_parts(path)
    sizes = [each.stat().st_size for each in paths]
    progress.start(sum(sizes), 0, path.name)
    try:
        hashes = [
            hash_segments([Segment(path=each, start=0, n_bytes=size)], progress, f"hashing {each.name}")
            for each, size in zip(paths, sizes, strict=True)
        ]
    finally:
        progress.finish()
    for file in known:
        if file.repo and file.revision and [part.sha256 for part in file.parts] == hashes:
            break
    else:
        raise DamagedFileError(
            f"no file that the catalogue knows has the sha256 of {path.name}, {hashes[0][:12]}…: it can be used "
            "where it is",
            path=str(path),
            hint=f"gpt-oss plan --model {shlex.quote(str(path))}",
        )
    parts = (
        CarriedPart(
            path=part.path,
            size_bytes=size,
            sha256=sha256,
            pieces=(Piece(file=each.name, size_bytes=size, sha256=sha256),),
        )
        for part, each, size, sha256 in zip(file.parts, paths, sizes, hashes, strict=True)
    )
    manifest = Manifest(
        schema=SCHEMA,
        kind="gpt-oss-launcher model",
        model=file.model,
        quant=file.quant,
        repo=file.repo,
        commit=file.revision,
        licence=None,
        dense_bpw=file.dense_bpw,
        exported_at="",
        parts=tuple(parts),
    )
    return Carried(manifest=manifest, folder=paths[0].parent)
