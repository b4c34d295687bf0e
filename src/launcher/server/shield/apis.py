"""What differs between the APIs, for one request; and the headers and refusals that do not. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from launcher.server.shield import http1
from launcher.server.shield.blocks import MessagesStream
from launcher.server.shield.chat import ChatTurn
from launcher.server.shield.http1 import Head
from launcher.server.shield.messages import MessagesTurn
from launcher.server.shield.numbering import ResponsesStream
from launcher.server.shield.responses import ResponsesTurn
from launcher.server.shield.turn import Turn
from launcher.server.shield.types import Api, Json, ShieldError

_CORS = frozenset({b"access-control-allow-origin"})
Fix = Callable[[bytes], bytes]
"""Whole events in, as a client's API says they are out."""


def new_turn(api: Api, asked: Json) -> Turn:
    """Start a turn of the request's API."""
    model = str(asked.get("model") or "gpt-oss")
    if api == "chat":
        options: Any = asked.get("stream_options")
        return ChatTurn(model, include_usage=isinstance(options, dict) and bool(options.get("include_usage")))
    return ResponsesTurn(model) if api == "responses" else MessagesTurn(model)


def fix_of(api: Api | None, body: bytes) -> Fix | None:
    """What makes a stream what its API says it is; chat's is so already."""
    if api == "responses":
        return ResponsesStream(json.loads(body).get("max_output_tokens")).feed
    return MessagesStream().feed if api == "messages" else None


def fixed(fix: Fix | None, events: bytes) -> bytes:
    """The events, fixed where there is something to fix."""
    return events if fix is None else fix(events)


def kept_headers(head: Head, cors: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Headers that are about the answer, not about the connection or the length, which may change.

    Args:
        head: llama-server's.
        cors: Headers in place of its own that say which pages may read the answer; None: its own.
    """
    dropped = http1.HOP_BY_HOP | {b"content-length"} | (_CORS if cors is not None else frozenset())
    kept = [(key, value) for key, value in head.headers if key.lower().encode() not in dropped]
    return [*kept, *(cors or {}).items()]


def too_long(limit: int) -> ShieldError:
    """The refusal of a body."""
    return ShieldError(
        f"the request is longer than {limit} bytes", status=413, kind="invalid_request_error", param="body"
    )
