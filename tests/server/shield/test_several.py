"""Several choices of one chat completion: each for itself, counted together."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

import httpx
import pytest

from launcher.server.shield.choices import at_a_time, one_by_one
from launcher.server.shield.run import RunningShield, start_shield
from launcher.server.shield.types import ShieldConfig
from tests.fakes.choices import SERVER_SEED, Behaviour, choices_upstream
from tests.fakes.upstream import endless_upstream
from tests.server.malformed import Running, events, request
from tests.server.shield.test_limits import post, raw, until
from tests.server.shield.test_turns import LOST, SAID

PATH = "/v1/chat/completions"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "n": 3, "seed": 1}


def said(text: str) -> tuple[dict[int, dict[str, str]], list[dict[str, Any]], str]:
    """What each choice said, the values without choices, and the last event's data."""
    choices: dict[int, dict[str, str]] = defaultdict(lambda: defaultdict(str))
    others, last = [], ""
    for _kind, last in events(text):
        if last == "[DONE]":
            continue
        value = json.loads(last)
        if not value.get("choices"):
            others.append(value)
        for choice in value.get("choices", ()):
            assert "finish" not in choices[choice["index"]], "said on after its end"
            for key, part in choice["delta"].items():
                choices[choice["index"]][key] += part or "" if isinstance(part, str | None) else json.dumps(part)
            if choice["finish_reason"]:
                choices[choice["index"]]["finish"] = choice["finish_reason"]
    return {index: dict(parts) for index, parts in choices.items()}, others, last


def ask(client: httpx.Client, by_seed: dict[int, Behaviour], **options: Any) -> httpx.Response:
    with choices_upstream(by_seed) as upstream, start_shield(ShieldConfig(port=0, upstream_url=upstream.url)) as shield:
        return client.post(shield.url + PATH, json=ASKED | options)


@pytest.mark.parametrize("shape", LOST)
def test_each_lost_turn_of_a_stream_is_finished(client: httpx.Client, shield: RunningShield, shape: str) -> None:
    """Bug kept out: with n > 1 the first turn that the parser gave up ended the stream for all."""
    body = request("chat", shape, stream=True, tools=True) | {"n": 3, "stream_options": {"include_usage": True}}
    choices, others, last = said(client.post(shield.url + PATH, json=body).text)
    content, reasoning, calls = SAID[shape]
    assert last == "[DONE]"
    assert sorted(choices) == [0, 1, 2]
    for choice in choices.values():
        assert choice.get("content", "").strip() == content
        assert choice.get("reasoning_content", "") == reasoning
        assert choice["finish"] == ("tool_calls" if calls else "stop")
        assert ("get_weather" in choice.get("tool_calls", "")) is bool(calls)
    (usage,) = (other["usage"] for other in others)
    assert usage["completion_tokens"] >= 3
    assert usage["completion_tokens"] % 3 == 0


def test_a_lost_turn_leaves_the_others_alone(client: httpx.Client) -> None:
    by_seed: dict[int, Behaviour] = {1: "good", 2: "broken", 3: "good"}
    answer = ask(client, by_seed, stream=True, stream_options={"include_usage": True})
    choices, (usage,), last = said(answer.text)
    assert {index: (c["reasoning_content"], c["content"], c["finish"]) for index, c in choices.items()} == {
        0: ("Hm.", "I am 1.", "stop"),
        1: ("Hm.", "Mended.", "stop"),
        2: ("Hm.", "I am 3.", "stop"),
    }
    assert last == "[DONE]"
    # One delta before the failure and seven tokens after it.
    assert usage["usage"]["completion_tokens"] == 1 + 8 + 3
    assert usage["usage"]["prompt_tokens"] == 29
    ids = {json.loads(data)["id"] for _kind, data in events(answer.text) if data != "[DONE]"}
    assert len(ids) == 1
    whole = ask(client, by_seed).json()
    assert [(c["index"], c["message"]["content"]) for c in whole["choices"]] == [
        (0, "I am 1."),
        (1, "Mended."),
        (2, "I am 3."),
    ]
    assert whole["usage"]["completion_tokens"] == 1 + 7 + 3


def test_usage_is_not_told_unasked(client: httpx.Client) -> None:
    _choices, others, last = said(ask(client, {1: "good", 2: "good", 3: "good"}, stream=True).text)
    assert last == "[DONE]"
    assert [other for other in others if other.get("choices") is None] == []


