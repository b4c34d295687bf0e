"""Errors in each API's own form. Pure."""

from __future__ import annotations

import json

from launcher.server.shield.types import Api, Json, ShieldError

_ANTHROPIC = {
    400: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_CLIENT_FAULTS = (b"JSON schema error", b"[json.exception.parse_error", b"[json.exception.type_error")
RETRY_AFTER_S = 1  # llama-server with a warm page cache is back in seconds; clients that retry at once keep their turn
RETRYABLE = frozenset({429, 502, 503})
PARSER_FAILURE = b"does not match the expected peg"
"""What llama-server says where its parser gives a turn up (common/chat.cpp, `common_chat_peg_parse`)."""


def document(api: Api | None, error: ShieldError) -> bytes:
    """The body of an error answer."""
    return json.dumps(_value(api, error)).encode()


def event(api: Api | None, error: ShieldError) -> bytes:
    """The error as the last event of a stream."""
    if api == "messages":
        return b"event: error\ndata: " + document(api, error) + b"\n\n"
    if api == "responses":
        value = {"type": "error", "code": error.kind, "message": error.message, "param": error.param}
        # llama-server's own errors have the second key, and clients of it look there.
        value |= _value("chat", error)
        return b"event: error\ndata: " + json.dumps(value).encode() + b"\n\n"
    return b"data: " + document(api, error) + b"\n\n"


def _value(api: Api | None, error: ShieldError) -> Json:
    if api == "messages":
        kind = _ANTHROPIC.get(error.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": error.message}}
    return {
        "error": {"code": error.status, "message": error.message, "type": error.kind, "param": error.param},
    }


def client_fault(api: Api | None, data: bytes) -> bytes | None:
    """What llama-server calls a fault of its own and is the client's: text that is no JSON, a schema that is none.

    Clients send a 500 again, which would not help; None for everything else.
    """
    if not any(words in data for words in _CLIENT_FAULTS):
        return None
    try:
        said = json.loads(data)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return None
    if not str(said).startswith(tuple(words.decode() for words in _CLIENT_FAULTS)):
        return None
    return document(api, ShieldError(str(said), status=400, kind="invalid_request_error"))


def split_at_failure(events: bytes) -> tuple[bytes, bool]:
    """Give the events before the one that says that the parser gave up, and whether there is such a one."""
    at = 0
    for block in events.split(b"\n\n"):
        if is_parser_failure(block):
            return events[:at], True
        at += len(block) + 2
    return events, False


def is_parser_failure(data: bytes) -> bool:
    """Whether this is one event, or one document, that says that the parser gave the turn up.

    The words alone prove nothing: a model may say them. They count where they are an error's message.
    """
    if PARSER_FAILURE not in data:
        return False
    kind, text = b"", data
    if not data.lstrip().startswith(b"{"):
        lines = data.split(b"\n")
        kind = next((line[7:] for line in lines if line.startswith(b"event: ")), b"")
        text = next((line[6:] for line in lines if line.startswith(b"data: ")), b"")
    try:
        value = json.loads(text)
    except ValueError:
        return False
    if not isinstance(value, dict):
        return False
    error = value if kind == b"error" and "error" not in value else value.get("error")
    return isinstance(error, dict) and PARSER_FAILURE.decode() in str(error.get("message"))
