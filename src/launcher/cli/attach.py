"""A chat on a server instead of a model of its own: one that runs here, or one at a URL.

This stands before the first token of every attached chat, so it imports little: no planner and no psutil.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.catalogue.request import RELEASES
from launcher.engines.client.site import Key, checked_key, key_of
from launcher.engines.server_client import ServerEngine, open_server, served_models
from launcher.paths import folders
from launcher.server.registry import is_alive, read_record, servers_dir
from launcher.server.types import ServerRecord

if TYPE_CHECKING:
    from launcher.settings import Settings

_OWN_PLAN = (
    *("prefer", "n_gpu_layers", "n_cpu_moe", "cache_type_k", "cache_type_v", "batch_size", "ubatch_size", "device"),
    *("tensor_split", "parallel", "kv_unified", "swa_full", "min_tps", "streamed", "threads", "load_mode", "repack"),
)
"""Settings that a running server cannot take on: whoever gives one as a flag wants a model loaded that way."""


def find_server(settings: Settings, *, state_dir: Path | None = None) -> ServerRecord | None:
    """A server of this person's that is ready and serves what the settings ask for.

    Of several the one on the settings' port comes first, then the lowest port. No network: a server that died without
    a word is told by its process, and one that hangs by the first request.
    """
    found = [
        record
        for record in map(read_record, servers_dir(state_dir or folders().state).glob("*.json"))
        if record is not None
        and record.ready
        and serves(record, settings)
        and not wants_own_plan(settings, record.n_ctx)
        and not wants_other_build(settings, record.build)
        and is_alive(record)
    ]
    return min(found, key=lambda record: (record.port != settings.port, record.port), default=None)


def wants_own_plan(settings: Settings, n_ctx: int) -> bool:
    """Whether flags ask for a placement, or for a context beyond `n_ctx`. What a file or a variable says is a wish."""
    given = {name for name, layer in settings.layers.items() if layer.startswith("flag ")}
    if not given.isdisjoint(_OWN_PLAN):
        return True
    # 0 is all that the model was trained for: how much that is, is not known here.
    if "ctx_size" in given and settings.ctx_size is not None and not 0 < settings.ctx_size <= n_ctx:
        return True
    return "min_ctx" in given and settings.min_ctx is not None and settings.min_ctx > n_ctx


def wants_other_build(settings: Settings, build: str | None) -> bool:
    """Whether a flag names another build of llama.cpp than the one that answers."""
    given = settings.layers.get("build", "").startswith("flag ")
    return given and settings.build not in ("auto", build)


def serves(record: ServerRecord, settings: Settings) -> bool:
    """Whether a server runs the model that settings name."""
    if settings.quant is not None and not record.file.lower().endswith(f":{settings.quant.lower()}"):
        return False
    wanted = settings.model.strip()
    name = wanted.lower()
    if name == "auto":
        return True
    if name in RELEASES:
        return record.model == RELEASES[name]
    if record.file == wanted or record.file.startswith(f"{wanted}:"):
        return True
    try:
        return Path(record.file) == Path(wanted).expanduser().absolute()
    except (RuntimeError, OSError):  # nobody of that name has a home; the working folder is gone
        return False


def open_attached(record: ServerRecord) -> AbstractContextManager[ServerEngine]:
    """An engine on a server that `find_server` found. Nothing is asked before the first turn.

    Raises:
        LauncherError: the file of its key cannot be read.
    """
    key = None
    if record.key_file is not None:
        from launcher.server.keys import read_key

        key = checked_key(Key(text=read_key(record.key_file), source=str(record.key_file)))
    return open_server(record.url, model=record.model, key=key, n_ctx=record.n_ctx, kind="llama-server")


def open_url(url: str, model: str | None, environ: Mapping[str, str]) -> AbstractContextManager[ServerEngine]:
    """An engine on any OpenAI-compatible server, with the key of the environment.

    Without a model the server is asked which it has: a GPT OSS is taken before others, the first before the rest.

    Raises:
        LauncherError: it is no URL, or the server cannot be reached or lists no model.
    """
    key = key_of(environ)
    if model is not None:
        return open_server(url, model=model, key=key)
    names, kind = served_models(url, key=key)
    return open_server(url, model=chosen_model(names), key=key, kind=kind)


def chosen_model(names: tuple[str, ...]) -> str:
    """A GPT OSS where there is one, the larger before the smaller; else the first."""
    ours = [name for name in names if "gpt-oss" in name.lower() and "safeguard" not in name.lower()]
    return next((name for name in ours if "120b" in name.lower()), (ours or names)[0])