@pytest.mark.parametrize("failing", ["failing", "dead"])
def test_another_failure_is_told_after_what_the_others_say(client: httpx.Client, failing: Behaviour) -> None:
    choices, (error,), last = said(ask(client, {1: "good", 2: failing, 3: "good"}, stream=True).text)
    assert [choices[index]["finish"] for index in (0, 2)] == ["stop", "stop"]
    assert json.loads(last) == error
    assert ("out of cells" if failing == "failing" else "went away") in error["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_cannot_be_is_refused_once(client: httpx.Client, stream: bool) -> None:
    answer = ask(client, {1: "refused", 2: "refused", 3: "refused"}, stream=stream)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "not like this")
    answer = ask(client, {1: "dead", 2: "dead", 3: "dead"}, stream=stream)
    assert (answer.status_code, answer.headers["retry-after"]) == (502, "1")


def test_more_choices_than_slots_are_refused_by_name(
    client: httpx.Client, server: Running, shield: RunningShield
) -> None:
    answer = client.post(shield.url + PATH, json=ASKED | {"n": 5})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "n")
    assert client.post(server.url + PATH, json=ASKED | {"n": 5}).status_code == 400


@pytest.mark.parametrize("n", [0, -1, "two", 2.5])
def test_a_number_that_is_none_is_llama_servers_to_refuse(
    client: httpx.Client, server: Running, shield: RunningShield, n: object
) -> None:
    direct, passed = (
        client.post(url + PATH, json=ASKED | {"n": n, "max_tokens": 3}) for url in (server.url, shield.url)
    )
    assert passed.status_code == direct.status_code


def test_keys_and_the_origin_go_along(client: httpx.Client) -> None:
    with choices_upstream({1: "good", 2: "good", 3: "good"}) as upstream:
        with start_shield(ShieldConfig(port=0, upstream_url=upstream.url)) as shield:
            headers = {"Authorization": "Bearer k", "Origin": "http://a.example"}
            assert client.post(shield.url + PATH, json=ASKED, headers=headers).status_code == 200
        assert [(h["Authorization"], h["Origin"]) for h in upstream.headers] == [("Bearer k", "http://a.example")] * 3
        assert sorted(body["seed"] for body in upstream.asked) == [1, 2, 3]
        assert not any("n" in body for body in upstream.asked)


def test_seeds_count_up_as_llama_servers_do() -> None:
    def seeds(asked: dict[str, Any], *, seed: int = 0xFFFFFFFF) -> list[object]:
        return [body.get("seed") for body in one_by_one({"n": 3, **asked}, 3, seed=seed)]

    assert seeds({"seed": 5}) == [5, 6, 7]
    assert seeds({"seed": 0xFFFFFFFE}) == [0xFFFFFFFE, 0xFFFFFFFF, 0]
    # Drawn anew for each.
    assert seeds({}) == seeds({"seed": None}) == [None] * 3
    assert seeds({"seed": -1}) == [-1] * 3
    # The server's own, which would be every choice's.
    assert seeds({}, seed=SERVER_SEED) == [None, 41, 42]
    assert seeds({"seed": 5}, seed=SERVER_SEED) == [5, 6, 7]


def test_a_long_prompt_is_read_once(client: httpx.Client, server: Running, shield: RunningShield) -> None:
    """Bug kept out: asked for at the same time, each choice reads the prompt for itself."""
    body = {"messages": [{"role": "user", "content": "Here is a story. " * 60}], "max_tokens": 4, "n": 3}
    before = n_read(client, server)
    answer = client.post(shield.url + PATH, json=body).json()
    n_prompt = answer["usage"]["prompt_tokens"]
    assert n_prompt > 200
    assert n_read(client, server) - before < 1.5 * n_prompt
    streamed, _others, last = said(client.post(shield.url + PATH, json=body | {"stream": True}).text)
    assert (sorted(streamed), last) == ([0, 1, 2], "[DONE]")


def n_read(client: httpx.Client, server: Running) -> float:
    """Prompt tokens that llama-server has computed so far."""
    found = re.search(r"^llamacpp:prompt_tokens_total (\S+)$", client.get(f"{server.url}/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_as_many_are_asked_for_at_once_as_there_is_room_for() -> None:
    asked = {"messages": [{"role": "user", "content": "x" * 1000}]}
    assert [at_a_time(asked, 4, n_ctx=n_ctx) for n_ctx in (100, 1100, 2200, 3500, 131_072)] == [1, 1, 2, 3, 4]


def test_a_client_that_goes_away_takes_its_choices_along() -> None:
    body = json.dumps({"n": 3, "stream": True}).encode()
    with endless_upstream() as upstream, start_shield(ShieldConfig(port=0, upstream_url=upstream.url)) as shield:
        with raw(shield, post(PATH, body)) as connection:
            assert connection.recv(100)
            until(lambda: upstream.n_open == 3)
        until(lambda: upstream.n_open == 0)
