"""A stream of responses, as OpenAI's client reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.server.shield.numbering import ResponsesStream, finished
from launcher.server.shield.turn import events, sse


def event(kind: str, **value: Any) -> bytes:
    return sse(f"response.{kind}", {"type": f"response.{kind}", **value})


REASONING = {"id": "rs_1", "type": "reasoning", "summary": [], "content": []}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
CALL = {"id": "fc_1", "type": "function_call", "name": "f", "arguments": "", "call_id": "call_1"}
WHOLE = {"id": "resp_1", "status": "completed", "output": [], "usage": {"output_tokens": 9}}
STREAM = [
    event("created", response={"id": "resp_1"}),
    event("in_progress", response={"id": "resp_1"}),
    event("output_item.added", item=REASONING),
    event("reasoning_text.delta", delta="It is", item_id="rs_1"),
    event("reasoning_text.delta", delta=' "so".', item_id="rs_1"),
    event("output_item.added", item=MESSAGE),
    event("content_part.added", item_id="msg_1", part={"type": "output_text", "text": ""}),
    event("output_text.delta", delta="Yes", item_id="msg_1"),
    event("output_text.done", item_id="msg_1", text="Yes"),
    event("content_part.done", item_id="msg_1", part={"type": "output_text", "text": "Yes"}),
    event("output_item.done", item={**REASONING, "content": [{"type": "reasoning_text", "text": 'It is "so".'}]}),
    event("output_item.done", item=MESSAGE),
    event("completed", response=WHOLE),
]


def read(stream: bytes) -> list[dict[str, Any]]:
    return [value for _, value in events(stream)]


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_every_event_is_numbered_and_placed(at_once: int) -> None:
    stream = ResponsesStream()
    chunks = [b"".join(STREAM[i : i + at_once]) for i in range(0, len(STREAM), at_once)]
    found = read(b"".join(map(stream.feed, chunks)))
    assert [value["sequence_number"] for value in found] == list(range(len(found)))
    places = {value["type"]: (value.get("output_index"), value.get("content_index")) for value in found}
    assert places["response.reasoning_text.delta"] == (0, 0)
    assert places["response.reasoning_text.done"] == (0, 0)
    assert places["response.output_text.delta"] == places["response.content_part.added"] == (1, 0)
    assert places["response.completed"] == (None, None)


def test_an_item_is_done_once_and_before_the_next_begins() -> None:
    found = read(ResponsesStream().feed(b"".join(STREAM)))
    items = [(value["type"].rpartition(".")[2], value["item"]["id"]) for value in found if "item" in value]
    assert items == [("added", "rs_1"), ("done", "rs_1"), ("added", "msg_1"), ("done", "msg_1")]
    (done,) = [value for value in found if value["type"] == "response.reasoning_text.done"]
    assert done["text"] == 'It is "so".'
    (item,) = [
        value["item"] for value in found if value["type"].endswith("item.done") and value["item"]["id"] == "rs_1"
    ]
    assert item["content"] == [{"type": "reasoning_text", "text": 'It is "so".'}]


def test_a_call_says_its_arguments_whole() -> None:
    stream = ResponsesStream().feed(
        event("output_item.added", item=CALL)
        + event("function_call_arguments.delta", delta='{"a"', item_id="fc_1")
        + event("output_item.done", item={**CALL, "arguments": '{"a": 1}'})
    )
    found = read(stream)
    assert [value["type"] for value in found][-2:] == [
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert found[1]["output_index"] == 0
    assert "content_index" not in found[1]
    assert json.loads(found[2]["arguments"]) == {"a": 1}


def test_reasoning_alone_is_done_at_the_end() -> None:
    found = read(ResponsesStream().feed(STREAM[2] + STREAM[3] + STREAM[-1]))
    assert [value["type"].removeprefix("response.") for value in found] == [
        "output_item.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "output_item.done",
        "completed",
    ]


def test_what_is_as_long_as_was_allowed_is_incomplete() -> None:
    (value,) = read(ResponsesStream(9).feed(STREAM[-1]))
    assert value["type"] == "response.incomplete"
    assert value["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    (whole,) = read(ResponsesStream(10).feed(STREAM[-1]))
    assert (whole["type"], whole["response"]["status"]) == ("response.completed", "completed")
    assert finished({"status": "completed"}, 9)["status"] == "completed"


def test_comments_and_text_that_looks_like_an_event_stay_as_they_are() -> None:
    assert ResponsesStream().feed(b": ping\n\n") == b": ping\n\n"
    said = "event: response.completed\n\ndata: {"
    (value,) = read(ResponsesStream().feed(event("output_text.delta", delta=said, item_id="x")))
    assert value["delta"] == said
