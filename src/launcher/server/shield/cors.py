"""Which pages of other origins may read an answer, as `--cors-origins` says. Pure.

llama-server sends what it was told as it is (server-http.cpp, the pre-routing handler), also a list, which no browser
takes for an origin, and allows any header by `*`, which by the standard (Fetch, "CORS-safelisted request-header") does
not cover Authorization: a page could not send its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

_LOCALHOST = frozenset({"localhost", "127.0.0.1", "::1"})
_METHODS = "GET, POST, DELETE, OPTIONS"  # llama-server's own
_KEPT_S = 600  # that a browser keeps an answer to a preflight: a conversation need not ask before each turn


def allowed(origins: str, origin: str | None) -> dict[str, str]:
    """Headers for a page of `origin`; none where it may not read.

    Args:
        origins: `*`, `localhost`, or one or more origins with commas between them.
        origin: the request's header of that name.
    """
    named = {name.strip().rstrip("/") for name in origins.split(",")}
    if "*" in named:
        return {"Access-Control-Allow-Origin": "*"}
    if origin is None:
        return {"Vary": "Origin"}
    if origin in named or ("localhost" in named and _host(origin) in _LOCALHOST):
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    return {"Vary": "Origin"}


def preflight(cors: Mapping[str, str], asked_headers: str | None) -> dict[str, str]:
    """Headers of the answer to a browser that asks before it sends; `cors` is what `allowed` gave."""
    if "Access-Control-Allow-Origin" not in cors:
        return dict(cors)
    return {
        **cors,
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": asked_headers or "*",
        "Access-Control-Max-Age": str(_KEPT_S),
    }


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
