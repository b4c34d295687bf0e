"""What is exported: the parts of a model on this disk, and the commit that they are of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import DamagedFileError, UsageError
from launcher.store.cache import RepoCache, is_commit, is_sha256
from launcher.store.local import check_parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One part on this disk."""

    path: Path
    listed: FilePart
    size_bytes: int
    sha256: str | None
    """That it must have; None where nobody has said."""


def commit_of(file: ModelFile, cache_dir: Path) -> str:
    """The commit of the listing, else of the snapshot that the file lies in. Raises UsageError without either."""
    if is_commit(file.revision):
        return str(file.revision)
    snapshots = RepoCache(cache_dir=cache_dir, repo=str(file.repo)).folder / "snapshots"
    path = file.local_path or Path()
    if path.is_relative_to(snapshots) and is_commit(name := path.relative_to(snapshots).parts[0]):
        return name
    raise UsageError(
        f"of {file.name} it is not known at which commit it was: list its repository once, with a network",
        hint=f"gpt-oss plan --refresh --model {file.name}",
    )


def sources_of(file: ModelFile) -> tuple[Source, ...]:
    """All parts of a model that is here, with their sizes and the hashes that they must have.

    Raises:
        DamagedFileError: a part is missing, or has another size than the catalogue says.
    """
    paths = check_parts(file.local_path or Path())
    if len(paths) != len(file.parts):
        raise DamagedFileError(f"{file.name} has {len(file.parts)} parts, {len(paths)} are here", path=str(paths[0]))
    found = []
    for path, listed in zip(paths, file.parts, strict=True):
        size_bytes = path.stat().st_size
        if listed.size_bytes not in {None, size_bytes}:
            raise DamagedFileError(
                f"{path.name} has {size_bytes:,} bytes, the catalogue says {listed.size_bytes:,}",
                path=str(path),
                hint=f"gpt-oss pull {file.name}",
            )
        # A blob of the hub's cache is named by its hash.
        name = path.readlink().name if path.is_symlink() else ""
        sha256 = listed.sha256 or (name if is_sha256(name) else None)
        found.append(Source(path=path, listed=listed, size_bytes=size_bytes, sha256=sha256))
    return tuple(found)
