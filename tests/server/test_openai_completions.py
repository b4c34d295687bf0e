"""OpenAI's own client against `gpt-oss serve`: completions; and everything that goes with a model of another family.

What llama-server gets wrong stands here as it should be, marked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import Completion

from tests.demo.prompts import user
from tests.server import dense
from tests.server.clients import MODEL, PARIS, SCHEMA, TIMEOUT_S, assert_follows_schema, extra, serving

PROMPT = "<|start|>user<|message|>What is the capital of France?<|end|><|start|>assistant<|channel|>final<|message|>"
"""Completions have no template: the prompt is the whole truth, tags and all."""


@pytest.fixture(scope="module")
def client(demo_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo_url}/v1", api_key="none", timeout=TIMEOUT_S) as opened:
        yield opened


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """A client of a server with a Llama that knows neither Harmony nor reasoning nor tools."""
    root = tmp_path_factory.mktemp("plain")
    path = root / f"{dense.NAME}.gguf"
    dense.write_dense(path)
    with (
        serving(root, model=path) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=TIMEOUT_S) as opened,
    ):
        yield opened


def complete(client: openai.OpenAI, **options: Any) -> Completion:
    asked = {"model": MODEL, "prompt": PROMPT, "temperature": 0, "max_tokens": 20, **options}
    completion: Completion = client.completions.create(stream=False, **asked)
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    return completion


def stream(client: openai.OpenAI, **options: Any) -> tuple[str, str | None]:
    """Text and end."""
    asked = {"model": MODEL, "prompt": PROMPT, "temperature": 0, "max_tokens": 20, **options}
    choices = [chunk.choices[0] for chunk in client.completions.create(stream=True, **asked)]
    assert len(choices) > 1
    return "".join(choice.text for choice in choices), choices[-1].finish_reason


def test_a_prompt_is_completed(client: openai.OpenAI) -> None:
    completion = complete(client)
    (choice,) = completion.choices
    assert (completion.object, completion.model) == ("text_completion", MODEL)
    assert (choice.index, choice.text, choice.finish_reason) == (0, PARIS, "stop")
    assert stream(client) == (PARIS, "stop")


@pytest.mark.parametrize(
    ("options", "text", "finish"),
    [
        ({"stop": [" is"]}, "The capital of France", "stop"),
        ({"stop": "France"}, "The capital of ", "stop"),
        ({"max_tokens": 2}, "The capital", "length"),
    ],
)
def test_a_completion_is_cut(client: openai.OpenAI, options: dict[str, Any], text: str, finish: str) -> None:
    (choice,) = complete(client, **options).choices
    assert (choice.text, choice.finish_reason) == (text, finish)
    assert stream(client, **options) == (text, finish)


def test_two_choices_and_two_prompts(client: openai.OpenAI) -> None:
    for options in ({"n": 2}, {"prompt": [PROMPT, PROMPT]}):
        asked: dict[str, Any] = options
        choices = complete(client, **asked).choices
        assert [(choice.index, choice.text) for choice in choices] == [(0, PARIS), (1, PARIS)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("echo", True), ("suffix", "!"), ("best_of", 2)],
)
def test_what_cannot_be_done_is_refused_by_name(client: openai.OpenAI, name: str, value: object) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(openai.BadRequestError, match=name):
        complete(client, **options)


def test_another_model_is_listed(plain: openai.OpenAI) -> None:
    assert [model.id for model in plain.models.list()] == [dense.NAME]


def test_another_model_chats(plain: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": dense.NAME, "messages": [user("hello")], "temperature": 0, "max_tokens": 12}
    answer = plain.chat.completions.create(stream=False, **asked)
    (choice,) = answer.choices
    assert choice.message.content
    assert not extra(choice.message, "reasoning_content")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    chunks = list(plain.chat.completions.create(stream=True, stream_options={"include_usage": True}, **asked))
    said = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert "".join(said) == choice.message.content
    assert chunks[-2].choices[0].finish_reason == choice.finish_reason
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens


def test_another_model_responds(plain: openai.OpenAI) -> None:
    response = plain.responses.create(model=dense.NAME, input="hello", temperature=0, max_output_tokens=12)
    assert [item.type for item in response.output] == ["message"]
    assert response.output_text
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_another_model_follows_a_json_schema(plain: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": dense.NAME,
        "messages": [user("hello")],
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}},
    }
    (choice,) = plain.chat.completions.create(stream=False, **asked).choices
    assert choice.finish_reason == "stop"
    assert_follows_schema(choice.message.content or "")
    chunks = plain.chat.completions.create(stream=True, **asked)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == choice.message.content


def test_another_model_completes(plain: openai.OpenAI) -> None:
    (choice,) = complete(plain, model=dense.NAME, prompt="hello").choices
    assert choice.text
    assert stream(plain, model=dense.NAME, prompt="hello") == (choice.text, choice.finish_reason)
