"""What llama-server ignores without a word is honoured by another spelling, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from launcher.server.shield.requests import check
from launcher.server.shield.run import RunningShield
from launcher.server.shield.types import Api, ShieldError
from tests.server.malformed import ABOUT, PARAMETERS, PATHS, Running, request

LOOKUP: dict[Api, dict[str, Any]] = {
    "chat": {"type": "function", "function": {"name": "lookup", "description": ABOUT, "parameters": PARAMETERS}},
    "responses": {"type": "function", "name": "lookup", "description": ABOUT, "parameters": PARAMETERS},
    "messages": {"name": "lookup", "description": ABOUT, "input_schema": PARAMETERS},
}
NAMED: dict[Api, dict[str, Any]] = {
    "chat": {"type": "function", "function": {"name": "lookup"}},
    "responses": {"type": "function", "name": "lookup"},
    "messages": {"type": "tool", "name": "lookup"},
}
REFUSED: list[tuple[Api, dict[str, Any], str]] = [
    ("chat", {"tool_choice": {"type": "function", "function": {"name": "unheard"}}}, "tool_choice"),
    ("chat", {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice"),
    ("chat", {"functions": [{"name": "lookup"}]}, "functions"),
    ("chat", {"function_call": "auto"}, "function_call"),
    ("chat", {"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    ("chat", {"web_search_options": {"a": 1}}, "web_search_options"),
    ("responses", {"tool_choice": {"type": "web_search"}}, "tool_choice"),
    ("responses", {"n": 2}, "n"),
    ("responses", {"background": True}, "background"),
    ("responses", {"conversation": "conv_1"}, "conversation"),
    ("responses", {"max_tool_calls": 1}, "max_tool_calls"),
    ("responses", {"text": {"format": {"type": "grammar"}}}, "text.format"),
    ("messages", {"tool_choice": {"type": "tool", "name": "unheard"}}, "tool_choice"),
]


def body_of(api: Api, extra: dict[str, Any], shape: str = "good-answer") -> dict[str, Any]:
    body = request(api, shape, stream=False, tools=True)
    body["tools"].append(LOOKUP[api])
    return body | extra


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}-{case[2]}")
def test_what_is_ignored_is_refused_by_name(
    client: httpx.Client, server: Running, shield: RunningShield, case: tuple[Api, dict[str, Any], str]
) -> None:
    api, extra, param = case
    body = body_of(api, extra)
    direct = client.post(server.url + PATHS[api], json=body)
    assert direct.status_code == 200, "llama-server refuses it itself by now: take it out of the shield"
    passed = client.post(shield.url + PATHS[api], json=body)
    assert passed.status_code == 400
    error = passed.json()["error"]
    assert param in error["message"]
    assert error["type"] == "invalid_request_error"
    assert api == "messages" or error["param"] == param


@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
def test_a_named_tool_is_the_one_that_is_called(
    client: httpx.Client, server: Running, shield: RunningShield, api: Api
) -> None:
    body = body_of(api, {"tool_choice": NAMED[api]})
    direct, passed = (client.post(url + PATHS[api], json=body).text for url in (server.url, shield.url))
    assert '"name":"lookup"' not in direct.replace(" ", "")
    assert '"name":"lookup"' in passed.replace(" ", "")


def test_a_schema_of_responses_is_followed(client: httpx.Client, server: Running, shield: RunningShield) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    body = request("responses", "good-answer", stream=False, tools=False)
    body["text"] = {"format": {"type": "json_schema", "name": "a", "schema": schema}}
    direct, passed = (client.post(f"{url}/v1/responses", json=body).json() for url in (server.url, shield.url))
    assert direct["output"][-1]["content"][0]["text"] == "This one is well formed."
    assert isinstance(json.loads(passed["output"][-1]["content"][0]["text"])["a"], int)


def test_no_tool_is_called_where_none_may_be(client: httpx.Client, shield: RunningShield) -> None:
    body = body_of("messages", {"tool_choice": {"type": "none"}}, "good-call")
    passed = client.post(f"{shield.url}/v1/messages", json=body).json()
    assert passed["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    "extra",
    [
        {"n": 2},
        {"seed": 7},
        {"stop": ["well"]},
        {"logprobs": True, "top_logprobs": 1},
        {"parallel_tool_calls": True},
        {"model": "some-other-name"},
        {"tool_choice": "required"},
        {"text": "free"},
    ],
)
def test_what_is_honoured_or_harmless_is_left_alone(extra: dict[str, Any]) -> None:
    body = json.dumps(body_of("chat", extra)).encode()
    assert check("chat", body) is body


def test_words_inside_messages_are_no_parameters() -> None:
    body = {"messages": [{"role": "user", "content": '"tool_choice" and "functions" and "audio"'}]}
    data = json.dumps(body).encode()
    assert check("chat", data) is data
    assert check("chat", b'{"tool_choice": nonsense') == b'{"tool_choice": nonsense'


def test_what_llama_server_honours(client: httpx.Client, server: Running) -> None:
    """The other half of the proof: these need no help on the pinned commit."""
    url = f"{server.url}/v1/chat/completions"
    body = request("chat", "good-answer", stream=False, tools=False)
    assert len(client.post(url, json=body | {"n": 2}).json()["choices"]) == 2
    assert client.post(url, json=body | {"stop": "well"}).json()["choices"][0]["message"]["content"] == "This one is "
    probabilities = client.post(url, json=body | {"logprobs": True, "top_logprobs": 1}).json()["choices"][0]["logprobs"]
    assert len(probabilities["content"]) > 10
    hot = body | {"temperature": 5.0, "messages": [{"role": "user", "content": "Anything"}], "max_tokens": 12}

    def completion(seed: int) -> str:
        sampled = {"prompt": "Here", "n_predict": 12, "temperature": 5.0, "seed": seed, "cache_prompt": False}
        return str(client.post(f"{server.url}/completion", json=sampled).json()["content"])

    assert completion(1) == completion(1)
    assert len({completion(seed) for seed in range(4)}) > 1
    assert client.post(url, json=hot | {"model": "nonsense"}).status_code in (200, 500), "any model's name will do"


def test_refusals_are_errors() -> None:
    with pytest.raises(ShieldError, match="functions"):
        check("chat", b'{"functions": [{"name": "a"}]}')
