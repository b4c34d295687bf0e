"""Which hubs a command asks: the settings' mirrors, after the one of the environment."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from launcher.catalogue.load import UNANSWERED
from launcher.flow import World

if TYPE_CHECKING:
    from launcher.store.types import RepoListing


def with_mirrors(world: World, mirrors: tuple[str, ...]) -> World:
    """A world whose listings and headers come from a mirror where the hub can't be reached or fails."""
    if not mirrors:
        return world
    from launcher.store.reach import Reach

    # One for all questions: a hub that does not answer is waited for once, not for each repository.
    reach = Reach(tell=world.tell, kept=world.cache_dir / UNANSWERED)

    def list_repo(repo: str) -> RepoListing:
        from launcher.store.hub import hub_config  # brings in huggingface_hub
        from launcher.store.hub import list_repo as list_at

        return list_at(repo, config=hub_config(mirrors=mirrors), reach=reach)

    def open_remote(repo: str, path: str, *, revision: str | None) -> AbstractContextManager[BinaryIO]:
        from launcher.store.connection import default_client
        from launcher.store.hub import hub_config
        from launcher.store.hub import open_remote as open_at

        config = hub_config(mirrors=mirrors)
        return open_at(repo, path, revision=revision, config=config, client=partial(default_client, reach))

    return replace(world, load_catalogue=partial(world.load_catalogue, list_repo=list_repo), open_remote=open_remote)
