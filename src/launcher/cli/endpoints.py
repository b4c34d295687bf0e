"""Which server a command is for: the one that runs, the one of a port, or one at a URL."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from launcher.cli.output import say
from launcher.clients.types import KEY_ENV, Target
from launcher.errors import LauncherError, UsageError
from launcher.paths import folders
from launcher.server import registry
from launcher.server.types import DEFAULT_HOST, DEFAULT_PORT, Endpoint, ServerRecord

_DEFAULT_MODEL = "gpt-oss-20b"
_TRAINED_N_CTX = 131_072
"""What both models were trained for: the best guess for a server that cannot be asked."""


def choose(records: Sequence[ServerRecord], port: int | None, command: str) -> ServerRecord | None:
    """The server that is meant; None where none runs, or none at that port.

    Raises:
        UsageError: several run, and none was named.
    """
    if port is not None:
        return next((record for record in records if record.port == port), None)
    if len(records) > 1:
        narrowed = f"{command} --port {records[0].port}"
        raise UsageError(
            f"{len(records)} servers run: say which with --port",
            hint=narrowed,
            details=tuple(f"--port {record.port}  {record.model}" for record in records),
        )
    return records[0] if records else None


def connect_target(
    *, port: int | None, url: str | None, model: str | None, command: str, environ: Mapping[str, str] = os.environ
) -> Target:
    """What clients are to be pointed at, whether it runs or not; says so where it does not.

    Raises:
        UsageError: it is not clear which server is meant, or the URL is none.
    """
    if url is not None:
        if port is not None:
            without = f"{command} --port {port}"
            raise UsageError("give --url or --port, not both", hint=without)
        keyed = bool(environ.get(KEY_ENV))
        endpoint = Endpoint(url=base_url(url), model=_DEFAULT_MODEL, n_ctx=_TRAINED_N_CTX)
        say(f"a context of {endpoint.n_ctx} tokens is assumed; the key is {KEY_ENV}, if that is set")
    else:
        record = choose(registry.running(folders(environ).state), port, command)
        if record is None:
            host = f"http://{DEFAULT_HOST}:{port or DEFAULT_PORT}"
            endpoint, keyed = Endpoint(url=host, model=_DEFAULT_MODEL, n_ctx=_TRAINED_N_CTX), False
            say(f"no server runs{f' at port {port}' if port else ''}: this is for {host}; start it with: gpt-oss serve")
        else:
            endpoint, keyed = record.endpoint, record.key_file is not None
            if not record.ready:
                say(f"the server at {endpoint.url} is still loading its model")
    return Target(endpoint=replace(endpoint, model=model_name(model) or endpoint.model), keyed=keyed)


def running_target(port: int | None, command: str) -> Target:
    """The server that runs.

    Raises:
        UsageError: several run, and none was named.
        LauncherError: none does.
    """
    record = choose(registry.running(folders().state), port, command)
    if record is None:
        raise LauncherError(
            f"no server runs{f' at port {port}' if port else ''}",
            hint=f"gpt-oss serve --detach --port {port}" if port else "gpt-oss serve --detach",
        )
    return Target(endpoint=record.endpoint, keyed=record.key_file is not None)


def model_name(given: str | None) -> str | None:
    """What servers call a model: `20b` is short for `gpt-oss-20b`."""
    return f"gpt-oss-{given}" if given in {"20b", "120b"} else given


def base_url(given: str) -> str:
    """A server's URL without the path that clients append themselves.

    Raises:
        UsageError: it is none.
    """
    url = given.rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and not (parts.query or parts.fragment)
        _ = parts.port  # raises where it is no number
    except ValueError:
        fine = False
    if not fine:
        raise UsageError(f"{given!r} is no URL of a server", hint=f"gpt-oss connect --url http://{DEFAULT_HOST}:8080")
    return url
