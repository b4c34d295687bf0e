"""What MCP servers send, as names, schemas and text that a model and a terminal can take. Pure.

All of it is other people's text: names are spelled in Harmony's alphabet, descriptions cleaned, schemas bounded.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container
from typing import Any

from launcher.tools.text import clean_line

MAX_NAME = 64
"""Characters of a function name, as OpenAI's API has it."""
MAX_SCHEMA_CHARS = 20_000
"""Of one tool's schema as JSON: some 5,000 tokens of every prompt."""
MAX_DESCRIPTION_CHARS = 4_000
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def function_name(server: str, tool: str, taken: Container[str]) -> str:
    """`SERVER_TOOL` in the alphabet of function names, not longer than they may be, and not one that is taken."""
    name = _NOT_A_NAME.sub("_", f"{server}_{tool}").strip("_") or "tool"
    if len(name) <= MAX_NAME and name not in taken:
        return name
    for number in range(1_000_000):
        digest = hashlib.sha256(f"{server}\0{tool}\0{number}".encode("utf-8", "replace")).hexdigest()[:6]
        longer = f"{name[: MAX_NAME - 7]}_{digest}"
        if longer not in taken:
            return longer
    raise AssertionError("a million names are taken")


def schema_of(raw: Any) -> dict[str, Any]:
    """A tool's schema for the model.

    Raises:
        ValueError: it is none that a function can have; the message says why.
    """
    if not isinstance(raw, dict) or raw.get("type", "object") != "object":
        raise ValueError("its arguments are not described as an object")
    schema = {key: value for key, value in raw.items() if key != "$schema"}
    schema.setdefault("type", "object")
    schema.setdefault("properties", {})
    n_chars = len(json.dumps(schema))
    if n_chars > MAX_SCHEMA_CHARS:
        raise ValueError(f"the description of its arguments is too long ({n_chars} characters)")
    return schema


def text_of(result: Any) -> str:
    """The text of a call's result (`mcp.types.CallToolResult`); what is not text is named in a line."""
    parts = [_part(item) for item in result.content]
    text = "\n".join(part for part in parts if part)
    if not text.strip() and result.structuredContent is not None:
        return json.dumps(result.structuredContent, ensure_ascii=False)
    return text


def _part(item: Any) -> str:
    if item.type == "text":
        return str(item.text)
    if item.type in ("image", "audio"):
        return f"[{item.type}: {clean_line(item.mimeType, 80)}, {_decoded_bytes(item.data)} bytes, not shown]"
    if item.type == "resource_link":
        return f"[resource: {clean_line(item.name, 200)}, {clean_line(str(item.uri), 500)}]"
    resource = item.resource
    where = clean_line(str(resource.uri), 500)
    if hasattr(resource, "text"):
        return f"[resource: {where}]\n{resource.text}"
    return f"[resource: {where}, {_decoded_bytes(resource.blob)} bytes, not shown]"


def _decoded_bytes(base64: str) -> int:
    return len(base64.rstrip("=")) * 3 // 4
