"""What the shield does where something goes wrong: long, half-written and too many requests, deaths on either side."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from launcher.errors import UsageError
from launcher.server.shield.run import RunningShield, start_shield
from launcher.server.shield.types import ShieldConfig
from tests.fakes.upstream import Upstream, endless_upstream
from tests.server.malformed import APIS, PATHS, Api, Running, events, new_client, request, running_server
from tests.server.shield.conftest import free_port

DEADLINE_S = 30.0


@contextmanager
def shielded(server: Running | Upstream, **settings: Any) -> Iterator[RunningShield]:
    with start_shield(ShieldConfig(port=0, upstream_url=server.url, **settings)) as running:
        yield running


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def raw(shield: RunningShield, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", shield.port), timeout=DEADLINE_S)
    connection.sendall(data)
    return connection


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(1 << 16):
        data += chunk
    return data


def post(path: str, body: bytes, length: int | None = None) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), length or len(body), body)


@pytest.mark.parametrize("api", APIS)
def test_a_long_body_is_refused_before_it_is_read(server: Running, api: Api) -> None:
    with shielded(server, max_body_bytes=1000) as shield, raw(shield, post(PATHS[api], b"{", 10**9)) as connection:
        answer = read_all(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    error = json.loads(body)["error"]
    assert "1000 bytes" in error["message"]
    assert error["type"] == ("request_too_large" if api == "messages" else "invalid_request_error")


def test_a_long_body_in_chunks_is_refused_too(client: httpx.Client, server: Running) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    with shielded(server, max_body_bytes=1000) as shield:
        answer = client.post(f"{shield.url}/v1/chat/completions", content=chunks())
        assert answer.status_code == 413
        fits = client.post(f"{shield.url}/tokenize", content=b'{"content": "' + b"x" * 900 + b'"}')
        assert fits.status_code == 200
    with shielded(server, max_body_bytes=None) as shield:
        long = json.dumps({"content": "Here is " * (3 << 20)})
        assert client.post(f"{shield.url}/health", content=long).status_code != 413


def test_a_client_that_waits_to_be_told_to_go_on_is_told(server: Running) -> None:
    body = json.dumps({"content": "Here"}).encode()
    head = (
        b"POST /tokenize HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    )
    with shielded(server) as shield, raw(shield, head % len(body)) as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert b'"tokens"' in read_all(connection)


@pytest.mark.parametrize(
    "half", [b"POST /v1/chat", post("/v1/chat/completions", b'{"mess', 1000)], ids=["head", "body"]
)
def test_half_a_request_is_not_waited_for_forever(server: Running, half: bytes) -> None:
    with shielded(server, request_timeout_s=0.3) as shield, raw(shield, half) as connection:
        answer = read_all(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_more_than_a_queue_full_is_told_to_come_back(client: httpx.Client) -> None:
    with endless_upstream() as upstream, shielded(upstream, max_queued=1) as shield:
        with client.stream("POST", f"{shield.url}/v1/completions", json={}) as first:
            stream = first.iter_raw()  # kept: one that is collected closes its connection
            assert next(stream)
            second = client.post(f"{shield.url}/v1/chat/completions", json={})
            assert second.status_code == 503
            assert second.headers["retry-after"] == "1"
            assert "come back" in second.json()["error"]["message"]
            with client.stream("GET", f"{shield.url}/health") as health:
                assert health.status_code == 200
        until(lambda: upstream.n_open == 0)
        with client.stream("POST", f"{shield.url}/v1/completions", json={}) as third:
            assert third.status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/silent"], ids=["streaming", "waiting"])
def test_a_client_that_goes_away_takes_its_request_along(path: str) -> None:
    with endless_upstream() as upstream, shielded(upstream) as shield:
        with raw(shield, post(path, b"{}")):
            until(lambda: upstream.n_open == 1)
        until(lambda: upstream.n_open == 0)


def test_a_client_that_never_reads_holds_up_nobody(client: httpx.Client) -> None:
    """Its stream is held in bounded memory, others go on, and in the end it is cut off."""
    event = b'data: {"choices":[],"padding":"' + b"x" * 60_000 + b'"}\n\n'
    with endless_upstream(event) as upstream, shielded(upstream, stall_timeout_s=1.5) as shield:
        with raw(shield, post("/v1/chat/completions", b"{}")):
            until(lambda: upstream.n_open == 1)
            with client.stream("POST", f"{shield.url}/v1/chat/completions", json={}) as other:
                stream = other.iter_raw()
                for _ in range(20):
                    assert next(stream)
            until(lambda: upstream.n_open == 0)
        assert upstream.n_sent_bytes < 200 << 20


@pytest.mark.parametrize("api", APIS)
def test_a_death_in_mid_stream_is_told_at_once_in_the_form_of_the_api(client: httpx.Client, api: Api) -> None:
    with (
        endless_upstream() as upstream,
        shielded(upstream) as shield,
        client.stream("POST", shield.url + PATHS[api], json={}) as answer,
    ):
        stream = answer.iter_text()
        text = next(stream)
        upstream.die()
        text += "".join(stream)
    kind, data = list(events(text))[-1]
    value = json.loads(data)
    assert "went away" in value["error"]["message"]
    if api == "chat":
        assert (kind, value["error"]["code"]) == ("", 502)
    else:
        assert (kind, value["type"]) == ("error", "error")
        assert "went away" in (value["error"] if api == "messages" else value)["message"]


@pytest.fixture
def mortal() -> Iterator[Running]:
    with running_server(free_port()) as running:
        yield running


def test_a_killed_llama_server_is_told_to_everybody(mortal: Running) -> None:
    # So many probabilities fill every buffer on the way long before the stream ends, unless somebody reads.
    body = request("chat", "good-answer", stream=True, tools=False)
    body |= {"max_tokens": 900, "ignore_eos": True, "logprobs": True, "top_logprobs": 500}
    with shielded(mortal) as shield, new_client() as client:
        with client.stream("POST", f"{shield.url}/v1/chat/completions", json=body) as answer:
            stream = answer.iter_text()
            text = next(stream)
            mortal.process.kill()
            text += "".join(stream)
        mortal.process.wait()  # its socket takes connections a moment longer
        _kind, data = list(events(text))[-1]
        assert json.loads(data)["error"]["code"] == 502
        for api in APIS:
            again = client.post(shield.url + PATHS[api], json={})
            assert (again.status_code, again.headers["retry-after"]) == (503, "1")
            assert "being loaded" in again.json()["error"]["message"]


@pytest.mark.parametrize("api", APIS)
def test_a_death_before_the_answer_is_told(client: httpx.Client, api: Api) -> None:
    with (
        endless_upstream() as upstream,
        shielded(upstream) as shield,
        raw(shield, post(f"{PATHS[api]}?/silent", b"{}")) as connection,
    ):
        until(lambda: upstream.n_open == 1)
        upstream.die()
        head = connection.recv(1 << 16)
    assert head.startswith(b"HTTP/1.1 502 ")
    assert re.search(rb"(?i)retry-after: 1\r\n", head)


def test_a_port_that_is_taken_is_an_error_for_a_person(server: Running) -> None:
    with shielded(server) as shield:
        second = start_shield(ShieldConfig(port=shield.port, upstream_url=server.url))
        with pytest.raises(UsageError, match=str(shield.port)):
            second.__enter__()


def test_a_stopped_shield_listens_no_more(server: Running) -> None:
    with shielded(server) as shield:
        port = shield.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)


def test_a_client_of_http_1_0_gets_no_chunks(server: Running) -> None:
    body = json.dumps(request("chat", "late-bare-final", stream=True, tools=False)).encode()
    head = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    with shielded(server) as shield, raw(shield, head + body) as connection:
        answer = read_all(connection)
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert text.startswith(b"data: {")
    assert text.endswith(b"data: [DONE]\n\n")
    assert b"\r\n" not in text


def test_the_key_of_the_client_serves_for_finishing_its_turn() -> None:
    with (
        running_server(free_port(), "--api-key", "secret") as locked,
        shielded(locked) as shield,
        new_client() as client,
    ):
        for api in APIS:
            body = request(api, "late-bare-final", stream=False, tools=False)
            assert client.post(shield.url + PATHS[api], json=body).status_code == 401
            key = {"X-Api-Key": "secret"} if api == "messages" else {"Authorization": "Bearer secret"}
            answer = client.post(shield.url + PATHS[api], json=body, headers=key)
            assert answer.status_code == 200
            assert "Here is a late bare name." in answer.text
