"""The files of one repository or of all: from the hub, a listing of today, the shipped catalogue, or this disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from launcher.catalogue.cache import SCHEMA, CachedListing, read_listing, write_listing
from launcher.catalogue.classify import ListedFile, classify
from launcher.catalogue.inventory import Inventory
from launcher.catalogue.request import AnyRelease, FromRepo
from launcher.catalogue.shipped import Shipped
from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import NetworkError, UsageError

LISTING_FRESH_S = 24 * 3600
"""Repositories of released models change a few times a year; a day bounds what a person can be behind."""


class Listing(Protocol):
    """A repository as the hub lists it."""

    @property
    def repo(self) -> str:
        """`owner/name`."""
        ...

    @property
    def commit(self) -> str:
        """That the listing is true of."""
        ...

    @property
    def files(self) -> Sequence[ListedFile]:
        """All files."""
        ...


ListRepo = Callable[[str], Listing]
Source = Literal["hub", "cache", "shipped", "disk"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The files that were asked for, and where what is known of them is from."""

    files: tuple[ModelFile, ...]
    source: Source
    as_of: str
    notes: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """What the hub said, by repository, where it would not list one and its files are from elsewhere."""


_REFUSED = frozenset({401, 403, 404, 410})
"""Answers about one repository, as against a hub that is failing (5xx) or busy (429)."""


@dataclass(kw_only=True, slots=True)
class Sources:
    """Lists repositories from the hub, the cache or the shipped catalogue; remembers a hub that is out of reach."""

    shipped: Shipped
    offline: bool
    refresh: bool
    cache_dir: Path
    endpoint: str
    list_repo: ListRepo
    now: datetime
    tell: Callable[[str], None]
    here: Inventory | None = None
    unreachable: NetworkError | None = None
    refused_now: dict[str, str] = field(default_factory=dict)

    def releases(self, request: AnyRelease) -> Found:
        """The files of all listed repositories, of one release or both."""
        repos = [known.repo for known in self.shipped.repos if request.model in (None, known.model)]
        found = [self.listing(repo) for repo in repos]
        if not all(part.refused for part in found):
            # A hub that knows others refuses these for a day to come: a mirror is not asked again for each plan.
            for repo, said in self.refused_now.items():
                self._keep_refusal(repo, said)
        sources = {part.source for part in found}
        source: Source = "hub" if "hub" in sources else "cache" if "cache" in sources else "shipped"
        notes = tuple(dict.fromkeys(note for part in found for note in part.notes))
        return Found(
            files=tuple(file for part in found for file in part.files),
            source=source,
            as_of=min(part.as_of for part in found),
            notes=notes,
            refused={repo: said for part in found for repo, said in part.refused.items()},
        )

    def named(self, request: FromRepo) -> Found:
        """The files of a repository that the user named, of whatever model."""
        found = self.listing(request.repo, by_name=True)
        if not found.files:
            raise UsageError(
                f"no GGUF model is in {request.repo}", hint="gpt-oss plan --model auto", details=found.notes
            )
        return found

    def listing(self, repo: str, *, by_name: bool = False) -> Found:
        """One repository: from a fresh cache, else the hub, else a stale cache, else what is shipped.

        One that is asked for `by_name` is asked of the hub again though it was refused: there may be a login now.
        """
        kept = read_listing(self.cache_dir, self.endpoint, repo)
        age_s = kept.age_s(self.now) if kept else None
        asking_anew = self.refresh and not self.offline
        if kept and age_s is not None and age_s < LISTING_FRESH_S and not asking_anew:
            return self._classified(kept, "cache", ())
        failure = self.unreachable
        said = kept.refusal(self.now, younger_than_s=LISTING_FRESH_S) if kept else None
        if said is not None and not by_name and not asking_anew:
            failure = NetworkError(said, status=404)
        if not self.offline and failure is None:
            try:
                return self._classified(self._fetch(repo), "hub", ())
            except NetworkError as error:
                failure = error
                if error.status in _REFUSED:
                    self.refused_now[repo] = error.message
                if error.status is None:
                    self.unreachable = error  # not this repository's fault: the others would wait for nothing as well
                    self.tell(f"{error.message}; going on with what is known and here")
        why = "offline" if failure is None else failure.message
        refused = {repo: why} if failure is not None and failure.status in _REFUSED else {}
        if kept and kept.files:
            note = f"{why}: the listing of {repo} is of {kept.fetched_at[:10]}"
            return replace(self._classified(kept, "cache", (note,)), refused=refused)
        return self._unlisted(repo, why, failure)

    def _unlisted(self, repo: str, why: str, failure: NetworkError | None) -> Found:
        """A repository that no listing is kept of: what shipped, else what is on this disk."""
        refused = {repo: why} if failure is not None and failure.status in _REFUSED else {}
        files = self.shipped.model_files(repo)
        if not files and self.shipped.model_of(repo) is None:
            files = self.here.of_repo(repo) if self.here is not None else ()
            if not files:
                raise failure or NetworkError(f"offline: nothing is known of {repo}", hint="gpt-oss plan --model auto")
            note = f"{why}: of {repo} only what is on this disk is known"
            return Found(files=files, source="disk", as_of=self.now.date().isoformat(), notes=(note,), refused=refused)
        note = f"{why}: using the catalogue that shipped with the launcher, of {self.shipped.as_of}"
        if failure is not None and failure.status is not None:
            note = f"{repo}: {note}"
        return Found(files=files, source="shipped", as_of=self.shipped.as_of, notes=(note,), refused=refused)

    def _fetch(self, repo: str) -> CachedListing:
        listing = self.list_repo(repo)
        fetched = CachedListing(
            schema=SCHEMA,
            endpoint=self.endpoint,
            repo=repo,
            commit=listing.commit,
            fetched_at=self.now.isoformat(timespec="seconds"),
            files=tuple(
                FilePart(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
                for file in listing.files
                if file.path.lower().endswith(".gguf")
            ),
        )
        write_listing(self.cache_dir, fetched)
        return fetched

    def _keep_refusal(self, repo: str, said: str) -> None:
        empty = CachedListing(schema=SCHEMA, endpoint=self.endpoint, repo=repo, commit="", fetched_at="", files=())
        kept = read_listing(self.cache_dir, self.endpoint, repo) or empty
        write_listing(self.cache_dir, replace(kept, refused=said, refused_at=self.now.isoformat(timespec="seconds")))

    def _classified(self, listing: CachedListing, source: Source, notes: tuple[str, ...]) -> Found:
        known = self.shipped.model_of(listing.repo) is not None
        found = classify(listing.files, repo=listing.repo, revision=listing.commit, releases_only=known)
        return Found(files=found.files, source=source, as_of=listing.fetched_at[:10], notes=(*notes, *found.notes))
