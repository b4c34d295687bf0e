"""Every turn survives, whatever the model writes; a good one passes through as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from launcher.server.shield.blocks import MessagesStream
from launcher.server.shield.documents import corrected
from launcher.server.shield.numbering import ResponsesStream
from launcher.server.shield.run import RunningShield
from tests.server import malformed
from tests.server.malformed import APIS, SHAPES, Api, Running, ask, request

DATA = Path(__file__).parents[2] / "data" / "harmony" / "server-malformed.json"
ROWS: list[dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))["rows"]
LOST = sorted({row["shape"] for row in ROWS if not row["survived"]})
GOOD = [shape for shape in SHAPES if shape not in LOST]
CALL = [["get_weather", '{"location":"Paris"}']]
THOUGHT = "I think about it first."
SAID: dict[str, tuple[str, str, list[list[str]]]] = {
    "bare-text": ("Here is no header at all.", "", []),
    "no-channel": ("Here is no channel.", "", []),
    "bare-final": ("Here is a bare name.", "", []),
    "late-bare-final": ("Here is a late bare name.", THOUGHT, []),
    "late-bare-text": ("Here is a late bare text.", THOUGHT, []),
    "stray-header": ("Here is one header too many.", "", []),
    "stray-headers": ("Here are two too many.", THOUGHT, []),
    "unknown-channel": ("Here is a strange channel.\n\nAnd then an answer.", "", []),
    "unknown-only": ("Only a strange channel.", THOUGHT, []),
    "call-in-final": ("", THOUGHT, CALL),
    "call-without-to": ("", THOUGHT, CALL),
    "recipient-last": ("", THOUGHT, CALL),
    "recipient-first": ("", "", CALL),
    "constrained-final": ('{"answer":42}', THOUGHT, []),
    "no-message": ("Here is no message token.", THOUGHT, []),
}
"""What the client of a lost turn gets, where it offered the tool."""
FINISH: dict[Api, tuple[str, str]] = {
    "chat": ("stop", "tool_calls"),
    "responses": ("completed", "completed"),
    "messages": ("end_turn", "tool_use"),
}


def test_llama_server_loses_half_of_the_shapes_on_every_way() -> None:
    assert set(SAID) == set(LOST)
    for shape in LOST:
        assert not any(row["survived"] for row in ROWS if row["shape"] == shape)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("shape", LOST)
def test_a_lost_turn_is_finished(
    client: httpx.Client, shield: RunningShield, shape: str, api: Api, stream: bool
) -> None:
    content, reasoning, calls = SAID[shape]
    answer = ask(client, shield.url, api, request(api, shape, stream=stream, tools=True))
    assert answer.survived, answer
    assert (answer.content.strip(), answer.reasoning, answer.calls) == (content, reasoning, calls)
    assert answer.finish == FINISH[api][bool(calls)]
    # A call that nobody waits for is shown as text.
    answer = ask(client, shield.url, api, request(api, shape, stream=stream, tools=False))
    assert answer.survived, answer
    assert (answer.content.strip(), answer.calls) == (content or CALL[0][1], [])


def normal(text: str) -> str:
    """Without what differs from one answer to the next."""
    text = text.replace(": ", ":").replace(", ", ",")
    text = re.sub(r'"timings":\{[^}]*\}', '"timings":{}', text)
    text = re.sub(
        r'"(created|created_at|completed_at|cached_tokens|input_tokens|cache_read_input_tokens)":\d+', "", text
    )
    return re.sub(r"\b(chatcmpl-|resp_|rs_|msg_|fc_|call_|)[A-Za-z0-9]{32}\b", r"\1ID", text)


def expected(api: Api, direct: httpx.Response, body: dict[str, Any]) -> str:
    """What llama-server said, as the API says it is: a stream of chat passes byte for byte."""
    if not body["stream"]:
        return corrected(api, direct.content, json.dumps(body).encode()).decode()
    fix = {"responses": ResponsesStream().feed, "messages": MessagesStream().feed}.get(api)
    return direct.text if fix is None else fix(direct.content).decode()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", APIS)
def test_other_turns_pass_through_as_their_api_says(
    client: httpx.Client, server: Running, shield: RunningShield, api: Api, stream: bool
) -> None:
    for shape in GOOD:
        for tools in (False, True):
            body = request(api, shape, stream=stream, tools=tools)
            direct = client.post(server.url + malformed.PATHS[api], json=body)
            passed = client.post(shield.url + malformed.PATHS[api], json=body)
            assert normal(passed.text) == normal(expected(api, direct, body)), shape
            assert passed.status_code == direct.status_code
            dropped = {"date", "server", "keep-alive", "content-length", "connection"}
            for key in set(direct.headers) - dropped:
                assert passed.headers[key] == direct.headers[key], key


def test_everything_else_passes_through(client: httpx.Client, server: Running, shield: RunningShield) -> None:
    for path in ("/health", "/v1/models", "/props", "/slots", "/nowhere?a=b%20c"):
        direct, passed = client.get(server.url + path), client.get(shield.url + path)
        assert (passed.status_code, normal(passed.text)) == (direct.status_code, normal(direct.text)), path
    assert "llamacpp:requests_processing" in client.get(f"{shield.url}/metrics").text
    head = client.head(f"{shield.url}/health")
    assert head.status_code == client.head(f"{server.url}/health").status_code
    raw = {"prompt": "Here", "n_predict": 4, "temperature": 0, "stream": True}
    direct, passed = (client.post(f"{url}/completion", json=raw) for url in (server.url, shield.url))
    assert passed.text.count("data: ") == direct.text.count("data: ")
    preflight = {"Origin": "http://localhost:1", "Access-Control-Request-Method": "POST"}
    direct, passed = (client.options(f"{url}/v1/models", headers=preflight) for url in (server.url, shield.url))
    assert passed.status_code == direct.status_code
    assert passed.headers.get("access-control-allow-methods") == direct.headers.get("access-control-allow-methods")


def test_a_kept_connection_serves_many_turns(shield: RunningShield) -> None:
    # llama-server itself closes kept connections without a word, which this pool would notice.
    with httpx.Client(timeout=60) as kept:
        for number in range(30):
            shape = SHAPES[number % len(SHAPES)]
            for api in APIS:
                assert ask(kept, shield.url, api, request(api, shape, stream=bool(number % 2), tools=True)).survived


def test_words_of_the_failure_in_an_answer_are_no_failure(client: httpx.Client, shield: RunningShield) -> None:
    words = "does not match the expected peg-native format"
    body = {"messages": [{"role": "user", "content": words}], "max_tokens": 20, "stream": True}
    assert client.post(f"{shield.url}/v1/chat/completions", json=body).status_code == 200


def test_a_limit_on_tokens_holds_for_the_whole_turn(client: httpx.Client, shield: RunningShield) -> None:
    body = request("chat", "late-bare-final", stream=True, tools=False) | {"stream_options": {"include_usage": True}}
    whole = client.post(f"{shield.url}/v1/chat/completions", json=body).text
    usage = re.findall(r'"usage":\{"completion_tokens":(\d+)', whole)
    assert len(usage) == 1
    assert 10 < int(usage[0]) < 40


def test_openai_clients_read_finished_turns(shield: RunningShield) -> None:
    with openai.OpenAI(base_url=f"{shield.url}/v1", api_key="none", max_retries=0) as client:
        for shape, (content, _reasoning, calls) in SAID.items():
            # Not by `responses.stream`: that needs indices, which llama-server leaves out of good turns as well.
            events = list(client.responses.create(**request("responses", shape, stream=True, tools=True)))
            final = next(event.response for event in events if event.type == "response.completed")
            assert final.output_text.strip() == content
            assert [[i.name, i.arguments] for i in final.output if i.type == "function_call"] == calls
            chunks = list(client.chat.completions.create(**request("chat", shape, stream=True, tools=True)))
            deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
            assert "".join(delta.content or "" for delta in deltas).strip() == content
            assert len({chunk.id for chunk in chunks}) == 1


def test_anthropic_clients_read_finished_turns(shield: RunningShield) -> None:
    with anthropic.Anthropic(base_url=shield.url, api_key="none", max_retries=0) as client:
        for shape, (content, reasoning, calls) in SAID.items():
            body = request("messages", shape, stream=True, tools=True)
            del body["stream"], body["temperature"]  # the server's own is 0
            with client.messages.stream(**body) as events:
                message = events.get_final_message()
            texts = [block.text for block in message.content if block.type == "text"]
            assert "".join(texts).strip() == content
            thoughts = [block.thinking for block in message.content if block.type == "thinking"]
            assert "".join(thoughts) == reasoning
            found = [
                [b.name, json.dumps(b.input, separators=(",", ":"))] for b in message.content if b.type == "tool_use"
            ]
            assert found == calls


def test_each_of_several_answers_is_finished(client: httpx.Client, shield: RunningShield) -> None:
    body = request("chat", "late-bare-final", stream=False, tools=False) | {"n": 2}
    choices = client.post(f"{shield.url}/v1/chat/completions", json=body).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert {choice["message"]["content"] for choice in choices} == {"Here is a late bare name."}
