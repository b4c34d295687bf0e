"""Whole answers, as each API says they are. Pure.

Where a turn is cut within its first header, llama-server's parser gives the header out as text.
"""

from __future__ import annotations

import json

from launcher.server.shield.blocks import with_reason
from launcher.server.shield.numbering import finished
from launcher.server.shield.types import Api, Json

_HEADER = b'"<|channel|>'
_MESSAGE = "<|message|>"


def corrected(api: Api, data: bytes, asked: bytes) -> bytes:
    """The same bytes wherever they are right already.

    Args:
        api: that was asked.
        data: a document that llama-server answered with.
        asked: the request's body.
    """
    if api == "chat" and _HEADER not in data:
        return data
    try:
        value = json.loads(data)
    except ValueError:
        return data
    if not isinstance(value, dict) or value.get("error") is not None:
        return data
    changed = _corrected(api, value, asked)
    return data if changed == value else json.dumps(changed, ensure_ascii=False).encode()


def _corrected(api: Api, value: Json, asked: bytes) -> Json:
    if api == "chat":
        choices = [
            {**choice, "message": _without_header(choice["message"], "content")} for choice in value.get("choices", [])
        ]
        return {**value, "choices": choices}
    if api == "messages":
        content = [_without_header(block, "text") for block in value.get("content", [])]
        return with_reason({**value, "content": [block for block in content if block.get("text") != ""]})
    if value.get("object") != "response":
        return value
    limit = json.loads(asked).get("max_output_tokens") if b"max_output_tokens" in asked else None
    return finished({**value, "output": _spoken(value.get("output", []))}, limit)


def _spoken(output: list[Json]) -> list[Json]:
    """Items of a response, without a message that holds a header alone."""
    items = [
        {**item, "content": [_without_header(part, "text") for part in item["content"]]}
        if item.get("type") == "message"
        else item
        for item in output
    ]
    return [
        item for item in items if item.get("type") != "message" or any(part.get("text") for part in item["content"])
    ]


def _without_header(holder: Json, key: str) -> Json:
    """A text that is nothing but a header, cut or whole, as no text."""
    text = holder.get(key)
    if not isinstance(text, str) or not text.startswith("<|channel|>"):
        return holder
    _, mark, said = text.partition(_MESSAGE)
    return {**holder, key: said if mark else ""}
