"""llama-server as a session, and its stream of tokens read."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from launcher.bench.cases import server_params
from launcher.bench.server import Stream, open_server, read_events
from launcher.bench.session import Case
from launcher.bench.types import BenchTest
from launcher.demo import demo_model_path
from launcher.engines.programs import engine_program
from launcher.errors import EngineError
from tests.engines.demo import load_params
from tests.systems import POSIX


def read(*lines: str, times: tuple[float, ...] = ()) -> Stream:
    clock = iter(times)
    return read_events((f"{line}\n".encode() for line in lines), lambda: next(clock), 10.0)


def token(*tokens: int, stop: bool = False) -> str:
    return f'data: {{"tokens": {list(tokens)}, "content": "x", "stop": {str(stop).lower()}}}'


def test_waits_between_tokens() -> None:
    stream = read(token(1), "", token(2), "", token(3, 4), "", token(stop=True), times=(10.5, 10.6, 10.8))
    assert stream.ttft_ms == pytest.approx(500.0)
    assert stream.itl_ms == pytest.approx((100.0, 100.0, 100.0)), "tokens that come together share the wait"


def test_tokens_that_were_kept_back_are_counted() -> None:
    lines = [f'data: {{"tokens": [7], "tokens_predicted": {n}, "stop": false}}' for n in (1, 4)]
    stream = read(*lines, token(stop=True), times=(10.5, 11.1))
    assert stream.itl_ms == pytest.approx((200.0, 200.0, 200.0)), "llama-server names the last of three alone"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (('error: {"message": "no slot"}',), "no slot"),
        (("data: {",), "cannot be read"),
        (('data: {"tokens": [1]}',), "cannot be read"),
        ((token(1),), "ended early"),
        ((token(stop=True),), "without a token"),
        ((), "ended early"),
    ],
)
def test_a_stream_that_breaks_is_told(lines: tuple[str, ...], told: str) -> None:
    with pytest.raises(EngineError, match=told):
        read(*lines, times=(11.0,))


@pytest.mark.skipif(engine_program("llama-server") is None, reason="the engine was built without tools")
def test_one_stream_and_two_on_the_real_server() -> None:
    test = BenchTest(n_prompt=32, n_gen=8, n_depth=64)
    cases = [Case(engine="server", test=test, n_streams=n) for n in (1, 2)]
    with open_server(demo_model_path(), server_params(load_params(), cases)) as session:
        for case in cases:
            before = time.perf_counter_ns()
            sample = session.measure(case)
            assert sample.start_ns is not None
            assert before < sample.start_ns < sample.start_ns + sample.ns <= time.perf_counter_ns()
            assert sample.pid == session._process.pid
            assert len(sample.ttft_ms) == case.n_streams
            assert len(sample.itl_ms) == case.n_streams * (test.n_gen - 1)
            assert max(sample.ttft_ms) * 1e6 <= sample.ns
    assert session._process.returncode is not None, "it ends with the block"


@POSIX
def test_a_server_that_dies_while_it_loads(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho 'no such device' >&2; exit 1\n")
    program.chmod(0o755)
    with (
        pytest.raises(EngineError, match="ended with status 1") as caught,
        open_server(demo_model_path(), load_params(), program=program),
    ):
        pass
    assert caught.value.details == ("no such device",)


_HALF_LETTERS = """#!{python}
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Fake(BaseHTTPRequestHandler):
    def do_GET(self):
        self.tell({{"status": "ok", "data": [{{"meta": {{"n_vocab": 512}}}}]}})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            return self.tell({{"tokens": [ord(asked["content"])]}})
        open(sys.argv[0] + ".asked", "a").write(json.dumps(asked) + "\\n")
        letters = [token for token, _ in asked.get("logit_bias", [])]
        shown = asked["n_predict"] if {trained} or ord("a") in letters else 0
        lines = [{{"tokens": [1], "tokens_predicted": n + 1, "stop": False}} for n in range(shown)]
        self.send_response(200)
        self.end_headers()
        for line in [*lines, {{"tokens": [], "stop": True}}]:
            self.wfile.write(b"data: " + json.dumps(line).encode() + b"\\n")

    def tell(self, answer):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *args):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Fake).serve_forever()
"""


@POSIX
@pytest.mark.parametrize("trained", [True, False])
def test_a_model_of_random_blocks_is_asked_for_letters(tmp_path: Path, *, trained: bool) -> None:
    program = tmp_path / "llama-server"
    program.write_text(_HALF_LETTERS.format(python=sys.executable, trained=trained))
    program.chmod(0o755)
    case = Case(engine="server", test=BenchTest(n_prompt=4, n_gen=6), n_streams=1)
    with open_server(demo_model_path(), load_params(), program=program) as session:
        sample = session.measure(case)
    assert len(sample.itl_ms) == 5, "the bug: it answered without a token"
    asked = [json.loads(line) for line in Path(f"{program}.asked").read_text().splitlines()][-1]
    assert (asked["temperature"], "logit_bias" in asked) == ((0.0, False) if trained else (1.0, True))
