"""Anthropic's own client against `gpt-oss serve`.

The client has no `temperature` any more, so it is put into the body: the demo model is too small to be sampled. What
llama-server gets wrong stands here as it should be, marked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock

from tests.demo.prompts import user
from tests.server.clients import (
    ANTHROPIC_TOOLS,
    CAPITAL,
    MODEL,
    PARIS,
    ROME,
    SCHEMA,
    STORY,
    TIMEOUT_S,
    TOKYO,
    assert_follows_schema,
    assert_plain,
    weather,
    without_repeats,
)

WEATHER, OTHER = ANTHROPIC_TOOLS
THOUGHT = "The user asks for the capital of France. It is Paris."
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def client(demo_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=demo_url, api_key="none", timeout=TIMEOUT_S) as opened:
        yield opened


def ask(client: anthropic.Anthropic, *messages: Any, **options: Any) -> Message:
    asked = {"model": MODEL, "max_tokens": 400, "extra_body": GREEDY, **options}
    said: Any = [user(m) if isinstance(m, str) else m for m in messages]
    message = client.messages.create(messages=said, stream=False, **asked)
    assert isinstance(message, Message)
    return message


def stream(client: anthropic.Anthropic, *messages: Any, **options: Any) -> list[Any]:
    asked = {"model": MODEL, "max_tokens": 400, "extra_body": GREEDY, **options}
    said: Any = [user(m) if isinstance(m, str) else m for m in messages]
    return list(client.messages.create(messages=said, stream=True, **asked))


def shape(message: Message) -> list[tuple[Any, ...]]:
    """Blocks in order, without ids."""
    found: list[tuple[Any, ...]] = []
    for block in message.content:
        if isinstance(block, ThinkingBlock):
            assert_plain(block.thinking)
            found.append(("thinking", block.thinking))
        elif isinstance(block, ToolUseBlock):
            assert block.id
            found.append(("tool_use", block.name, block.input))
        else:
            assert isinstance(block, TextBlock)
            assert_plain(block.text)
            found.append(("text", block.text))
    return found


def called(message: Message) -> list[str]:
    """Names of the tools; a message that calls says so."""
    names = [block.name for block in message.content if isinstance(block, ToolUseBlock)]
    assert (message.stop_reason == "tool_use") == bool(names)
    return names


def n_read(message: Message) -> int:
    """Tokens of the whole prompt: Anthropic counts those that were cached apart."""
    return message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)


def test_thinking_is_a_block_of_its_own_before_the_text(client: anthropic.Anthropic) -> None:
    message = ask(client, CAPITAL)
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert shape(message) == [("thinking", THOUGHT), ("text", PARIS)]
    messages: Any = [user(CAPITAL)]
    assert n_read(message) == client.messages.count_tokens(model=MODEL, messages=messages).input_tokens
    assert ask(client, CAPITAL, max_tokens=9).usage.output_tokens == 9 < message.usage.output_tokens


def test_tokens_of_system_and_tools_are_counted(client: anthropic.Anthropic) -> None:
    messages: Any = [user(CAPITAL)]
    counts = []
    for more in ({}, {"system": "You are a helpful assistant."}, {"tools": [WEATHER]}):
        options: dict[str, Any] = more
        counts.append(client.messages.count_tokens(model=MODEL, messages=messages, **options).input_tokens)
        message = ask(client, CAPITAL, **options)
        assert n_read(message) == counts[-1]
        assert shape(message)[-1] == ("text", PARIS)
    assert counts == sorted(set(counts))


def test_streamed_events_come_in_order_and_are_the_message(client: anthropic.Anthropic) -> None:
    whole = ask(client, CAPITAL)
    events = stream(client, CAPITAL)
    kinds = without_repeats([event.type for event in events])
    assert kinds[:3] == ["message_start", "content_block_start", "content_block_delta"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    start, end = events[0].message, events[-2]
    assert (start.role, start.content, start.stop_reason, start.model) == ("assistant", [], None, MODEL)
    assert (end.delta.stop_reason, end.usage.output_tokens) == ("end_turn", whole.usage.output_tokens)
    assert n_read(start) == n_read(whole)
    starts = [(e.index, e.content_block.type) for e in events if e.type == "content_block_start"]
    assert starts == [(0, "thinking"), (1, "text")]
    assert sorted(event.index for event in events if event.type == "content_block_stop") == [0, 1]
    deltas = [event for event in events if event.type == "content_block_delta"]
    assert "".join(e.delta.thinking for e in deltas if (e.index, e.delta.type) == (0, "thinking_delta")) == THOUGHT
    assert "".join(e.delta.text for e in deltas if (e.index, e.delta.type) == (1, "text_delta")) == PARIS
    assert {(e.index, e.delta.type) for e in deltas} <= {
        *((0, "thinking_delta"), (0, "signature_delta")),
        (1, "text_delta"),
    }


def test_a_block_is_stopped_before_the_next_begins(client: anthropic.Anthropic) -> None:
    opened: list[int] = []
    for event in stream(client, CAPITAL):
        if event.type == "content_block_start":
            assert opened == []
            opened.append(event.index)
        elif event.type == "content_block_delta":
            assert opened == [event.index]
        elif event.type == "content_block_stop":
            opened.remove(event.index)


def test_the_clients_own_stream_gathers_the_message(client: anthropic.Anthropic) -> None:
    messages: Any = [user(CAPITAL)]
    with client.messages.stream(model=MODEL, messages=messages, max_tokens=400, extra_body=GREEDY) as events:
        assert "".join(events.text_stream) == PARIS
        final = events.get_final_message()
    assert shape(final) == shape(ask(client, CAPITAL))
    tools: Any = [WEATHER]
    messages = [user(TOKYO)]
    with client.messages.stream(
        model=MODEL, messages=messages, tools=tools, max_tokens=400, extra_body=GREEDY
    ) as events:
        assert shape(events.get_final_message())[-1] == ("tool_use", "get_weather", {"location": "Tokyo"})


def test_earlier_turns_are_read(client: anthropic.Anthropic) -> None:
    first = ask(client, CAPITAL)
    for earlier in (first.content, PARIS):
        second = ask(client, CAPITAL, {"role": "assistant", "content": earlier}, "And of Italy?")
        assert shape(second)[-1] == ("text", ROME)


@pytest.mark.parametrize("blocks", [False, True])
def test_a_tool_is_used_and_its_result_read(client: anthropic.Anthropic, blocks: bool) -> None:
    message = ask(client, TOKYO, tools=[WEATHER])
    assert called(message) == ["get_weather"]
    assert shape(message) == [
        ("thinking", "The user asks about the weather in Tokyo. I will call get_weather."),
        ("tool_use", "get_weather", {"location": "Tokyo"}),
    ]
    use = message.content[-1]
    assert isinstance(use, ToolUseBlock)
    content: Any = [{"type": "text", "text": weather(5)}] if blocks else weather(5)
    result = user([{"type": "tool_result", "tool_use_id": use.id, "content": content}])
    answer = ask(client, TOKYO, {"role": "assistant", "content": message.content}, result, tools=[WEATHER])
    assert called(answer) == []
    assert shape(answer)[-1] == ("text", "In Tokyo it is 5 degrees and sunny.")
    without = ask(client, TOKYO, {"role": "assistant", "content": [use]}, result, tools=[WEATHER])
    assert n_read(answer) > n_read(without) + 10, "thinking that was given back is not read"


def test_a_streamed_use_of_a_tool(client: anthropic.Anthropic) -> None:
    events = stream(client, TOKYO, tools=[WEATHER])
    starts = [e.content_block for e in events if e.type == "content_block_start"]
    assert [block.type for block in starts] == ["thinking", "tool_use"]
    assert (starts[1].name, bool(starts[1].id)) == ("get_weather", True)
    given = [e for e in events if e.type == "content_block_delta" and e.delta.type == "input_json_delta"]
    assert {event.index for event in given} == {1}
    assert "".join(event.delta.partial_json for event in given) == '{"location":"Tokyo"}'
    assert events[-2].delta.stop_reason == "tool_use"


def test_a_choice_of_tools(client: anthropic.Anthropic) -> None:
    """llama-server takes "none" for "auto" and a named tool for "any"; the shield does not let it."""
    assert called(ask(client, TOKYO, tools=ANTHROPIC_TOOLS)) == ["get_current_weather"]
    assert called(ask(client, CAPITAL, tools=[WEATHER], tool_choice={"type": "auto"})) == []
    assert called(ask(client, TOKYO, tools=[WEATHER], tool_choice={"type": "any"})) == ["get_weather"]
    assert called(ask(client, TOKYO, tools=[WEATHER], tool_choice={"type": "none"})) == []
    named = {"type": "tool", "name": "get_weather"}
    assert called(ask(client, TOKYO, tools=ANTHROPIC_TOOLS, tool_choice=named)) == ["get_weather"]
    with pytest.raises(anthropic.BadRequestError, match="get_time"):
        ask(client, TOKYO, tools=[WEATHER], tool_choice={"type": "tool", "name": "get_time"})


def test_one_call_at_a_time_where_parallel_ones_are_unwanted(client: anthropic.Anthropic) -> None:
    alone = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(called(ask(client, "What is the weather in Tokyo and Rome?", tools=[WEATHER], tool_choice=alone))) == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_is_cut_at_its_length(client: anthropic.Anthropic, streamed: bool) -> None:
    if streamed:
        end = stream(client, CAPITAL, max_tokens=7)[-2]
        assert (end.delta.stop_reason, end.usage.output_tokens) == ("max_tokens", 7)
    else:
        message = ask(client, CAPITAL, max_tokens=7)
        assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 7)
        ((kind, text),) = shape(message)
        assert (kind, THOUGHT.startswith(text)) == ("thinking", True)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_an_answer_cut_within_its_first_header_says_nothing(client: anthropic.Anthropic, limit: int) -> None:
    assert "".join(text for _, text in shape(ask(client, CAPITAL, max_tokens=limit))) == ""


def test_a_stop_sequence_cuts_the_answer_before_it(client: anthropic.Anthropic) -> None:
    message = ask(client, STORY, stop_sequences=["nowhere", "upon"])
    assert shape(message)[-1] == ("text", "Once ")
    assert message.stop_sequence == "upon"


def test_a_stop_sequence_is_the_reason(client: anthropic.Anthropic) -> None:
    assert ask(client, STORY, stop_sequences=["upon"]).stop_reason == "stop_sequence"


def test_an_answer_follows_a_json_schema(client: anthropic.Anthropic) -> None:
    try:
        form = {"format": {"type": "json_schema", "schema": SCHEMA}}
        message = ask(client, CAPITAL, output_config=form)
    except anthropic.BadRequestError as error:
        assert "output_config" in error.message  # noqa: PT017  # a refusal is one of two right answers
    else:
        assert shape(message)[-1][1].startswith("{")
        assert_follows_schema(shape(message)[-1][1])


def test_effort_is_heard(client: anthropic.Anthropic) -> None:
    try:
        message = ask(client, CAPITAL, output_config={"effort": "low"})
    except anthropic.BadRequestError as error:
        assert "output_config" in error.message  # noqa: PT017  # a refusal is one of two right answers
    else:
        assert shape(message) == [("thinking", "Easy fact."), ("text", PARIS)]


def test_the_model_is_listed(client: anthropic.Anthropic) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
