"""What in the hub's cache can go without a loss: what is not finished, what nothing shows, what was replaced."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from launcher.errors import UsageError
from launcher.store.cache import PART_SUFFIX, RepoCache, is_commit
from launcher.store.removal import DAMAGED_SUFFIX, Doomed, doomed_model
from launcher.store.small import read_small

_UNFINISHED = (PART_SUFFIX, ".incomplete", DAMAGED_SUFFIX)


def prunable(cache_dir: Path, repos: Iterable[str]) -> tuple[Doomed, ...]:
    """What can go, repository by repository. Of other repositories nothing is touched: they are other tools'."""
    found: list[Doomed] = []
    for repo in sorted(set(repos)):
        try:
            cache = RepoCache(cache_dir=cache_dir, repo=repo)
        except UsageError:
            continue
        old = tuple(_older_revisions(cache))
        found += [*_unfinished(cache), *old, *_unshown(cache, {blob for doomed in old for blob in doomed.blobs})]
    return tuple(doomed for doomed in found if doomed.pointers or doomed.blobs)


def _unfinished(cache: RepoCache) -> Iterator[Doomed]:
    for path in _blobs(cache):
        if path.name.endswith(_UNFINISHED):
            beside = [other for other in _blobs(cache) if other.name.startswith(f"{path.name}.")]
            what = "damaged file" if path.name.endswith(DAMAGED_SUFFIX) else "unfinished download"
            yield Doomed(repo=cache.repo, what=what, pointers=(), blobs=(path, *beside))


def _older_revisions(cache: RepoCache) -> Iterator[Doomed]:
    """Snapshots that no branch or tag names, where the ones that are kept have every model that they have.

    An older build that is the only one of its name stays: it may be all that this disk has of the model.
    """
    snapshots = list(cache.snapshots())
    named = set(_named_commits(cache.folder / "refs"))
    kept = [snapshot for snapshot in snapshots if snapshot.name in named] or snapshots[:1]
    models = {
        _inner(pointer, snapshot).lower() for snapshot in kept for pointer in _files(snapshot) if _is_here(pointer)
    }
    for snapshot in snapshots:
        if snapshot in kept:
            continue
        pointers = list(_files(snapshot))
        ggufs = [pointer for pointer in pointers if pointer.suffix.lower() == ".gguf" and _is_here(pointer)]
        if all(_inner(pointer, snapshot).lower() in models for pointer in ggufs):
            what = f"older revision {snapshot.name[:8]}"
            yield doomed_model(cache, pointers, what=what, everywhere=False)


def _unshown(cache: RepoCache, already: set[Path]) -> Iterator[Doomed]:
    """Whole contents that no snapshot shows: a removal or a download that was killed at its very end."""
    shown = {os.path.realpath(pointer) for snapshot in cache.snapshots() for pointer in _files(snapshot)}
    for blob in _blobs(cache):
        if "." not in blob.name and blob not in already and os.path.realpath(blob) not in shown:
            yield Doomed(repo=cache.repo, what="content that no revision shows", pointers=(), blobs=(blob,))


def _named_commits(refs: Path) -> Iterator[str]:
    for path in refs.rglob("*"):
        try:
            text = read_small(path).decode().strip()
        except (OSError, ValueError):
            continue
        if is_commit(text):
            yield text


def _files(snapshot: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(snapshot):
        yield from (Path(folder) / name for name in sorted(names))


def _inner(pointer: Path, snapshot: Path) -> str:
    return pointer.relative_to(snapshot).as_posix()


def _is_here(pointer: Path) -> bool:
    try:
        return pointer.stat().st_size > 0
    except OSError:
        return False


def _blobs(cache: RepoCache) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(cache.folder / "blobs"))
    except OSError:
        return []
