"""Which files there are to choose from: the hub's listings, kept for a day, or the shipped catalogue."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from launcher.catalogue.headers import OpenRemote, file_from_path
from launcher.catalogue.inventory import Inventory, take_inventory
from launcher.catalogue.join import join_weights
from launcher.catalogue.request import AnyRelease, FromPath, FromRepo, parse_request, unknown_quant
from launcher.catalogue.shipped import RecipeBook, read_shipped
from launcher.catalogue.sources import Listing, ListRepo, Sources
from launcher.catalogue.types import Catalogue, ModelFile
from launcher.configs import configs_dir

FindLocal = Callable[[ModelFile], Path | None]
TakeInventory = Callable[[], Inventory]
UNANSWERED = "unanswered.json"
"""In the cache folder: the hub that did not answer just now."""


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
    sources = Sources(
        shipped=shipped,
        offline=offline,
        refresh=refresh,
        cache_dir=cache_dir,
        endpoint=hub_endpoint(environ),
        list_repo=list_repo or _store_list_repo(tell, kept=None if refresh else cache_dir / UNANSWERED),
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


def _store_list_repo(tell: Callable[[str], None], *, kept: Path | None) -> ListRepo:
    from launcher.store.reach import Reach

    reach = Reach(tell=tell, kept=kept)

    def list_repo(repo: str) -> Listing:
        from launcher.store.listing import list_repo as list_on_hub  # brings in huggingface_hub

        return list_on_hub(repo, reach=reach)

    return list_repo


def _store_find_local(environ: Mapping[str, str]) -> FindLocal:
    from launcher.store.local import find_cached, hub_cache_dir

    folder = hub_cache_dir(environ)
    return lambda file: find_cached(file, folder)
