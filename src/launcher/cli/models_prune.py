"""What `gpt-oss models prune` does: it shows what can go without a loss, asks, and removes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

from launcher.catalogue.cache import local_key
from launcher.catalogue.known import StaleFile, stale_files
from launcher.cli.context import load_settings
from launcher.cli.models_in_use import server_of
from launcher.cli.models_remove import ask
from launcher.cli.models_rows import Here, look
from launcher.cli.models_view import print_doomed
from launcher.cli.output import print_json, say
from launcher.errors import LauncherError
from launcher.paths import folders
from launcher.store.cache import PART_SUFFIX, RepoCache
from launcher.store.local import hub_cache_dir
from launcher.store.pruning import prunable
from launcher.store.removal import DAMAGED_SUFFIX, Doomed, remove
from launcher.units import format_bytes


def prune(*, dry_run: bool, yes: bool, as_json: bool) -> None:
    """`gpt-oss models prune`.

    Raises:
        UsageError: declined, or nobody can be asked.
    """
    here = look(load_settings({}))
    doomed = [item for item in prunable(hub_cache_dir(), _repos(here)) if server_of([item.repo], item.pointers) is None]
    stale = stale_files(folders().cache, here.inventory.shipped, _local_keys(here))
    total_bytes = sum(item.freed_bytes for item in doomed) + sum(file.size_bytes for file in stale)
    if dry_run or not (doomed or stale):
        _tell(doomed, stale, total_bytes, removed=False, as_json=as_json)
        return
    question = f"Remove these files ({format_bytes(total_bytes)})?"
    ask(doomed, stale, question=question, again="gpt-oss models prune --yes", yes=yes)
    listing = _listing(doomed, stale)
    for item in doomed:
        try:
            remove(RepoCache(cache_dir=hub_cache_dir(), repo=item.repo), item)
        except LauncherError as error:
            say(f"left: {error.message}")
            total_bytes -= item.freed_bytes
    for file in stale:
        with suppress(OSError):
            file.path.unlink(missing_ok=True)
    if as_json:
        print_json({"removed": True, "freed_bytes": total_bytes, "items": listing})
    else:
        say(f"{format_bytes(total_bytes)} freed")


def _tell(
    doomed: Sequence[Doomed], stale: Sequence[StaleFile], total_bytes: int, *, removed: bool, as_json: bool
) -> None:
    if as_json:
        print_json({"removed": removed, "freed_bytes": total_bytes, "items": _listing(doomed, stale)})
    elif doomed or stale:
        print_doomed(doomed, [(file.what, file.path, file.size_bytes) for file in stale], stream=sys.stdout)
        say(f"{format_bytes(total_bytes)} would be freed; gpt-oss models prune removes them")
    else:
        say("nothing to prune")


def _listing(doomed: Sequence[Doomed], stale: Sequence[StaleFile]) -> list[dict[str, object]]:
    items: list[dict[str, object]] = [
        {"what": item.what, "repo": item.repo, "freed_bytes": item.freed_bytes, "files": [*item.pointers, *item.blobs]}
        for item in doomed
    ]
    items += [{"what": file.what, "repo": None, "freed_bytes": file.size_bytes, "files": [file.path]} for file in stale]
    return items


def _repos(here: Here) -> Iterator[str]:
    """Repositories of the hub's cache that hold GPT OSS, or something that this launcher left there."""
    known = {part.sha256 for file in here.files for part in file.parts if part.sha256}
    for row in here.rows:
        if row.app != "hub cache" or row.repo is None:
            continue
        name = row.paths[0].name
        ours = name.endswith(DAMAGED_SUFFIX) or PART_SUFFIX in name or name.partition(".")[0] in known
        if (row.state != "other") if here.of(row) is not None else ours:
            yield row.repo


def _local_keys(here: Here) -> Iterator[str]:
    for found in here.inventory.models:
        key = local_key([part.path for part in found.parts]) if found.facts.state != "other" else None
        if key is not None:
            yield key
