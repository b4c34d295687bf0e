"""Small JSON files in the launcher's cache folder: written whole or not at all, ignored where damaged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from launcher.catalogue.ggml_types import tensor_bytes
from launcher.catalogue.gguf import TensorInfo
from launcher.catalogue.types import FilePart, ModelFile, ModelSpec
from launcher.records import RecordError, from_jsonable, to_jsonable
from launcher.store.small import read_small, write_json

SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedListing:
    """The GGUFs of one repository at one time."""

    schema: int
    endpoint: str
    repo: str
    commit: str
    fetched_at: str
    """ISO time with zone."""
    files: tuple[FilePart, ...]
    refused: str | None = None
    """What the hub said when it was asked again and would not list it; `files` are then of an earlier time, or none."""
    refused_at: str | None = None

    def refusal(self, now: datetime, *, younger_than_s: float) -> str | None:
        """What the hub said, if it refused that lately."""
        if self.refused_at is None:
            return None
        age_s = replace(self, fetched_at=self.refused_at).age_s(now)
        return self.refused if age_s is not None and age_s < younger_than_s else None

    def age_s(self, now: datetime) -> float | None:
        """Seconds since it was fetched; None where the time cannot be read or lies in the future."""
        try:
            age = (now - datetime.fromisoformat(self.fetched_at)).total_seconds()
        except (ValueError, TypeError):
            return None
        return age if age >= 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorTable:
    """What is kept of a header: hyperparameters, and each tensor's name, shape and type."""

    spec: ModelSpec
    tensors: tuple[TensorInfo, ...]


def read_listing(cache_dir: Path, endpoint: str, repo: str) -> CachedListing | None:
    """The listing kept of a repository, however old; None where there is none that can be read."""
    try:
        listing = from_jsonable(CachedListing, _read(_listing_path(cache_dir, endpoint, repo)))
    except (OSError, ValueError):
        return None
    same = listing.schema == SCHEMA and listing.endpoint == endpoint and listing.repo == repo
    return listing if same else None


def write_listing(cache_dir: Path, listing: CachedListing) -> None:
    """Keep a listing. A cache that cannot be written costs a request next time, so failures are let be."""
    _write(_listing_path(cache_dir, listing.endpoint, listing.repo), to_jsonable(listing))


def header_key(file: ModelFile) -> str | None:
    """What a file's header is kept under: its hashes, else commit and paths; None where neither pins the content."""
    hashes = [part.sha256 for part in file.parts]
    if all(hashes):
        return _digest("sha256", *(text for text in hashes if text))
    if file.repo and file.revision:
        return _digest("commit", file.repo, file.revision, *(part.path for part in file.parts))
    return None


def table_key(file: ModelFile) -> str | None:
    """`header_key`; of a file in another application's folder, by the file on disk instead of by its listing.

    What is only taken to be the listed file must never stand for it in the cache.
    """
    if file.found_in is None or file.local_path is None:
        return header_key(file)
    from launcher.store.local import part_paths

    return local_key(part_paths(file.local_path, len(file.parts)))


def local_key(paths: Sequence[Path]) -> str | None:
    """What the header of files on this disk is kept under: paths, sizes and times; None if one is gone."""
    try:
        texts = [
            f"{os.path.realpath(path)} {found.st_size} {found.st_mtime_ns}" for path in paths for found in [path.stat()]
        ]
    except OSError:
        return None
    return _digest("local", *texts)


def read_table(cache_dir: Path, key: str) -> TensorTable | None:
    """A header kept earlier; None where there is none that can be read."""
    try:
        data = _read(cache_dir / "headers" / f"{key}.json")
        if data["schema"] != SCHEMA:
            return None
        tensors = []
        for name, shape, type_name in data["tensors"]:
            shape_read = tuple(map(int, shape))
            tensors.append(TensorInfo(str(name), shape_read, str(type_name), 0, tensor_bytes(type_name, shape_read)))
        return TensorTable(spec=from_jsonable(ModelSpec, data["spec"]), tensors=tuple(tensors))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_table(cache_dir: Path, key: str, table: TensorTable) -> None:
    """Keep a header. Failures are let be, as for listings."""
    tensors = [[tensor.name, list(tensor.shape), tensor.type] for tensor in table.tensors]
    data = {"schema": SCHEMA, "spec": to_jsonable(table.spec), "tensors": tensors}
    _write(cache_dir / "headers" / f"{key}.json", data)


def _listing_path(cache_dir: Path, endpoint: str, repo: str) -> Path:
    return cache_dir / "listings" / f"{_digest('listing', endpoint, repo)}.json"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:40]


def _read(path: Path) -> Any:
    try:
        return json.loads(read_small(path))
    except RecursionError as error:  # nested a thousand deep: not ours
        raise RecordError(str(error)) from error


def _write(path: Path, data: Any) -> None:
    with suppress(OSError):
        write_json(path, data)
