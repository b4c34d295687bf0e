"""What goes wrong between clients and `serve`: each gets a clear answer, and the server lives."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from launcher.demo import demo_model_path
from tests.server.conftest import Served
from tests.server.test_serve import ask, healthy
from tests.server.waiting import wait_for

LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "stream": True,
    "temperature": 0,
    "max_tokens": 100_000,
    "ignore_eos": True,
}
N_STREAMS = 16
N_CONNECTIONS = 1000


def lives(served: Served) -> None:
    """The next request is answered as ever."""
    assert ask(served.url).json()["choices"][0]["message"]["content"] == "The capital of France is Paris."


def test_16_streams_of_a_server_that_is_killed_end_with_an_error_at_once_and_it_is_back(served: Served) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    begun = threading.Barrier(N_STREAMS + 1, timeout=60)

    def stream() -> tuple[str, float]:
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{served.url}/v1/chat/completions", json=LONG) as it,
        ):
            assert it.status_code == 200
            lines = it.iter_lines()
            next(lines)
            begun.wait()
            said = [line for line in lines if line]
        return said[-1], time.monotonic()

    # As many slots as streams, so that all of them are under way.
    served.sandbox.run("stop")
    wide = served.sandbox.run(
        *("serve", "--model", demo_model_path(), "--port", served.port, "--parallel", N_STREAMS, "--detach")
    )
    assert wide.code == 0, wide
    with ThreadPoolExecutor(N_STREAMS) as pool:
        streams = [pool.submit(stream) for _ in range(N_STREAMS)]
        begun.wait()
        before = served.record["server_pid"]
        killed = time.monotonic()
        os.kill(before, signal.SIGKILL)
        for found in streams:
            last, ended = found.result(timeout=30)
            assert "error" in json.loads(last.removeprefix("data: ")), last
            assert ended - killed < 5
    wait_for(lambda: served.record["server_pid"] not in {before, None} and healthy(served.url), "not back")
    lives(served)


def test_a_request_while_it_is_away_is_told_to_come_back(served: Served) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    record = served.record
    os.kill(record["server_pid"], signal.SIGKILL)
    answers = [httpx.get(f"{served.url}/v1/models", timeout=10)]
    while answers[-1].status_code != 200:
        assert answers[-1].status_code in {502, 503}
        assert int(answers[-1].headers["Retry-After"]) >= 1
        assert answers[-1].json()["error"]["message"]
        answers.append(httpx.get(f"{served.url}/v1/models", timeout=10))
    lives(served)


def test_a_body_of_100_mb_is_refused_before_it_is_read(served: Served) -> None:
    body = b'{"messages": [{"role": "user", "content": "' + b"x" * 100_000_000 + b'"}]}'
    started = time.monotonic()
    answer = httpx.post(f"{served.url}/v1/chat/completions", content=body, timeout=60)
    assert answer.status_code == 413
    assert "16777216 bytes" in answer.json()["error"]["message"]
    assert time.monotonic() - started < 20
    lives(served)


def test_a_context_that_is_too_small_and_a_schema_that_is_none(served: Served) -> None:
    words = {"messages": [{"role": "user", "content": "What is the capital? " * 2000}]}
    overflow = httpx.post(f"{served.url}/v1/chat/completions", json=words, timeout=60)
    assert overflow.status_code == 400
    assert "context" in overflow.json()["error"]["message"]
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such type"}}}
    bad = httpx.post(
        f"{served.url}/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "Hello!"}], "response_format": schema},
        timeout=60,
    )
    assert bad.status_code == 400
    assert "schema" in bad.json()["error"]["message"].lower()
    lives(served)


def test_a_thousand_connections_that_say_nothing(served: Served) -> None:
    host = ("127.0.0.1", served.port)
    held: list[socket.socket] = []
    try:
        for number in range(N_CONNECTIONS):
            held.append(socket.create_connection(host, timeout=10))
            if number % 2:  # half of them begin a request that never ends
                held[-1].sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        lives(served)
    finally:
        for one in held:
            one.close()
    lives(served)


def test_a_client_that_never_reads_holds_nobody_up(served: Served) -> None:
    body = json.dumps(LONG | {"logprobs": True, "top_logprobs": 100}).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
        deaf.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
        for _ in range(3):
            lives(served)
    lives(served)
