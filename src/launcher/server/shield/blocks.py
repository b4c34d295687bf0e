"""A stream of Anthropic's messages as its own client reads it: one block after the other. Pure.

llama-server (server-task.cpp, `to_json_anthropic_stream`) stops the thinking only after the text, and calls a turn that
a stop sequence ended `end_turn`. Deltas pass as they are.
"""

from __future__ import annotations

import re

from launcher.server.shield.turn import kind_of, sse, value_of
from launcher.server.shield.types import Json

_SIGNATURE = b'"type":"signature_delta"'
_INDEX = re.compile(rb'"index":(\d+)')


class MessagesStream:
    """Takes whole events, and gives them in the order that the API prescribes."""

    def __init__(self) -> None:
        """A new stream."""
        self._open: tuple[int, str] | None = None
        """Index and kind of the block that was started and is not stopped."""
        self._stopped: set[int] = set()

    def feed(self, events: bytes) -> bytes:
        """The same events."""
        return b"".join(self._block(block) for block in events.split(b"\n\n") if block)

    def _block(self, block: bytes) -> bytes:
        kind = kind_of(block)
        if kind == "content_block_delta":
            return b"" if _SIGNATURE in block and self._index(block) in self._stopped else block + b"\n\n"
        if kind == "content_block_start":
            value = value_of(block)
            before = self._stop()
            self._open = (value["index"], value["content_block"]["type"])
            return before + block + b"\n\n"
        if kind == "content_block_stop":
            index = self._index(block)
            if index in self._stopped:
                return b""
            self._stopped.add(index)
            self._open = None
        elif kind == "message_delta":
            value = value_of(block)
            return sse("message_delta", {**value, "delta": with_reason(value["delta"])})
        return block + b"\n\n"

    def _stop(self) -> bytes:
        """Stop the block that is open, before another starts."""
        if self._open is None:
            return b""
        index, kind = self._open
        self._stopped.add(index)
        signed = {"type": "content_block_delta", "index": index, "delta": {"type": "signature_delta", "signature": ""}}
        stop = sse("content_block_stop", {"type": "content_block_stop", "index": index})
        return (sse("content_block_delta", signed) if kind == "thinking" else b"") + stop

    @staticmethod
    def _index(block: bytes) -> int:
        found = _INDEX.search(block)
        return int(found[1]) if found is not None else -1


def with_reason(end: Json) -> Json:
    """The end of a turn with its true reason, where a stop sequence was met."""
    met = end.get("stop_sequence") is not None and end.get("stop_reason") == "end_turn"
    return {**end, "stop_reason": "stop_sequence"} if met else end
