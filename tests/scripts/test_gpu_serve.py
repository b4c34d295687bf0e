"""The stage serve of scripts/gpu_check.py, with a server that is none."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from gpu_stages.grid import Grid, serve_cases
from gpu_stages.serve import Client, Streams, measured, n_ctx

from launcher.bench.session import Case, Sample
from launcher.errors import EngineError
from tests.scripts.gpu import GRID


class FakeServer(BaseHTTPRequestHandler):
    """As much of llama-server as a reader sees."""

    asked: list[dict[str, Any]]

    def do_GET(self) -> None:  # BaseHTTPRequestHandler's name
        self._json({"data": [{"meta": {"n_vocab": 50}}]})

    def do_POST(self) -> None:  # BaseHTTPRequestHandler's name
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self._json({"tokens": [ord(body["content"])] if body["content"] != "e" else [1, 2]})
            return
        self.asked.append(body)
        self.send_response(200 if body["n_predict"] else 503)
        self.end_headers()
        events = [{"tokens": [7], "stop": False}] * body["n_predict"] + [{"tokens": [], "stop": True}]
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def _json(self, table: dict[str, Any]) -> None:
        data = json.dumps(table).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        pass


class Running:
    """A process that runs, or one that ended."""

    def __init__(self, status: int | None = None) -> None:
        self.returncode = status

    def poll(self) -> int | None:
        return self.returncode


@pytest.fixture
def server() -> Iterator[tuple[Client, list[dict[str, Any]]]]:
    asked_for: list[dict[str, Any]] = []
    handler = type("Handler", (FakeServer,), {"asked": asked_for})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            client = Client(http.server_address[1])
            client.wait(Running(), io.BytesIO(), lambda _s: None)  # type: ignore[arg-type]  # all that is looked at
            yield client, asked_for
        finally:
            http.shutdown()
            thread.join()


def test_readers_ask_for_letters_drawn_at_random_and_no_prompt_twice(
    server: tuple[Client, list[dict[str, Any]]],
) -> None:
    client, asked_for = server
    row = measured(client, serve_cases("20b", Grid(streams=(4,)))[0], Grid(serve_tokens=6, n_repeat=2))
    assert len(asked_for) == 4 * 3  # one round more than counts
    assert len(row.output_ts) == 2
    assert row.n_streams == 4
    assert len({tuple(body["prompt"]) for body in asked_for}) == 12
    body = asked_for[0]
    assert (len(body["prompt"]), body["n_predict"], body["ignore_eos"], body["temperature"]) == (6, 6, True, 1.0)
    assert body["cache_prompt"] is False
    letters = {token for token, _ in body["logit_bias"]}
    assert ord("a") in letters
    assert not {1, 2} & letters  # a letter of two tokens is none


def test_a_server_that_refuses_or_ends_says_why(server: tuple[Client, list[dict[str, Any]]]) -> None:
    client, _ = server
    with pytest.raises(EngineError, match="the server: "):
        client.complete([1], 0, seed=1)
    log = io.BytesIO(b"no such model\n")
    with pytest.raises(EngineError, match="ended with status 3 before it served") as caught:
        Client(1).wait(Running(3), log, lambda _s: None)  # type: ignore[arg-type]  # all that is looked at
    assert caught.value.details == ("no such model",)
    with pytest.raises(EngineError, match="does not answer"):
        Client(1).complete([1], 1, seed=1)


def test_the_server_starts_with_the_first_case_that_is_measured() -> None:
    started: list[int] = []

    class Quick:
        def measure(self, case: Case) -> Sample:
            return Sample(ns=10**9 // case.n_streams, ttft_ms=(1.0,), itl_ms=(2.0, 4.0))

    @contextmanager
    def start() -> Iterator[Quick]:
        started.append(1)
        yield Quick()
        started.append(-1)

    streams = Streams(start, Grid(n_repeat=2, serve_tokens=10))
    assert started == []
    rows = [streams.measure(case) for case in serve_cases("20b", Grid(streams=(1, 8)))]
    assert started == [1]
    assert [row.output_ts for row in rows] == [(10.0, 10.0), (640.0, 640.0)]
    assert (rows[0].ttft_ms, rows[0].itl_p50_ms) == (1.0, 3.0)
    streams.close()
    assert started == [1, -1]
    assert n_ctx(GRID, 64) >= 64 * 2 * GRID.serve_tokens
