"""Turns of Anthropic's messages, as llama-server writes them (tools/server/server-task.cpp). Pure."""

from __future__ import annotations

import json
from typing import Literal

from launcher.server.shield.turn import Turn, new_id, sse
from launcher.server.shield.types import Call, Finish, Json, Usage

_STOP_REASONS: dict[Finish, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

Block = Literal["thinking", "text", "tool_use"]


class MessagesTurn(Turn):
    """Numbered blocks that stay open until the turn ends."""

    def __init__(self, model: str) -> None:
        """See `Turn`."""
        super().__init__(model)
        self._id = f"chatcmpl-{new_id()}"
        self._blocks: list[Block] = []
        self._begun = False

    def read(self, kind: str, value: Json) -> None:
        """See `Turn`."""
        if kind == "message_start":
            self._begun = True
        elif kind == "content_block_start":
            block = value["content_block"]
            self._blocks.append(block["type"])
            if block["type"] == "tool_use":
                self.said.calls.append(Call(id=block["id"], name=block["name"]))
        elif kind == "content_block_delta":
            delta = value["delta"]
            self.said.n_deltas += 1
            self.said.reasoning += delta.get("thinking", "")
            self.said.content += delta.get("text", "")
            if "partial_json" in delta:
                self.said.calls[-1].arguments += delta["partial_json"]

    def begin(self) -> bytes:
        """See `Turn`."""
        if self._begun:
            return b""
        self._begun = True
        usage = {"cache_read_input_tokens": 0, "input_tokens": 0, "output_tokens": 0}
        message: Json = {"id": self._id, "type": "message", "role": "assistant", "content": [], "model": self.model}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
        return sse("message_start", {"type": "message_start", "message": message})

    def reasoning(self, text: str) -> bytes:
        """See `Turn`."""
        head, index = self._block("thinking", {"type": "thinking", "thinking": ""})
        self.said.reasoning += text
        return head + _delta(index, {"type": "thinking_delta", "thinking": text})

    def content(self, text: str) -> bytes:
        """See `Turn`."""
        head, index = self._block("text", {"type": "text", "text": ""})
        self.said.content += text
        return head + _delta(index, {"type": "text_delta", "text": text})

    def call(self, call: Call) -> bytes:
        """See `Turn`."""
        self.said.calls.append(call)
        index = len(self._blocks)
        self._blocks.append("tool_use")
        # Clients parse what they have got at the end of the block, and raise on what is no JSON.
        arguments = json.dumps(_input(call), ensure_ascii=False, separators=(",", ":"))
        head = _start(index, {"type": "tool_use", "id": call.id, "name": call.name})
        return head + _delta(index, {"type": "input_json_delta", "partial_json": arguments})

    def end(self, finish: Finish, usage: Usage) -> bytes:
        """See `Turn`."""
        out = b""
        for index, block in enumerate(self._blocks):
            if block == "thinking":
                out += _delta(index, {"type": "signature_delta", "signature": ""})
            out += sse("content_block_stop", {"type": "content_block_stop", "index": index})
        delta = {"stop_reason": _STOP_REASONS[finish], "stop_sequence": None}
        tokens = {"output_tokens": usage.n_predicted}
        out += sse("message_delta", {"type": "message_delta", "delta": delta, "usage": tokens})
        return out + sse("message_stop", {"type": "message_stop"})

    def document(self, finish: Finish, usage: Usage) -> Json:
        """See `Turn`."""
        blocks: list[Json] = []
        if self.said.reasoning:
            blocks.append({"type": "thinking", "thinking": self.said.reasoning, "signature": ""})
        if self.said.content:
            blocks.append({"type": "text", "text": self.said.content})
        blocks += [{"type": "tool_use", "id": c.id, "name": c.name, "input": _input(c)} for c in self.said.calls]
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "content": blocks,
            "model": self.model,
            "stop_reason": _STOP_REASONS[finish],
            "stop_sequence": None,
            "usage": {
                "cache_read_input_tokens": usage.n_cached,
                "input_tokens": usage.n_prompt - usage.n_cached,
                "output_tokens": usage.n_predicted,
            },
        }

    def _block(self, block: Block, value: Json) -> tuple[bytes, int]:
        if block in self._blocks:
            return b"", self._blocks.index(block)
        self._blocks.append(block)
        return _start(len(self._blocks) - 1, value), len(self._blocks) - 1


def _start(index: int, block: Json) -> bytes:
    return sse("content_block_start", {"type": "content_block_start", "index": index, "content_block": block})


def _delta(index: int, delta: Json) -> bytes:
    return sse("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta})


def _input(call: Call) -> Json:
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
