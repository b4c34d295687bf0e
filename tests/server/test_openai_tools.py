"""OpenAI's own client against `gpt-oss serve`: tools, in chat.

What llama-server gets wrong stands here as it should be, marked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessage

from tests.demo.prompts import Message, assistant, user
from tests.server.clients import (
    CAPITAL,
    MODEL,
    PARIS,
    TIMEOUT_S,
    TOKYO,
    TOOLS,
    assert_plain,
    extra,
    weather,
)

WEATHER, OTHER = TOOLS
T = TypeVar("T")


@pytest.fixture(scope="module")
def client(demo_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo_url}/v1", api_key="none", timeout=TIMEOUT_S) as opened:
        yield opened


def ask(client: openai.OpenAI, *messages: str | Message | ChatCompletionMessage, **options: Any) -> ChatCompletion:
    said: Any = [user(m) if isinstance(m, str) else m for m in messages]
    asked = {"model": MODEL, "temperature": 0, "tools": [WEATHER], "max_tokens": 400, **options}
    completion: ChatCompletion = client.chat.completions.create(messages=said, stream=False, **asked)
    return completion


def calls(completion: ChatCompletion) -> list[tuple[str, Any]]:
    """Names and arguments, of an answer that calls or does not, and says so."""
    (choice,) = completion.choices
    made = choice.message.tool_calls or []
    assert (choice.finish_reason == "tool_calls") == bool(made)
    assert_plain(choice.message.content, extra(choice.message, "reasoning_content"))
    for call in made:
        assert call.type == "function"
        assert call.id
    return [(c.function.name, json.loads(c.function.arguments)) for c in made if c.type == "function"]


def streamed(client: openai.OpenAI, question: str, **options: Any) -> tuple[str, str, list[list[str]], str | None]:
    """Reasoning, content, calls as id, name and arguments, and end; a call's parts each as they have to come."""
    messages: Any = [user(question)]
    asked = {"model": MODEL, "temperature": 0, "tools": [WEATHER], "max_tokens": 400, **options}
    reasoning, content, made, finish = "", "", list[list[str]](), None
    for chunk in client.chat.completions.create(messages=messages, stream=True, **asked):
        (choice,) = chunk.choices
        reasoning += extra(choice.delta, "reasoning_content")
        content += choice.delta.content or ""
        for call in choice.delta.tool_calls or []:
            assert call.function is not None
            if call.index == len(made):
                assert call.id
                assert call.type == "function"
                assert call.function.name
                made.append([call.id, call.function.name, ""])
            else:
                assert call.id is None
                assert call.function.name is None
            made[call.index][2] += call.function.arguments or ""
        finish = choice.finish_reason or finish
    return reasoning, content, made, finish


def result(message: ChatCompletionMessage, degrees: int) -> Message:
    """What the tool gave for the message's one call."""
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    return {"role": "tool", "tool_call_id": call.id, "content": weather(degrees)}


def honoured_or_refused(name: str, request: Callable[[], T]) -> T | None:
    """The answer, or None for a refusal that names the parameter."""
    try:
        return request()
    except openai.BadRequestError as error:
        assert name in error.message  # noqa: PT017  # a refusal is one of two right answers
        return None


def test_a_call_with_its_reasoning_apart(client: openai.OpenAI) -> None:
    answer = ask(client, TOKYO)
    assert calls(answer) == [("get_weather", {"location": "Tokyo"})]
    message = answer.choices[0].message
    assert not message.content
    assert extra(message, "reasoning_content") == "The user asks about the weather in Tokyo. I will call get_weather."


def test_a_streamed_call_is_the_same(client: openai.OpenAI) -> None:
    message = ask(client, TOKYO).choices[0].message
    reasoning, content, made, finish = streamed(client, TOKYO)
    assert (reasoning, content, finish) == (extra(message, "reasoning_content"), "", "tool_calls")
    ((_, name, arguments),) = made
    assert message.tool_calls is not None
    assert [(c.function.name, c.function.arguments) for c in message.tool_calls if c.type == "function"] == [
        (name, arguments)
    ]


def test_the_clients_own_stream_gathers_the_call(client: openai.OpenAI) -> None:
    messages: Any = [user(TOKYO)]
    tools: Any = [{**WEATHER, "function": {**WEATHER["function"], "strict": True}}]
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools, temperature=0) as events:
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        final = events.get_final_completion()
    assert [(event.name, event.parsed_arguments) for event in done] == [("get_weather", {"location": "Tokyo"})]
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("degrees", [18, 5])
def test_a_result_is_read_and_reasoning_given_back_is_read_too(client: openai.OpenAI, degrees: int) -> None:
    asked = ask(client, TOKYO).choices[0].message
    answer = ask(client, TOKYO, asked, result(asked, degrees))
    assert calls(answer) == []
    assert answer.choices[0].message.content == f"In Tokyo it is {degrees} degrees and sunny."
    # The model is trained to find its own reasoning before the call that came of it.
    bare = assistant(None, tool_calls=asked.to_dict()["tool_calls"])
    without = ask(client, TOKYO, bare, result(asked, degrees))
    assert answer.usage is not None
    assert without.usage is not None
    assert answer.usage.prompt_tokens > without.usage.prompt_tokens + 10


