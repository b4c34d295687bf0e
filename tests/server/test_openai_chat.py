"""OpenAI's own client against `gpt-oss serve`: models and chat.

Nothing of the client is changed but its address.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, Field

from tests.demo.prompts import Message, user
from tests.server.clients import (
    CAPITAL,
    MODEL,
    PARIS,
    ROME,
    SCHEMA,
    STORY,
    TIMEOUT_S,
    assert_follows_schema,
    assert_plain,
    extra,
)

JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": SCHEMA}}


@pytest.fixture(scope="module")
def client(demo_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo_url}/v1", api_key="none", timeout=TIMEOUT_S) as opened:
        yield opened


def ask(client: openai.OpenAI, *messages: str | Message, **options: Any) -> ChatCompletion:
    said: Any = [user(m) if isinstance(m, str) else m for m in messages]
    asked = {"model": MODEL, "temperature": 0, **options}
    completion: ChatCompletion = client.chat.completions.create(messages=said, stream=False, **asked)
    return completion


def stream(client: openai.OpenAI, *messages: str | Message, **options: Any) -> list[ChatCompletionChunk]:
    said: Any = [user(m) if isinstance(m, str) else m for m in messages]
    asked = {"model": MODEL, "temperature": 0, **options}
    return list(client.chat.completions.create(messages=said, stream=True, **asked))


def joined(chunks: list[ChatCompletionChunk]) -> dict[int, tuple[str, str, str | None]]:
    """Reasoning, content and end of each choice."""
    reasoning: dict[int, str] = defaultdict(str)
    content: dict[int, str] = defaultdict(str)
    finish: dict[int, str | None] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            assert choice.index not in finish, "said on after its end"
            reasoning[choice.index] += extra(choice.delta, "reasoning_content")
            content[choice.index] += choice.delta.content or ""
            if choice.finish_reason is not None:
                finish[choice.index] = choice.finish_reason
    return {i: (reasoning[i], content[i], finish[i]) for i in sorted(finish)}


def parts(completion: ChatCompletion) -> dict[int, tuple[str, str, str | None]]:
    """The same of an answer in one piece."""
    return {
        c.index: (extra(c.message, "reasoning_content"), c.message.content or "", c.finish_reason)
        for c in completion.choices
    }


def tokens(usage: CompletionUsage | None) -> tuple[int, int]:
    """Read and written; they have to add up."""
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return usage.prompt_tokens, usage.completion_tokens


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    (model,) = client.models.list()
    assert (model.id, model.object) == (MODEL, "model")


def test_the_model_is_found_by_its_name(client: openai.OpenAI) -> None:
    assert client.models.retrieve(MODEL).id == MODEL


def test_an_answer_with_its_reasoning_apart(client: openai.OpenAI) -> None:
    answer = ask(client, CAPITAL)
    (choice,) = answer.choices
    assert (answer.object, answer.model, choice.index) == ("chat.completion", MODEL, 0)
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", PARIS, "stop")
    assert not choice.message.tool_calls
    assert extra(choice.message, "reasoning_content") == "The user asks for the capital of France. It is Paris."
    assert_plain(extra(choice.message, "reasoning_content"))
    assert tokens(answer.usage)[0] == client.responses.input_tokens.count(model=MODEL, input=CAPITAL).input_tokens


def test_streamed_deltas_are_the_answer_and_usage_agrees(client: openai.OpenAI) -> None:
    whole = ask(client, CAPITAL)
    chunks = stream(client, CAPITAL, stream_options={"include_usage": True})
    assert joined(chunks) == parts(whole)
    assert {(c.id, c.object, c.model) for c in chunks} == {(chunks[0].id, "chat.completion.chunk", MODEL)}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) > 20, "not streamed token by token"
    # The order of things: reasoning, then content, never mixed.
    kinds = ["content" if c.choices[0].delta.content else "reasoning" for c in chunks[1:-2]]
    assert kinds == sorted(kinds, reverse=True)
    *others, last = chunks
    assert all(chunk.usage is None for chunk in others)
    assert last.choices == []
    assert tokens(last.usage) == tokens(whole.usage)


def test_usage_is_streamed_only_where_it_is_asked_for(client: openai.OpenAI) -> None:
    chunks = stream(client, CAPITAL)
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)


def test_the_asynchronous_client_too(client: openai.OpenAI) -> None:
    async def streamed() -> list[ChatCompletionChunk]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="none", timeout=TIMEOUT_S) as other:
            messages: Any = [user(CAPITAL)]
            answer = await other.chat.completions.create(model=MODEL, messages=messages, temperature=0, stream=True)
            return [chunk async for chunk in answer]

    assert joined(asyncio.run(streamed())) == parts(ask(client, CAPITAL))


def test_more_effort_is_more_reasoning_and_the_same_answer(client: openai.OpenAI) -> None:
    answers = [parts(ask(client, CAPITAL, reasoning_effort=effort))[0] for effort in ("low", "medium", "high")]
    assert {content for _, content, _ in answers} == {PARIS}
    lengths = [len(reasoning) for reasoning, _, _ in answers]
    assert lengths == sorted(set(lengths))


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_and_earlier_turns_are_read(client: openai.OpenAI, role: str) -> None:
    instructions = {"role": role, "content": "You are a helpful assistant."}
    alone = ask(client, CAPITAL)
    first = ask(client, instructions, CAPITAL)
    assert tokens(first.usage)[0] > tokens(alone.usage)[0]
    message = first.choices[0].message
    # As clients keep it, `reasoning_content` and all.
    second = ask(client, instructions, CAPITAL, message.to_dict(), "And of Italy?")
    assert second.choices[0].message.content == ROME


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_at_its_length(client: openai.OpenAI, name: str) -> None:
    whole, _, _ = parts(ask(client, CAPITAL))[0]
    limit: dict[str, Any] = {name: 7}
    cut = ask(client, CAPITAL, **limit)
    reasoning, content, finish = parts(cut)[0]
    assert (content, finish) == ("", "length")
    assert reasoning
    assert whole.startswith(reasoning)
    assert tokens(cut.usage)[1] == 7
    assert joined(stream(client, CAPITAL, **limit)) == parts(cut)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_an_answer_cut_within_its_first_header_says_nothing(client: openai.OpenAI, limit: int) -> None:
    assert parts(ask(client, CAPITAL, max_tokens=limit)) == {0: ("", "", "length")}


@pytest.mark.parametrize("stop", ["upon", ["nowhere", "upon"]])
def test_a_stop_sequence_cuts_the_answer_before_it(client: openai.OpenAI, stop: str | list[str]) -> None:
    reasoning, content, _ = parts(ask(client, STORY))[0]
    assert content.startswith("Once upon a time")
    cut = ask(client, STORY, stop=stop)
    assert parts(cut) == {0: (reasoning, "Once ", "stop")}
    assert joined(stream(client, STORY, stop=stop)) == parts(cut)


def test_logprobs_of_the_answer(client: openai.OpenAI) -> None:
    (choice,) = ask(client, CAPITAL, logprobs=True, top_logprobs=3).choices
    assert choice.message.content == PARIS
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    said = choice.logprobs.content
    for token in said:
        assert bytes(token.bytes or []).decode() == token.token
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        # Nothing is drawn at temperature 0: the likeliest comes first, and is taken.
        assert (token.top_logprobs[0].token, token.top_logprobs[0].logprob) == (token.token, token.logprob)
        assert [t.logprob for t in token.top_logprobs] == sorted((t.logprob for t in token.top_logprobs), reverse=True)
        assert sum(math.exp(t.logprob) for t in token.top_logprobs) <= 1 + 1e-3
    # llama-server lists reasoning and Harmony's headers as well; OpenAI lists the content alone.
    assert "".join(token.token for token in said).endswith(PARIS)


def test_logprobs_come_with_the_text_that_they_are_of(client: openai.OpenAI) -> None:
    heard = ""
    for chunk in stream(client, CAPITAL, logprobs=True, top_logprobs=1):
        (choice,) = chunk.choices
        if choice.delta.content:
            assert choice.logprobs is not None
            (token,) = choice.logprobs.content or []
            assert (token.token, len(token.top_logprobs)) == (choice.delta.content, 1)
            heard += token.token
    assert heard == PARIS


def test_logprobs_without_alternatives(client: openai.OpenAI) -> None:
    """llama-server gives none at all where 0 alternatives are asked for; the shield asks for one, the token itself."""
    (choice,) = ask(client, CAPITAL, logprobs=True, top_logprobs=0).choices
    assert choice.logprobs is not None
    assert choice.logprobs.content
    assert all([other.token for other in token.top_logprobs] == [token.token] for token in choice.logprobs.content)


def test_the_same_seed_says_the_same_at_temperature_1(client: openai.OpenAI) -> None:
    said = [parts(ask(client, STORY, temperature=1, seed=seed)) for seed in (1, 2, 3, 4, 1, 2, 3, 4)]
    assert said[:4] == said[4:]
    assert any(other != said[0] for other in said), "nothing was drawn"


def test_two_choices(client: openai.OpenAI) -> None:
    one = parts(ask(client, CAPITAL))[0]
    both = ask(client, CAPITAL, n=2)
    assert parts(both) == {0: one, 1: one}
    assert joined(stream(client, CAPITAL, n=2)) == parts(both)
    story = ask(client, STORY, n=2, temperature=1.5, seed=3)
    assert len({content for _, content, _ in parts(story).values()}) == 2, "both drew the same"


def test_usage_counts_every_choice(client: openai.OpenAI) -> None:
    n_prompt, n_predicted = tokens(ask(client, CAPITAL).usage)
    assert tokens(ask(client, CAPITAL, n=2).usage) == (n_prompt, 2 * n_predicted)


def test_usage_is_streamed_once_and_last(client: openai.OpenAI) -> None:
    chunks = stream(client, CAPITAL, n=2, stream_options={"include_usage": True})
    assert [i for i, chunk in enumerate(chunks) if chunk.usage is not None] == [len(chunks) - 1]
    assert chunks[-1].choices == []
    assert tokens(chunks[-1].usage) == tokens(ask(client, CAPITAL, n=2).usage)
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in stream(client, CAPITAL, n=2))


@pytest.mark.parametrize(
    ("name", "value"), [("n", 9), ("temperature", "hot"), ("response_format", {"type": "xml"}), ("tool_choice", "now")]
)
def test_what_cannot_be_done_is_refused_by_name(client: openai.OpenAI, name: str, value: object) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(openai.BadRequestError, match=name):
        ask(client, CAPITAL, **options)


def test_an_answer_follows_a_json_schema(client: openai.OpenAI) -> None:
    answer = ask(client, CAPITAL, response_format=JSON_SCHEMA)
    ((reasoning, content, finish),) = parts(answer).values()
    assert_follows_schema(content)
    assert_plain(reasoning)
    assert (bool(reasoning), finish) == (True, "stop")
    assert joined(stream(client, CAPITAL, response_format=JSON_SCHEMA)) == parts(answer)


class Place(BaseModel):
    """What the client makes a schema of by itself."""

    city: Literal["Paris", "Rome"]
    stars: int = Field(ge=1, le=5)


def test_an_answer_is_parsed_into_a_class(client: openai.OpenAI) -> None:
    messages: Any = [user(CAPITAL)]
    answer = client.chat.completions.parse(model=MODEL, messages=messages, temperature=0, response_format=Place)
    assert isinstance(answer.choices[0].message.parsed, Place)
