"""Requests of the other APIs become the chat completions that llama-server makes of them: their prompts are as long."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from launcher.server.shield.convert import chat_body, max_tokens, n_choices, sampling, schema, template_body
from launcher.server.shield.types import Api
from tests.server.malformed import ABOUT, PARAMETERS, PATHS, Running

RESPONSES: dict[str, Any] = {
    "model": "gpt-oss",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "I need the weather."}],
        },
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"location":"Paris"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "18 degrees"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is 18 degrees."}]},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "And in"}, {"type": "input_text", "text": "Rome?"}],
        },
    ],
    "tools": [{"type": "function", "name": "get_weather", "description": ABOUT, "parameters": PARAMETERS}],
    "reasoning": {"effort": "high"},
    "max_output_tokens": 7,
    "temperature": 0.5,
}
MESSAGES: dict[str, Any] = {
    "model": "gpt-oss",
    "system": [{"type": "text", "text": "Be brief. "}, {"type": "text", "text": "Be kind."}],
    "messages": [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I need the weather.", "signature": ""},
                {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"location": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "call_1",
                    "content": [{"type": "text", "text": "18 "}, {"type": "text", "text": "degrees"}],
                }
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "It is 18 degrees."}]},
        {"role": "user", "content": [{"type": "text", "text": "And in"}, {"type": "text", "text": "Rome?"}]},
    ],
    "tools": [{"name": "get_weather", "description": ABOUT, "input_schema": PARAMETERS}],
    "stop_sequences": ["END"],
    "max_tokens": 7,
    "top_k": 3,
}


@pytest.mark.parametrize(("api", "body"), [("responses", RESPONSES), ("messages", MESSAGES)])
def test_prompts_are_those_of_llama_server(
    client: httpx.Client, server: Running, api: Api, body: dict[str, Any]
) -> None:
    count = {"responses": "/input_tokens", "messages": "/count_tokens"}[api]
    theirs = client.post(server.url + PATHS[api] + count, json=body).json()["input_tokens"]
    asked = template_body(chat_body(api, body))
    prompt = client.post(f"{server.url}/apply-template", json=asked).json()["prompt"]
    tokens = client.post(f"{server.url}/tokenize", json={"content": prompt, "parse_special": True}).json()["tokens"]
    assert len(tokens) == theirs, prompt
    for text in ("Be brief.", "What is the weather in Paris?", "18 degrees", "Rome?", "get_weather"):
        assert text in prompt


def test_what_else_a_request_says() -> None:
    chat = chat_body("responses", RESPONSES)
    assert (max_tokens(chat), chat["reasoning_effort"]) == (7, "high")
    assert sampling(chat) == {"temperature": 0.5}
    chat = chat_body("messages", MESSAGES | {"tool_choice": {"type": "any"}})
    assert (max_tokens(chat), chat["tool_choice"]) == (7, "required")
    assert sampling(chat) == {"stop": ["END"], "top_k": 3}
    plain: dict[str, Any] = {"messages": [], "max_completion_tokens": 5, "n": 3, "seed": 1, "stop": None, "top_p": 0.5}
    assert (max_tokens(plain), n_choices(plain)) == (5, 3)
    assert sampling(plain) == {"seed": 1, "top_p": 0.5}


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"type": "object"}),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": PARAMETERS}}}, PARAMETERS),
        ({"json_schema": PARAMETERS}, PARAMETERS),
    ],
)
def test_the_schema_of_an_answer(extra: dict[str, Any], expected: object) -> None:
    assert schema(extra) == expected
