"""A stream of messages, and whole answers of every API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.server.shield.blocks import MessagesStream
from launcher.server.shield.documents import corrected
from launcher.server.shield.turn import events, sse
from launcher.server.shield.types import Api


def event(kind: str, **value: Any) -> bytes:
    return sse(kind, {"type": kind, **value})


THINKING = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
TEXT = event("content_block_start", index=1, content_block={"type": "text", "text": ""})
SIGNED = event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": ""})
LATE = [SIGNED, event("content_block_stop", index=0), event("content_block_stop", index=1)]


def said(index: int, text: str) -> bytes:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": text})


@pytest.mark.parametrize("at_once", [1, 100])
def test_one_block_after_the_other(at_once: int) -> None:
    given = [event("message_start"), THINKING, said(0, "hm"), TEXT, said(1, "yes"), *LATE]
    stream = MessagesStream()
    chunks = [b"".join(given[i : i + at_once]) for i in range(0, len(given), at_once)]
    found = [(kind, value.get("index")) for kind, value in events(b"".join(map(stream.feed, chunks)))]
    assert found == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
    ]


def test_what_is_in_order_passes_as_it_is() -> None:
    given = b"".join([event("message_start"), THINKING, said(0, "hm"), SIGNED, event("content_block_stop", index=0)])
    assert MessagesStream().feed(given) == given
    assert MessagesStream().feed(b": ping\n\n") == b": ping\n\n"


def test_the_reason_of_a_stop_sequence() -> None:
    end = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": "x"}, usage={"output_tokens": 3})
    ((_, value),) = events(MessagesStream().feed(end))
    assert value["delta"]["stop_reason"] == "stop_sequence"
    other = event("message_delta", delta={"stop_reason": "max_tokens", "stop_sequence": None})
    ((_, value),) = events(MessagesStream().feed(other))
    assert value["delta"]["stop_reason"] == "max_tokens"


@pytest.mark.parametrize("text", ["<|channel|>", "<|channel|>analysis", "<|channel|>analysis<|message|>"])
def test_a_header_alone_is_no_text(text: str) -> None:
    def fixed(api: Api, value: dict[str, Any], asked: dict[str, Any] | None = None) -> Any:
        return json.loads(
            corrected(api, json.dumps(value, separators=(",", ":")).encode(), json.dumps(asked or {}).encode())
        )

    chat = fixed("chat", {"choices": [{"message": {"role": "assistant", "content": text}}]})
    assert chat["choices"][0]["message"]["content"] == ""
    messages = fixed("messages", {"content": [{"type": "text", "text": text}], "stop_reason": "max_tokens"})
    assert messages["content"] == []
    item = {"type": "message", "content": [{"type": "output_text", "text": text}]}
    response = fixed(
        "responses",
        {"object": "response", "status": "completed", "output": [item], "usage": {"output_tokens": 2}},
        {"max_output_tokens": 2},
    )
    assert (response["output"], response["status"]) == ([], "incomplete")


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
@pytest.mark.parametrize("data", [b"[1]", b"not json", b'{"error":{"message":"<|channel|>"}}'])
def test_what_is_no_answer_stays_as_it_is(api: Api, data: bytes) -> None:
    assert corrected(api, data, b"{}") == data


def test_an_answer_that_speaks_of_headers_stays_as_it_is() -> None:
    data = b'{"choices":[{"message":{"content":"A header begins with <|channel|>."}}]}'
    assert corrected("chat", data, b"{}") == data
