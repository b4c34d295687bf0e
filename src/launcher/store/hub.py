"""The hub: what a repository lists, a file's first bytes, and a whole model on this disk."""

from __future__ import annotations

from launcher.store.config import HubConfig, hub_config
from launcher.store.download import Outside, Pace, fetch
from launcher.store.listing import list_repo
from launcher.store.remote import RangeReader, open_remote
from launcher.store.types import HubFile, LocalModel, NullProgress, ProgressSink, RepoListing

__all__ = [
    "HubConfig",
    "HubFile",
    "LocalModel",
    "NullProgress",
    "Outside",
    "Pace",
    "ProgressSink",
    "RangeReader",
    "RepoListing",
    "fetch",
    "hub_config",
    "list_repo",
    "open_remote",
]
