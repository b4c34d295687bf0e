"""OpenAI's own client against `gpt-oss serve`: responses.

What llama-server gets wrong stands here as it should be, marked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseReasoningItem

from tests.demo.prompts import user
from tests.server.clients import (
    CAPITAL,
    MODEL,
    PARIS,
    RESPONSES_TOOLS,
    ROME,
    SCHEMA,
    TIMEOUT_S,
    TOKYO,
    assert_follows_schema,
    assert_plain,
    weather,
    without_repeats,
)

WEATHER, OTHER = RESPONSES_TOOLS
THOUGHT = "The user asks for the capital of France. It is Paris."


@pytest.fixture(scope="module")
def client(demo_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo_url}/v1", api_key="none", timeout=TIMEOUT_S) as opened:
        yield opened


def ask(client: openai.OpenAI, given: Any, **options: Any) -> Response:
    asked = {"model": MODEL, "temperature": 0, "max_output_tokens": 400, **options}
    response: Response = client.responses.create(input=given, stream=False, **asked)
    return response


def stream(client: openai.OpenAI, given: Any, **options: Any) -> list[Any]:
    asked = {"model": MODEL, "temperature": 0, "max_output_tokens": 400, **options}
    return list(client.responses.create(input=given, stream=True, **asked))


def shape(response: Response) -> list[tuple[str, ...]]:
    """Items in order, without their ids; each with an id of its own."""
    assert len({item.id for item in response.output}) == len(response.output)
    found: list[tuple[str, ...]] = []
    for item in response.output:
        if isinstance(item, ResponseReasoningItem):
            found.append((item.type, "".join(part.text for part in item.content or [])))
        elif isinstance(item, ResponseFunctionToolCall):
            assert item.call_id
            found.append((item.type, item.name, item.arguments))
        else:
            assert item.type == "message"
            assert (item.role, item.status) == ("assistant", "completed")
            found.append((item.type, "".join(part.text for part in item.content if part.type == "output_text")))
    assert_plain(*(text for item in found for text in item))
    return found


def calls(response: Response) -> list[ResponseFunctionToolCall]:
    return [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]


def kinds(events: list[Any]) -> list[str]:
    return without_repeats([event.type.removeprefix("response.") for event in events])


def deltas(events: list[Any], kind: str) -> str:
    return "".join(event.delta for event in events if event.type == f"response.{kind}.delta")


def test_reasoning_is_an_item_of_its_own_before_the_message(client: openai.OpenAI) -> None:
    response = ask(client, CAPITAL)
    assert (response.object, response.status, response.model) == ("response", "completed", MODEL)
    assert shape(response) == [("reasoning", THOUGHT), ("message", PARIS)]
    assert response.output_text == PARIS
    usage = response.usage
    assert usage is not None
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.input_tokens == client.responses.input_tokens.count(model=MODEL, input=CAPITAL).input_tokens
    messages: Any = [user(CAPITAL)]
    chat = client.chat.completions.create(model=MODEL, messages=messages, temperature=0)
    assert chat.usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (chat.usage.prompt_tokens, chat.usage.completion_tokens)


def test_streamed_events_come_in_order_and_are_the_response(client: openai.OpenAI) -> None:
    whole = ask(client, CAPITAL)
    events = stream(client, CAPITAL)
    assert kinds(events)[:4] == ["created", "in_progress", "output_item.added", "reasoning_text.delta"]
    order = kinds(events)
    message = ["output_item.added", "content_part.added", "output_text.delta"]
    at = order.index("content_part.added")
    assert order[at - 1 : at + 2] == message
    assert order[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert [e.item.type for e in events if e.type == "response.output_item.added"] == ["reasoning", "message"]
    assert [e.item.type for e in events if e.type == "response.output_item.done"] == ["reasoning", "message"]
    assert (deltas(events, "reasoning_text"), deltas(events, "output_text")) == (THOUGHT, PARIS)
    (text,) = [event.text for event in events if event.type == "response.output_text.done"]
    assert text == PARIS
    first, last = events[0].response, events[-1].response
    assert (first.id, first.status, last.status) == (last.id, "in_progress", "completed")
    assert shape(last) == shape(whole)
    assert whole.usage is not None
    assert last.usage.output_tokens == whole.usage.output_tokens


def test_a_delta_belongs_to_the_item_that_was_added(client: openai.OpenAI) -> None:
    events = stream(client, CAPITAL)
    added = {event.item.id: event.item.type for event in events if event.type == "response.output_item.added"}
    said = {"response.reasoning_text.delta": "reasoning", "response.output_text.delta": "message"}
    assert {added[event.item_id] == said[event.type] for event in events if event.type in said} == {True}
    assert [item.id for item in events[-1].response.output] == list(added)


def test_an_item_is_done_before_the_next_begins(client: openai.OpenAI) -> None:
    events = stream(client, CAPITAL)
    items = [(e.type.rpartition(".")[2], e.item.type) for e in events if e.type.startswith("response.output_item.")]
    assert items == [("added", "reasoning"), ("done", "reasoning"), ("added", "message"), ("done", "message")]


def test_events_are_numbered(client: openai.OpenAI) -> None:
    events = stream(client, CAPITAL)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = [event for event in events if event.type == "response.output_text.delta"]
    assert {(event.output_index, event.content_index) for event in said} == {(1, 0)}


def test_the_clients_own_stream_gathers_the_response(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=CAPITAL, temperature=0) as events:
        assert deltas(list(events), "output_text") == PARIS
        assert events.get_final_response().output_text == PARIS


def test_effort_and_instructions_are_heard(client: openai.OpenAI) -> None:
    assert shape(ask(client, CAPITAL, reasoning={"effort": "low"})) == [("reasoning", "Easy fact."), ("message", PARIS)]
    alone, instructed = ask(client, CAPITAL), ask(client, CAPITAL, instructions="You are a helpful assistant.")
    assert instructed.output_text == PARIS
    assert alone.usage is not None
    assert instructed.usage is not None
    assert instructed.usage.input_tokens > alone.usage.input_tokens


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_and_its_output_given_back(client: openai.OpenAI, streamed: bool) -> None:
    if streamed:
        events = stream(client, TOKYO, tools=[WEATHER])
        added = [event.item for event in events if event.type == "response.output_item.added"]
        assert [(item.type, getattr(item, "name", None)) for item in added] == [
            ("reasoning", None),
            ("function_call", "get_weather"),
        ]
        assert json.loads(deltas(events, "function_call_arguments")) == {"location": "Tokyo"}
        response = events[-1].response
        assert response.output[-1].call_id == added[-1].call_id
    else:
        response = ask(client, TOKYO, tools=[WEATHER])
    assert [item[:2] for item in shape(response)] == [
        ("reasoning", "The user asks about the weather in Tokyo. I will call get_weather."),
        ("function_call", "get_weather"),
    ]
    (call,) = calls(response)
    assert (call.status, json.loads(call.arguments)) == ("completed", {"location": "Tokyo"})
    output = {"type": "function_call_output", "call_id": call.call_id, "output": weather(5)}
    answer = ask(client, [user(TOKYO), *response.output, output], tools=[WEATHER])
    assert answer.output_text == "In Tokyo it is 5 degrees and sunny."
    without = ask(client, [user(TOKYO), call, output], tools=[WEATHER])
    assert answer.usage is not None
    assert without.usage is not None
    assert answer.usage.input_tokens > without.usage.input_tokens + 10, "reasoning that was given back is not read"


def test_earlier_items_are_read(client: openai.OpenAI) -> None:
    first = ask(client, CAPITAL)
    conversation: list[Any] = [user(CAPITAL), *first.output, user("And of Italy?")]
    second = ask(client, conversation)
    assert second.output_text == ROME
    assert stream(client, conversation)[-1].response.output_text == ROME
    third = ask(client, [*conversation, *second.output, user("And of Japan?")])
    assert second.usage is not None
    assert third.usage is not None
    assert third.usage.input_tokens > second.usage.input_tokens


def test_earlier_messages_in_their_short_form_are_read(client: openai.OpenAI) -> None:
    given = [user(CAPITAL), {"role": "assistant", "content": PARIS}, user("And of Italy?")]
    assert ask(client, given).output_text == ROME


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_is_cut_at_its_length(client: openai.OpenAI, streamed: bool) -> None:
    limit: dict[str, Any] = {"max_output_tokens": 7}
    response = stream(client, CAPITAL, **limit)[-1].response if streamed else ask(client, CAPITAL, **limit)
    assert response.usage is not None
    assert response.usage.output_tokens == 7
    ((kind, text),) = shape(response)
    assert (kind, THOUGHT.startswith(text)) == ("reasoning", True)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_an_answer_cut_within_its_first_header_says_nothing(client: openai.OpenAI, limit: int) -> None:
    assert ask(client, CAPITAL, max_output_tokens=limit).output_text == ""


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_is_cut_is_incomplete(client: openai.OpenAI, streamed: bool) -> None:
    limit: dict[str, Any] = {"max_output_tokens": 7}
    response = stream(client, CAPITAL, **limit)[-1].response if streamed else ask(client, CAPITAL, **limit)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_an_answer_follows_a_json_schema(client: openai.OpenAI) -> None:
    """llama-server reads `response_format` only; the shield says it so."""
    text = {"format": {"type": "json_schema", "name": "place", "strict": True, "schema": SCHEMA}}
    response = ask(client, CAPITAL, text=text)
    assert_follows_schema(response.output_text)
    assert shape(response)[0] == ("reasoning", THOUGHT)


def test_a_choice_of_tools(client: openai.OpenAI) -> None:
    """llama-server takes a named choice for "auto"; the shield does not let it."""
    assert [call.name for call in calls(ask(client, TOKYO, tools=RESPONSES_TOOLS))] == ["get_current_weather"]
    assert calls(ask(client, TOKYO, tools=[WEATHER], tool_choice="none")) == []
    assert len(calls(ask(client, TOKYO, tools=[WEATHER], tool_choice="required"))) == 1
    assert calls(ask(client, CAPITAL, tools=[WEATHER], tool_choice="auto")) == []
    named = ask(client, TOKYO, tools=RESPONSES_TOOLS, tool_choice={"type": "function", "name": "get_weather"})
    assert [call.name for call in calls(named)] == ["get_weather"]
    with pytest.raises(openai.BadRequestError, match="get_time"):
        ask(client, TOKYO, tools=[WEATHER], tool_choice={"type": "function", "name": "get_time"})


def test_parallel_calls_are_allowed_and_made_one_a_turn(client: openai.OpenAI) -> None:
    question = "What is the weather in Tokyo and Rome?"
    assert len(calls(ask(client, question, tools=[WEATHER], parallel_tool_calls=True))) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("background", True),
        ("conversation", "conv_1"),
        ("prompt", {"id": "pmpt_1"}),
        ("max_tool_calls", 1),
    ],
)
def test_what_would_need_a_memory_is_refused_by_name(client: openai.OpenAI, name: str, value: object) -> None:
    """llama-server refuses the first by itself and knows nothing of the others."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(openai.BadRequestError, match=name):
        ask(client, CAPITAL, **options)
