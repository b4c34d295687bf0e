"""A stream of OpenAI's responses as its own client reads it: numbered, each item done before the next begins. Pure.

llama-server (server-task.cpp, `to_json_oaicompat_resp`) numbers nothing, says that the reasoning is done only after the
answer, and calls a response completed that was cut. OpenAI's client stops at the first event without `output_index`.
Deltas are not parsed and written anew: what is missing goes in behind their first brace.
"""

from __future__ import annotations

import re

from launcher.server.shield.turn import kind_of, sse, value_of
from launcher.server.shield.types import Json

_ITEM_ID = re.compile(rb'"item_id":"([^"]+)"')
_DATA = b"data: {"
_CONTENT = ("response.output_text.", "response.content_part.", "response.reasoning_text.")
"""Kinds of events that belong to a part of an item; there is one part in each."""


class ResponsesStream:
    """Takes whole events as llama-server, or a repair, writes them; gives them as the API says they are."""

    def __init__(self, max_output_tokens: int | None = None) -> None:
        """A new stream. `max_output_tokens` as the client asked: a response that is so long was cut."""
        self._limit = max_output_tokens
        self._n_events = 0
        self._indexes: dict[str, int] = {}
        self._open: Json | None = None
        """The reasoning item that was added and is not done."""
        self._reasoning: list[str] = []
        self._done: set[str] = set()

    def feed(self, events: bytes) -> bytes:
        """The same events, and those that were missing."""
        return b"".join(self._block(block) for block in events.split(b"\n\n") if block)

    def _block(self, block: bytes) -> bytes:
        kind = kind_of(block)
        at = block.find(_DATA)
        if not kind or at < 0:
            return block + b"\n\n"  # a comment that keeps the connection alive
        if kind.endswith(".delta"):
            if kind == "response.reasoning_text.delta":
                self._reasoning.append(value_of(block)["delta"])
            item = _ITEM_ID.search(block)
            return self._numbered(block, at, self._place(kind, item[1].decode() if item else ""))
        value = value_of(block)
        if kind == "response.output_item.added":
            return self._added(value)
        if kind == "response.output_item.done":
            return self._item_done(value["item"])
        if kind == "response.completed":
            return self._completed(value["response"])
        return self._numbered(block, at, self._place(kind, value["item_id"]) if "item_id" in value else b"")

    def _numbered(self, block: bytes, at: int, more: bytes) -> bytes:
        behind = at + len(_DATA)
        return block[:behind] + b'"sequence_number":%d,' % self._next() + more + block[behind:] + b"\n\n"

    def _next(self) -> int:
        self._n_events += 1
        return self._n_events - 1

    def _place(self, kind: str, item_id: str) -> bytes:
        """Where an item stands, and its part."""
        part = b'"content_index":0,' if kind.startswith(_CONTENT) else b""
        return b'"output_index":%d,' % self._indexes.get(item_id, 0) + part

    def _event(self, kind: str, value: Json) -> bytes:
        return sse(kind, {"type": kind, "sequence_number": self._next(), **value})

    def _added(self, value: Json) -> bytes:
        before = self._close()
        item: Json = value["item"]
        self._indexes[item["id"]] = len(self._indexes)
        if item["type"] == "reasoning":
            self._open = item
        place = {"output_index": self._indexes[item["id"]]}
        return before + self._event("response.output_item.added", {**place, "item": item})

    def _close(self) -> bytes:
        """Say that the reasoning is done, before something else begins."""
        if self._open is None:
            return b""
        text, item = "".join(self._reasoning), self._open
        part = {"type": "reasoning_text", "text": text}
        return self._item_done({**item, "content": [part], "status": "completed"})

    def _item_done(self, item: Json) -> bytes:
        """An item is done, once. What it holds is said whole before, where llama-server leaves that out."""
        item_id = item["id"]
        if item_id in self._done:
            return b""
        self._done.add(item_id)
        place: Json = {"output_index": self._indexes.get(item_id, 0)}
        before = b""
        if item["type"] == "reasoning":
            self._open = None
            whole = {"item_id": item_id, **place, "content_index": 0, "text": "".join(self._reasoning)}
            before = self._event("response.reasoning_text.done", whole)
        elif item["type"] == "function_call":
            whole = {"item_id": item_id, **place, "name": item["name"], "arguments": item["arguments"]}
            before = self._event("response.function_call_arguments.done", whole)
        return before + self._event("response.output_item.done", {**place, "item": item})

    def _completed(self, response: Json) -> bytes:
        before = self._close()
        whole = finished(response, self._limit)
        kind = f"response.{whole['status']}"
        return before + self._event(kind, {"response": whole})


def finished(response: Json, max_output_tokens: int | None) -> Json:
    """A whole response, incomplete where it is as long as the client allowed: llama-server calls each completed."""
    n_tokens = (response.get("usage") or {}).get("output_tokens")
    if max_output_tokens is None or n_tokens is None or n_tokens < max_output_tokens:
        return {"incomplete_details": None, "error": None, **response}
    return {**response, "error": None, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
