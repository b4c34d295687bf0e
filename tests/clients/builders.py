"""Endpoints to point clients at."""

from __future__ import annotations

from pathlib import Path

from launcher.clients.types import Target
from launcher.server.types import Endpoint

URL = "http://127.0.0.1:8080"
KEY_FILE = Path("/state/keys of mine/8080.key")


def target(*, keyed: bool = False, key_file: Path | None = KEY_FILE, model: str = "gpt-oss-20b") -> Target:
    """A server on this machine; one that wants a key has it in a file, unless `key_file` is None."""
    endpoint = Endpoint(url=URL, model=model, n_ctx=65_536, key_file=key_file if keyed else None)
    return Target(endpoint=endpoint, keyed=keyed)
