"""What clients are pointed at: a server that runs here, the one that would, or one at a URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from launcher.cli.output import say
from launcher.cli.servers import one_server, server_if_any
from launcher.clients.types import KEY_ENV, Target
from launcher.errors import UsageError
from launcher.server.types import DEFAULT_HOST, DEFAULT_PORT, Endpoint, ServerRecord

_DEFAULT_MODEL = "gpt-oss-20b"
_TRAINED_N_CTX = 131_072
"""What both models were trained for: the best guess for a server that cannot be asked."""


def running_target(port: int | None, command: str) -> Target:
    """The server that runs. `command` is the part after `gpt-oss` of what was typed.

    Raises:
        UsageError: none runs, or several and no port was named.
    """
    return _target_of(one_server(port, command))


def connect_target(
    *, port: int | None, url: str | None, model: str | None, command: str, environ: Mapping[str, str] = os.environ
) -> Target:
    """What clients are to be pointed at, whether it runs or not; says so where it does not.

    Raises:
        UsageError: several servers run and no port was named, or the URL is none.
    """
    if url is not None:
        target = _elsewhere(url, port, command, keyed=bool(environ.get(KEY_ENV)))
    else:
        record = server_if_any(port, command)
        target = _default(port) if record is None else _target_of(record)
    name = f"gpt-oss-{model}" if model in {"20b", "120b"} else model
    return replace(target, endpoint=replace(target.endpoint, model=name or target.endpoint.model))


def _target_of(record: ServerRecord) -> Target:
    if not record.ready:
        say(f"the server at {record.url} is still loading its model")
    return Target(endpoint=record.endpoint, keyed=record.key_file is not None)


def _default(port: int | None) -> Target:
    url = f"http://{DEFAULT_HOST}:{port or DEFAULT_PORT}"
    start = "gpt-oss serve" if port is None else f"gpt-oss serve --port {port}"
    say(f"no server runs{'' if port is None else f' on port {port}'}: this is for {url}; start it with: {start}")
    return Target(endpoint=Endpoint(url=url, model=_DEFAULT_MODEL, n_ctx=_TRAINED_N_CTX), keyed=False)


def _elsewhere(url: str, port: int | None, command: str, *, keyed: bool) -> Target:
    if port is not None:
        retype = f"gpt-oss {command} --port {port}"
        raise UsageError("give --url or --port, not both", hint=retype)
    endpoint = Endpoint(url=base_url(url), model=_DEFAULT_MODEL, n_ctx=_TRAINED_N_CTX)
    say(f"a context of {endpoint.n_ctx} tokens is assumed, and {f'the key in {KEY_ENV}' if keyed else 'no key'}")
    return Target(endpoint=endpoint, keyed=keyed)


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
