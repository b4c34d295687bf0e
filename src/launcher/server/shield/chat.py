"""Turns of OpenAI's chat completions, as llama-server writes them (tools/server/server-task.cpp). Pure."""

from __future__ import annotations

from typing import Any

from launcher.server.shield.turn import Turn, data, new_id, usage_chat
from launcher.server.shield.types import Call, Finish, Json, Usage


class ChatTurn(Turn):
    """Chunks with a delta each, a chunk that says why it ended, `[DONE]`."""

    def __init__(self, model: str, *, include_usage: bool = False) -> None:
        """See `Turn`. `include_usage` asks for a chunk with the tokens before the end."""
        super().__init__(model)
        self._include_usage = include_usage
        self._head: Json = {"created": self.created, "id": f"chatcmpl-{new_id()}", "model": model}
        self._begun = False

    def read(self, kind: str, value: Json) -> None:  # noqa: ARG002 - chunks have no kind
        """See `Turn`."""
        if "choices" not in value:
            return
        self._begun = True
        self._head = {key: value[key] for key in ("created", "id", "model", "system_fingerprint") if key in value}
        for choice in value["choices"]:
            delta = choice.get("delta") or {}
            self.said.n_deltas += 1
            self.said.reasoning += delta.get("reasoning_content") or ""
            self.said.content += delta.get("content") or ""
            for part in delta.get("tool_calls") or ():
                self._read_call(part)

    def _read_call(self, part: Json) -> None:
        calls, function = self.said.calls, part.get("function") or {}
        while len(calls) <= part["index"]:
            calls.append(Call(id=part.get("id") or new_id(), name=""))
        calls[part["index"]].name += function.get("name") or ""
        calls[part["index"]].arguments += function.get("arguments") or ""

    def begin(self) -> bytes:
        """See `Turn`."""
        if self._begun:
            return b""
        self._begun = True
        return self._chunk({"role": "assistant", "content": None})

    def reasoning(self, text: str) -> bytes:
        """See `Turn`."""
        self.said.reasoning += text
        return self._chunk({"reasoning_content": text})

    def content(self, text: str) -> bytes:
        """See `Turn`."""
        self.said.content += text
        return self._chunk({"content": text})

    def call(self, call: Call) -> bytes:
        """See `Turn`."""
        self.said.calls.append(call)
        return self._chunk({"tool_calls": [{"index": len(self.said.calls) - 1, **_call(call)}]})

    def end(self, finish: Finish, usage: Usage) -> bytes:
        """See `Turn`."""
        last = self.last(finish)
        if self._include_usage:
            last += data({"choices": [], **self._head, "object": "chat.completion.chunk", "usage": usage_chat(usage)})
        return last + b"data: [DONE]\n\n"

    def last(self, finish: Finish) -> bytes:
        """The chunk that says why the choice ended, without the end of the stream."""
        return self._chunk({}, finish)

    def document(self, finish: Finish, usage: Usage) -> Json:
        """See `Turn`."""
        message: Json = {"role": "assistant", "content": self.said.content or None}
        if self.said.reasoning:
            message["reasoning_content"] = self.said.reasoning
        if self.said.calls:
            message["tool_calls"] = [_call(call) for call in self.said.calls]
        return {
            "choices": [{"finish_reason": finish, "index": 0, "message": message}],
            **self._head,
            "model": self.model,
            "object": "chat.completion",
            "usage": usage_chat(usage),
        }

    def _chunk(self, delta: Json, finish: Finish | None = None) -> bytes:
        choice: dict[str, Any] = {"finish_reason": finish, "index": 0, "delta": delta}
        return data({"choices": [choice], **self._head, "object": "chat.completion.chunk"})


def _call(call: Call) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
