"""A model as it is carried to a machine without a network: a folder with a manifest, hashes and the licence. Pure.

    <folder>/manifest.json                 what it is, where it is from, and of which files it is made
    <folder>/SHA256SUMS                    of every other file, as `sha256sum -c` reads it
    <folder>/LICENCE-Apache-2.0.txt        where the licence is known
    <folder>/<path in the repository>      a part, whole; or in pieces:
    <folder>/<path>.piece-001-of-003       which `cat` joins as well

A manifest comes from a stick that anybody may have written to: nothing in it is believed before it was checked here,
and no content before its hash was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import DamagedFileError, UsageError
from launcher.records import RecordError, from_jsonable, to_jsonable
from launcher.store.cache import RepoCache, is_commit, is_sha256

SCHEMA = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
LARGEST_MANIFEST_BYTES = 4 * 1024**2
"""A manifest of a hundred parts in pieces of 1 GB takes 200 kB."""
LARGEST_PART_BYTES = 2**50
"""A thousand times the largest model file there is."""
MOST_FILES = 10_000
_AGAIN = "gpt-oss models export --help"


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One file of the folder: a part, or a stretch of one."""

    file: str
    """Its path in the folder, with forward slashes."""
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CarriedPart:
    """One file of the repository."""

    path: str
    """In the repository."""
    size_bytes: int
    sha256: str
    pieces: tuple[Piece, ...]
    """In order; a single one is the part itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What the folder holds: the model's catalogue entry, its hashes, and the files that they lie in."""

    schema: int
    kind: Literal["gpt-oss-launcher model"]
    model: str
    quant: str
    repo: str
    commit: str
    licence: str | None
    """SPDX name; None where it is not known."""
    dense_bpw: float | None
    exported_at: str
    """ISO time with zone."""
    parts: tuple[CarriedPart, ...]

    @property
    def size_bytes(self) -> int:
        """Of all parts."""
        return sum(part.size_bytes for part in self.parts)

    def model_file(self) -> ModelFile:
        """The catalogue entry, as a listing of the hub at that commit gives it."""
        parts = (FilePart(path=part.path, size_bytes=part.size_bytes, sha256=part.sha256) for part in self.parts)
        return ModelFile(
            model=self.model,
            quant=self.quant,
            repo=self.repo,
            revision=self.commit,
            parts=tuple(parts),
            dense_bpw=self.dense_bpw,
        )


def folder_name(repo: str, quant: str) -> str:
    """Folder of one model beside others: `ggml-org--gpt-oss-20b-GGUF--MXFP4`."""
    return f"{repo.replace('/', '--')}--{quant}"


def piece_sizes(size_bytes: int, piece_bytes: int | None) -> tuple[int, ...]:
    """How a part is cut: all pieces of `piece_bytes` but the last; None leaves it whole."""
    if piece_bytes is None or size_bytes <= piece_bytes:
        return (size_bytes,)
    whole, rest = divmod(size_bytes, piece_bytes)
    return (*[piece_bytes] * whole, *([rest] if rest else []))


def piece_name(path: str, number: int, count: int) -> str:
    """Of a part's n-th piece (from 1): the part's own path where it is the only one."""
    return path if count == 1 else f"{path}.piece-{number:03d}-of-{count:03d}"


def manifest_text(manifest: Manifest) -> str:
    """The manifest file."""
    return json.dumps(to_jsonable(manifest), indent=2, ensure_ascii=False) + "\n"


def sums_text(hashes: Sequence[tuple[str, str]]) -> str:
    """SHA256SUMS from pairs of hash and path: two blanks between them, as for text, which works on every system."""
    return "".join(f"{sha256}  {path}\n" for sha256, path in hashes)


def parse_manifest(data: bytes, path: str) -> Manifest:
    """Read a manifest and check everything in it.

    Raises:
        DamagedFileError: it is none, of a later launcher, or says something that could not be or would leave its
            folder or the cache. `path` names it.
    """
    try:
        raw: Any = json.loads(data)
        if isinstance(raw, dict) and isinstance(raw.get("schema"), int) and raw["schema"] > SCHEMA:
            raise RecordError(f"schema {raw['schema']} is of a later launcher: this one reads {SCHEMA}")
        manifest = from_jsonable(Manifest, raw)
        _check(manifest)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedFileError("this manifest cannot be used: it is no JSON", path=path, hint=_AGAIN) from error
    except ValueError as error:  # a RecordError, or a number that Python does not read
        raise DamagedFileError(f"this manifest cannot be used: {error}", path=path, hint=_AGAIN) from error
    except UsageError as error:
        raise DamagedFileError(f"this manifest cannot be used: {error.message}", path=path, hint=_AGAIN) from error
    return manifest


def _check(manifest: Manifest) -> None:
    if manifest.schema != SCHEMA:
        raise RecordError(f"schema: expected {SCHEMA}, found {manifest.schema}")
    if not is_commit(manifest.commit):
        raise RecordError(f"commit: {manifest.commit!r} is none")
    for name, text in (("model", manifest.model), ("quant", manifest.quant)):
        if not text or len(text) > 200 or not text.isprintable():
            raise RecordError(f"{name}: not a name: {text!r:.80}")
    if not 0 < len(manifest.parts) <= MOST_FILES:
        raise RecordError(f"parts: {len(manifest.parts):,} of them")
    # Files on the other systems' disks do not tell case.
    if len({part.path.lower() for part in manifest.parts}) != len(manifest.parts):
        raise RecordError("parts: one path twice")
    if sum(len(part.pieces) for part in manifest.parts) > MOST_FILES:
        raise RecordError(f"parts: more than {MOST_FILES:,} pieces")
    # No folder is touched: its checks of names are asked.
    cache = RepoCache(cache_dir=Path(), repo=manifest.repo)
    for part in manifest.parts:
        cache.pointer(manifest.commit, part.path)
        _check_part(part)


def _check_part(part: CarriedPart) -> None:
    if not part.path.isprintable() or not part.path.lower().endswith(".gguf"):
        raise RecordError(f"path: not the name of a GGUF: {part.path!r:.80}")
    for name, sha256, size_bytes in [(part.path, part.sha256, part.size_bytes)] + [
        (piece.file, piece.sha256, piece.size_bytes) for piece in part.pieces
    ]:
        if not is_sha256(sha256):
            raise RecordError(f"{name!r:.80}: {sha256!r:.80} is no sha256 in lower-case hex")
        if not 0 < size_bytes <= LARGEST_PART_BYTES:
            raise RecordError(f"{name!r:.80}: a size of {size_bytes:.6g} bytes")
    for piece in part.pieces:
        check_inside(piece.file)
    if sum(piece.size_bytes for piece in part.pieces) != part.size_bytes:
        raise RecordError(f"{part.path!r:.80}: its pieces do not add up to its size")
    if len(part.pieces) == 1 and part.pieces[0].sha256 != part.sha256:
        raise RecordError(f"{part.path!r:.80}: its only piece has another hash")


def check_inside(file: str) -> None:
    """Raise RecordError unless `file` is a relative path that stays in its folder, whatever the system."""
    pure = PurePosixPath(file)
    unsafe = pure.is_absolute() or not pure.parts or ".." in pure.parts or "\\" in file or ":" in file
    if unsafe or not file.isprintable():
        raise RecordError(f"file: {file!r:.80} leaves the folder")