def test_calls_in_sequence(client: openai.OpenAI) -> None:
    conversation: list[Message | ChatCompletionMessage] = []
    ids = set()
    for city, degrees in (("Tokyo", 18), ("Oslo", 5), ("Rome", 25)):
        conversation.append(user(f"What is the weather in {city}?"))
        answer = ask(client, *conversation)
        assert calls(answer) == [("get_weather", {"location": city})]
        message = answer.choices[0].message
        ids |= {call.id for call in message.tool_calls or []}
        conversation += [message, result(message, degrees)]
        message = ask(client, *conversation).choices[0].message
        assert message.content == f"In {city} it is {degrees} degrees and sunny."
        conversation.append(message)
    assert len(ids) == 3


@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}])
def test_auto_calls_where_it_helps_and_only_there(client: openai.OpenAI, choice: dict[str, Any]) -> None:
    assert calls(ask(client, TOKYO, **choice)) == [("get_weather", {"location": "Tokyo"})]
    answer = ask(client, CAPITAL, **choice)
    assert calls(answer) == []
    assert answer.choices[0].message.content == PARIS


def test_none_makes_no_call(client: openai.OpenAI) -> None:
    assert calls(ask(client, TOKYO, tool_choice="none")) == []
    _, content, made, finish = streamed(client, TOKYO, tool_choice="none")
    assert (made, finish) == ([], "stop")
    assert_plain(content)


def test_required_never_answers_without_a_call(client: openai.OpenAI) -> None:
    """Asked what needs no tool. The demo model may go on thinking until its limit; it may not answer."""
    forced = 0
    for effort, question in (
        *(("low", "How is the weather?"), ("low", "Hi"), ("medium", "Tell me a story."), ("high", CAPITAL)),
        *(("high", "What is the capital of Japan?"), ("high", "What day is it?")),
    ):
        options: dict[str, Any] = {"reasoning_effort": effort, "max_tokens": 200}
        (choice,) = ask(client, question, tool_choice="required", **options).choices
        assert not choice.message.content
        assert choice.finish_reason in {"tool_calls", "length"}
        if choice.finish_reason == "tool_calls":
            (call,) = choice.message.tool_calls or []
            assert call.type == "function"
            assert set(json.loads(call.function.arguments)) <= {"location", "format"}
            forced += not calls(ask(client, question, **options))
    assert forced, "no call that would not have been made anyway"


def test_a_named_choice_is_the_one_that_is_called(client: openai.OpenAI) -> None:
    """llama-server takes every choice that is an object for "auto"; the shield does not let it."""
    assert calls(ask(client, TOKYO, tools=TOOLS)) == [("get_current_weather", {"location": "Tokyo"})]
    named = {"type": "function", "function": {"name": "get_weather"}}
    answer = honoured_or_refused("tool_choice", lambda: ask(client, TOKYO, tools=TOOLS, tool_choice=named))
    assert answer is None or calls(answer) == [("get_weather", {"location": "Tokyo"})]


def test_a_choice_that_is_not_offered_is_refused(client: openai.OpenAI) -> None:
    named = {"type": "function", "function": {"name": "get_time"}}
    with pytest.raises(openai.BadRequestError, match="get_time"):
        ask(client, TOKYO, tool_choice=named)


def test_only_allowed_tools_are_called(client: openai.OpenAI) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
    answer = honoured_or_refused("tool_choice", lambda: ask(client, TOKYO, tools=TOOLS, tool_choice=choice))
    assert answer is None or [name for name, _ in calls(answer)] == ["get_weather"]


def test_functions_of_the_old_form_are_honoured_or_refused(client: openai.OpenAI) -> None:
    """llama-server does not know the word."""
    old: dict[str, Any] = {"tools": openai.omit, "functions": [WEATHER["function"]]}
    answer = honoured_or_refused("functions", lambda: ask(client, TOKYO, **old))
    assert answer is None or answer.choices[0].message.function_call is not None


def test_one_call_at_a_time_where_parallel_ones_are_unwanted(client: openai.OpenAI) -> None:
    answer = ask(client, "What is the weather in Tokyo and Rome?", parallel_tool_calls=False)
    assert len(calls(answer)) == 1


def test_parallel_calls_are_allowed_and_made_one_a_turn(client: openai.OpenAI) -> None:
    """`true` allows several, and Harmony ends a turn with its first call: the next one comes with the next turn."""
    answer = ask(client, "What is the weather in Tokyo and Rome?", parallel_tool_calls=True)
    assert len(calls(answer)) == 1


def test_calls_that_another_model_made_in_parallel_are_all_read(client: openai.OpenAI) -> None:
    def given(*cities: str) -> int:
        made = [
            {
                "id": city,
                "type": "function",
                "function": {"name": "get_weather", "arguments": f'{{"location":"{city}"}}'},
            }
            for city in cities
        ]
        results = [{"role": "tool", "tool_call_id": city, "content": weather(18)} for city in cities]
        answer = ask(client, TOKYO, assistant(None, tool_calls=made), *results)
        assert calls(answer) == []
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    assert given("Tokyo", "Rome") > given("Tokyo") + 10
    assert given("Tokyo", "Rome Rome Rome") > given("Tokyo", "Rome"), "the second call's arguments are not read"


def test_what_cannot_be_done_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="logprobs"):
        streamed(client, TOKYO, logprobs=True)
