"""Files of the hub that are known without asking it, and what of the launcher's cache nobody needs any more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.catalogue.cache import CachedListing, header_key
from launcher.catalogue.classify import classify
from launcher.catalogue.shipped import Shipped
from launcher.catalogue.types import ModelFile
from launcher.records import from_jsonable


def known_files(cache_dir: Path, shipped: Shipped, endpoint: str) -> tuple[ModelFile, ...]:
    """The files of every repository that a listing is kept of, however old, and of the others those that shipped."""
    listings = {listing.repo: listing for listing in _kept(cache_dir) if listing.endpoint == endpoint and listing.files}
    files: list[ModelFile] = []
    for repo in dict.fromkeys([known.repo for known in shipped.repos] + sorted(listings)):
        files += _classified(listings[repo], shipped) if repo in listings else shipped.model_files(repo)
    return tuple(files)


def _kept(cache_dir: Path) -> Iterator[CachedListing]:
    for path in sorted((cache_dir / "listings").glob("*.json")):
        try:
            yield from_jsonable(CachedListing, json.loads(path.read_bytes()))
        except (OSError, ValueError, RecursionError):
            continue


def _classified(listing: CachedListing, shipped: Shipped) -> tuple[ModelFile, ...]:
    releases_only = shipped.model_of(listing.repo) is not None
    return classify(listing.files, repo=listing.repo, revision=listing.commit, releases_only=releases_only).files


@dataclass(frozen=True, kw_only=True, slots=True)
class StaleFile:
    """A file of the launcher's own cache that can go."""

    path: Path
    what: str
    size_bytes: int


def stale_files(cache_dir: Path, shipped: Shipped, local_keys: Iterable[str]) -> tuple[StaleFile, ...]:
    """Headers of files that no listing names and that are not on this disk, and hashes of files that are gone.

    Args:
        cache_dir: the launcher's cache folder.
        shipped: the catalogue that shipped.
        local_keys: what the headers of models on this disk are kept under.
    """
    listed = [file for listing in _kept(cache_dir) for file in _classified(listing, shipped)]
    listed += [file for known in shipped.repos for file in shipped.model_files(known.repo)]
    needed = {key for file in listed if (key := header_key(file)) is not None} | set(local_keys)
    return (*_unneeded(cache_dir, needed), *_hashes_of_nothing(cache_dir / "hashes"))


def _unneeded(cache_dir: Path, needed: set[str]) -> Iterator[StaleFile]:
    for path in sorted((cache_dir / "headers").glob("*.json")):
        if path.stem not in needed:
            yield StaleFile(path=path, what="header", size_bytes=path.stat().st_size)
    for path in sorted((cache_dir / "skeletons").glob("*/*")):
        if path.parent.name not in needed and path.is_file():
            # Skeletons are as long as the model and take what its header takes.
            found = path.stat()
            yield StaleFile(path=path, what="header", size_bytes=getattr(found, "st_blocks", 0) * 512)


def _hashes_of_nothing(folder: Path) -> Iterator[StaleFile]:
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_bytes())
            gone = not Path(record["path"]).exists()
        except (OSError, ValueError, RecursionError, TypeError, KeyError):
            gone = True
        if gone:
            yield StaleFile(path=path, what="hash of a file that is gone", size_bytes=path.stat().st_size)
