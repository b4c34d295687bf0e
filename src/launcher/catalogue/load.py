"""Which files there are to choose from: the hub's listings, kept for a day, or the shipped catalogue."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from launcher.catalogue.cache import SCHEMA, CachedListing, read_listing, write_listing
from launcher.catalogue.classify import ListedFile, classify
from launcher.catalogue.headers import OpenRemote, file_from_path
from launcher.catalogue.inventory import Inventory, take_inventory
from launcher.catalogue.join import join_weights
from launcher.catalogue.request import AnyRelease, FromPath, FromRepo, parse_request, unknown_quant
from launcher.catalogue.shipped import RecipeBook, Shipped, read_shipped
from launcher.catalogue.types import Catalogue, FilePart, ModelFile
from launcher.configs import configs_dir
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
FindLocal = Callable[[ModelFile], Path | None]
TakeInventory = Callable[[], Inventory]
Source = Literal["hub", "cache", "shipped", "disk"]


def load_catalogue(
    *,
    request_model: str,
    request_quant: str | None = None,
    offline: bool,
    refresh: bool,
    isa: Collection[str],
    cache_dir: Path,
    list_repo: ListRepo | None = None,
    open_remote: OpenRemote | None = None,
    find_local: FindLocal | None = None,
    inventory: TakeInventory | None = None,
    model_dirs: Collection[Path] = (),
    now: datetime | None = None,
    configs: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    tell: Callable[[str], None] = lambda _: None,
) -> Catalogue:
    """Find the files that a request allows, with hyperparameters and weight tables for those that can be planned for.

    With listings younger than a day in the cache, neither the network nor huggingface_hub is touched.

    Args:
        request_model: the value of `--model`.
        request_quant: the value of `--quant`; None leaves all.
        offline: ask nobody; use what is kept, else what is shipped.
        refresh: list again, however fresh the cache.
        isa: instruction sets of the CPU that would hold weights, in ggml's names; decides what is repacked.
        cache_dir: the launcher's cache folder.
        list_repo: lists one repository on the hub; None for the store's.
        open_remote: opens a file on the hub for ranged reads: of a repository none of whose files a recipe knows (a
            rebuilt or an unknown one), one header is read; None: such files are listed without weights.
        find_local: where a complete copy is in the hub's cache; None for the store's.
        inventory: looks for models in the folders of all applications; None for the real ones, unless `find_local` is
            given.
        model_dirs: more folders to look in.
        now: the time, with zone.
        configs: folder of the shipped catalogue.
        environ: for `HF_ENDPOINT`; listings of one hub are not another's.
        tell: told of waiting for a hub that does not answer, and of going on without it.

    Raises:
        UsageError: an unknown model, repository or quant.
        DamagedFileError: a path that is no loadable GGUF.
        NetworkError: a repository that nothing is known of, and the hub cannot be asked.
    """
    from launcher.store.config import hub_endpoint

    shipped = read_shipped(configs or configs_dir())
    request = parse_request(request_model, known_repos=[known.repo for known in shipped.repos])
    now = now or datetime.now(UTC)
    if isinstance(request, FromPath):
        return _from_path(request, isa, now)
    if inventory is None and find_local is None:
        inventory = partial(take_inventory, cache_dir=cache_dir, shipped=shipped, env=environ, model_dirs=model_dirs)
    here = inventory() if inventory is not None else None
    sources = _Sources(
        shipped=shipped,
        offline=offline,
        refresh=refresh,
        cache_dir=cache_dir,
        endpoint=hub_endpoint(environ),
        list_repo=list_repo or _store_list_repo(tell),
        now=now,
        tell=tell,
        here=here,
    )
    found = sources.named(request) if isinstance(request, FromRepo) else sources.releases(request)
    quant = request.quant if isinstance(request, FromRepo) and request.quant else request_quant
    files = _mark_local(found.files, find_local or _store_find_local(environ), here)
    if here is not None and isinstance(request, AnyRelease):
        files = (*files, *here.own_entries(files, model=request.model))
    files = _of_quant(files, quant, request_model)
    files = _obtainable(files, found.refused)
    one_by_name = isinstance(request, FromRepo) and len(files) == 1
    joined = join_weights(
        files,
        book=RecipeBook(shipped, isa),
        cache_dir=cache_dir,
        isa=isa,
        open_remote=None if offline or sources.unreachable else open_remote,
        must_know=one_by_name,
    )
    return Catalogue(
        files=joined.files,
        weights=joined.weights,
        # What a file says of itself counts for that file: it does not change what is known of the releases.
        specs={**joined.specs, **shipped.models},
        source=found.source,
        as_of=found.as_of,
        cut_off=offline or sources.unreachable is not None,
        notes=(*found.notes, *joined.notes, *_not_used(joined.files, here)),
        hub_out_of_reach=sources.unreachable is not None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    files: tuple[ModelFile, ...]
    source: Source
    as_of: str
    notes: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """What the hub said, by repository, where it would not list one and its files are from elsewhere."""


_REFUSED = frozenset({401, 403, 404, 410})
"""Answers about one repository, as against a hub that is failing (5xx) or busy (429)."""


@dataclass(kw_only=True, slots=True)
class _Sources:
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

    def releases(self, request: AnyRelease) -> _Found:
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
        return _Found(
            files=tuple(file for part in found for file in part.files),
            source=source,
            as_of=min(part.as_of for part in found),
            notes=notes,
            refused={repo: said for part in found for repo, said in part.refused.items()},
        )

    def named(self, request: FromRepo) -> _Found:
        """The files of a repository that the user named, of whatever model."""
        found = self.listing(request.repo, by_name=True)
        if not found.files:
            raise UsageError(
                f"no GGUF model is in {request.repo}", hint="gpt-oss plan --model auto", details=found.notes
            )
        return found

    def listing(self, repo: str, *, by_name: bool = False) -> _Found:
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

    def _unlisted(self, repo: str, why: str, failure: NetworkError | None) -> _Found:
        """A repository that no listing is kept of: what shipped, else what is on this disk."""
        refused = {repo: why} if failure is not None and failure.status in _REFUSED else {}
        files = self.shipped.model_files(repo)
        if not files and self.shipped.model_of(repo) is None:
            files = self.here.of_repo(repo) if self.here is not None else ()
            if not files:
                raise failure or NetworkError(f"offline: nothing is known of {repo}", hint="gpt-oss plan --model auto")
            note = f"{why}: of {repo} only what is on this disk is known"
            return _Found(files=files, source="disk", as_of=self.now.date().isoformat(), notes=(note,), refused=refused)
        note = f"{why}: using the catalogue that shipped with the launcher, of {self.shipped.as_of}"
        if failure is not None and failure.status is not None:
            note = f"{repo}: {note}"
        return _Found(files=files, source="shipped", as_of=self.shipped.as_of, notes=(note,), refused=refused)

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

    def _classified(self, listing: CachedListing, source: Source, notes: tuple[str, ...]) -> _Found:
        known = self.shipped.model_of(listing.repo) is not None
        found = classify(listing.files, repo=listing.repo, revision=listing.commit, releases_only=known)
        return _Found(files=found.files, source=source, as_of=listing.fetched_at[:10], notes=(*notes, *found.notes))


def _of_quant(files: tuple[ModelFile, ...], quant: str | None, request_model: str) -> tuple[ModelFile, ...]:
    if quant is None:
        return files
    chosen = tuple(file for file in files if file.quant.upper() == quant.upper())
    if not chosen:
        of_model = request_model.split(":", maxsplit=1)[0] if "/" in request_model else request_model
        raise unknown_quant(quant, [file.quant for file in files], of_model=of_model)
    return chosen


def _mark_local(files: tuple[ModelFile, ...], find_local: FindLocal, here: Inventory | None) -> tuple[ModelFile, ...]:
    files = tuple(replace(file, local_path=find_local(file)) for file in files)
    return files if here is None else here.marked(files)


def _not_used(files: tuple[ModelFile, ...], here: Inventory | None) -> tuple[str, ...]:
    """What looks like a model that is here, where none is that can be loaded."""
    missing = {file.model for file in files} - {file.model for file in files if file.local_path is not None}
    return () if here is None else tuple(note for model in sorted(missing) for note in here.notes(model=model))


def _obtainable(files: tuple[ModelFile, ...], refused: Mapping[str, str]) -> tuple[ModelFile, ...]:
    """Without the files of repositories that the hub refuses (gone, private, not on this mirror), unless here already.

    They could be planned for, and not be fetched. Where nothing else is left they stay: the refusal is told then.
    """
    left = tuple(file for file in files if file.local_path is not None or str(file.repo) not in refused)
    return left or files


def _from_path(request: FromPath, isa: Collection[str], now: datetime) -> Catalogue:
    known = file_from_path(request.path, isa=isa)
    return Catalogue(
        files=(known.file,),
        weights={known.file.name: known.weights},
        specs={known.file.model: known.spec},
        source="disk",
        as_of=now.date().isoformat(),
    )


def _store_list_repo(tell: Callable[[str], None]) -> ListRepo:
    from launcher.store.reach import Reach

    reach = Reach(tell=tell)

    def list_repo(repo: str) -> Listing:
        from launcher.store.listing import list_repo as list_on_hub  # brings in huggingface_hub

        return list_on_hub(repo, reach=reach)

    return list_repo


def _store_find_local(environ: Mapping[str, str]) -> FindLocal:
    from launcher.store.local import find_cached, hub_cache_dir

    folder = hub_cache_dir(environ)
    return lambda file: find_cached(file, folder)
