"""Turns of OpenAI's responses, as llama-server writes them (tools/server/server-task.cpp). Pure."""

from __future__ import annotations

from launcher.server.shield.turn import Turn, new_id, sse
from launcher.server.shield.types import Call, Finish, Json, Usage


class ResponsesTurn(Turn):
    """Items that are added, grow and are done; then the whole response once more."""

    def __init__(self, model: str) -> None:
        """See `Turn`."""
        super().__init__(model)
        self._id = f"resp_{new_id()}"
        self._reasoning_id: str | None = None
        self._message_id: str | None = None
        self._begun = False

    def read(self, kind: str, value: Json) -> None:
        """See `Turn`."""
        if kind == "response.created":
            self._id, self._begun = value["response"]["id"], True
        elif kind == "response.output_item.added":
            self._read_item(value["item"])
        elif kind.endswith(".delta"):
            self.said.n_deltas += 1
            if kind == "response.reasoning_text.delta":
                self.said.reasoning += value["delta"]
            elif kind == "response.output_text.delta":
                self.said.content += value["delta"]
            elif kind == "response.function_call_arguments.delta":
                self.said.calls[-1].arguments += value["delta"]

    def _read_item(self, item: Json) -> None:
        if item["type"] == "reasoning":
            self._reasoning_id = item["id"]
        elif item["type"] == "message":
            self._message_id = item["id"]
        else:
            self.said.calls.append(Call(id=item["call_id"].removeprefix("call_"), name=item["name"]))

    def begin(self) -> bytes:
        """See `Turn`."""
        if self._begun:
            return b""
        self._begun = True
        kinds = ("response.created", "response.in_progress")
        response = {"id": self._id, "object": "response", "status": "in_progress"}
        return b"".join(sse(kind, {"type": kind, "response": response}) for kind in kinds)

    def reasoning(self, text: str) -> bytes:
        """See `Turn`."""
        head = b""
        if self._reasoning_id is None:
            self._reasoning_id = f"rs_{new_id()}"
            item = {"id": self._reasoning_id, "summary": [], "type": "reasoning", "content": []}
            head = _added({**item, "encrypted_content": "", "status": "in_progress"})
        self.said.reasoning += text
        return head + _delta("response.reasoning_text.delta", text, self._reasoning_id)

    def content(self, text: str) -> bytes:
        """See `Turn`."""
        head = b""
        if self._message_id is None:
            self._message_id = f"msg_{new_id()}"
            item = {"content": [], "id": self._message_id, "role": "assistant", "status": "in_progress"}
            kind = "response.content_part.added"
            part = {"type": "output_text", "text": ""}
            head = _added({**item, "type": "message"})
            head += sse(kind, {"type": kind, "item_id": self._message_id, "part": part})
        self.said.content += text
        return head + _delta("response.output_text.delta", text, self._message_id)

    def call(self, call: Call) -> bytes:
        """See `Turn`."""
        self.said.calls.append(call)
        item = _call(call) | {"arguments": "", "status": "in_progress"}
        return _added(item) + _delta("response.function_call_arguments.delta", call.arguments, item["id"])

    def end(self, finish: Finish, usage: Usage) -> bytes:
        """See `Turn`."""
        out = b""
        if self._message_id is not None:
            item, part = {"item_id": self._message_id}, _part(self.said.content)
            kind = "response.output_text.done"
            out += sse(kind, {"type": kind, **item, "text": self.said.content})
            kind = "response.content_part.done"
            out += sse(kind, {"type": kind, **item, "part": part})
        kind = "response.output_item.done"
        out += b"".join(sse(kind, {"type": kind, "item": item}) for item in self._output())
        kind = "response.completed"
        return out + sse(kind, {"type": kind, "response": self.document(finish, usage)})

    def document(self, finish: Finish, usage: Usage) -> Json:  # noqa: ARG002 - llama-server calls every turn completed
        """See `Turn`."""
        return {
            "completed_at": self.created,
            "created_at": self.created,
            "id": self._id,
            "model": self.model,
            "object": "response",
            "output": self._output(),
            "status": "completed",
            "usage": {
                "input_tokens": usage.n_prompt,
                "output_tokens": usage.n_predicted,
                "total_tokens": usage.n_prompt + usage.n_predicted,
                "input_tokens_details": {"cached_tokens": usage.n_cached},
            },
        }

    def _output(self) -> list[Json]:
        items: list[Json] = []
        if self.said.reasoning:
            items.append(
                {
                    "id": self._reasoning_id,
                    "summary": [],
                    "type": "reasoning",
                    "content": [{"text": self.said.reasoning, "type": "reasoning_text"}],
                    "encrypted_content": "",
                    "status": "completed",
                }
            )
        if self.said.content:
            items.append(
                {
                    "type": "message",
                    "status": "completed",
                    "id": self._message_id,
                    "content": [_part(self.said.content)],
                    "role": "assistant",
                }
            )
        return items + [_call(call) for call in self.said.calls]


def _added(item: Json) -> bytes:
    kind = "response.output_item.added"
    return sse(kind, {"type": kind, "item": item})


def _delta(kind: str, text: str, item_id: str) -> bytes:
    return sse(kind, {"type": kind, "delta": text, "item_id": item_id})


def _part(text: str) -> Json:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _call(call: Call) -> Json:
    return {
        "id": f"fc_{call.id}",
        "type": "function_call",
        "status": "completed",
        "arguments": call.arguments,
        "call_id": f"call_{call.id}",
        "name": call.name,
    }
