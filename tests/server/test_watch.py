"""Looking at a server that works, sleeps, loads, refuses or is gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from launcher.server.metrics import PROMPT_TOKENS, TOKENS_PREDICTED
from launcher.server.types import ServerRecord
from launcher.server.watch import Status, Watch
from tests.cli.sandbox import free_port
from tests.server.live import llama_server, record_of
from tests.server.waiting import wait_for


@contextmanager
def fake(answers: dict[str, tuple[int, str]]) -> Iterator[tuple[ServerRecord, list[str]]]:
    """A server that answers so, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, text = answers.get(self.path, (404, "{}"))
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield record_of(server.server_address[1], None, Path("log")), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def looked(record: ServerRecord) -> Status:
    with Watch() as watch:
        return watch.look(record)


def test_a_real_server_is_read_with_its_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first\nsecond\n")
    with llama_server(tmp_path, key_file=key) as live, Watch() as watch:
        assert live.complete(8) == 8
        before = watch.look(live.record).reading
        assert live.complete(20) == 20
        status = watch.look(live.record)
    assert status.state == "ready"
    assert status.problem is None
    assert status.kv is not None
    assert status.kv.n_cells == 4096
    assert status.kv.n_tokens >= 20
    assert before is not None
    assert status.reading is not None
    assert status.reading.sample.value(TOKENS_PREDICTED) == 28
    elapsed_s = status.reading.sample.at_s - before.sample.at_s
    assert status.reading.predicted_tokens_per_s == pytest.approx(20 / elapsed_s)
    assert status.reading.prompt_tokens_per_s is not None
    assert status.reading.prompt_tokens_per_s > 0


def test_a_wrong_key_is_told_by_its_file(tmp_path: Path) -> None:
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text("right\n")
    other.write_text("wrong\n")
    with llama_server(tmp_path, key_file=key) as live:
        record = record_of(live.record.port, live.process.pid, Path("log"), other)
        status = looked(record)
    assert status.problem == f"the server refuses the key in {other}"
    assert status.reading is None


def test_looking_lets_an_idle_server_fall_asleep_and_sleep_on(tmp_path: Path) -> None:
    """Keeps out: /slots, which wakes a sleeping server and resets its idle time."""
    with llama_server(tmp_path, "--sleep-idle-seconds", "1") as live, Watch() as watch:

        def states() -> str:
            return watch.look(live.record).state

        live.complete(4)
        wait_for(lambda: states() == "asleep", "it is kept awake")
        asleep = [watch.look(live.record) for _ in range(20)]
        assert {status.state for status in asleep} == {"asleep"}
        assert asleep[-1].kv is None
        last = asleep[-1].reading
        assert last is not None
        assert last.sample.value(TOKENS_PREDICTED) == 4, "what it did before is not forgotten"
        assert live.record.log_path.read_text().count("exiting sleeping state") == 0
        live.complete(4)
        assert states() == "ready"


def test_a_server_without_slots_is_still_read(tmp_path: Path) -> None:
    with llama_server(tmp_path, "--no-slots") as live:
        live.complete(4)
        status = looked(live.record)
    assert status.reading is not None
    assert status.reading.sample.slots is None
    assert status.kv is None


IDLE = (200, f"{PROMPT_TOKENS} 0\n{TOKENS_PREDICTED} 0\nllamacpp:requests_processing 0\n")
BUSY = (200, f"{PROMPT_TOKENS} 3\n{TOKENS_PREDICTED} 7\nllamacpp:requests_processing 1\n")


def test_slots_of_a_server_that_may_sleep_are_asked_for_while_it_works() -> None:
    """What is not known to stay awake may sleep: the process's command cannot be read here."""
    answers = {"/metrics": IDLE, "/props": (200, '{"is_sleeping": false}'), "/slots": (200, "[]")}
    with fake(answers) as (record, asked), Watch() as watch:
        assert watch.look(record).state == "ready"
        assert "/slots" not in asked
        answers["/metrics"] = BUSY
        watch.look(record)
        assert "/slots" in asked


def test_an_answer_that_ends_between_two_routes_counts_once() -> None:
    """Keeps out: slots that still tell of an answer which the counter has already."""
    working = '[{"id": 0, "n_ctx": 9, "is_processing": true, "id_task": 1, "next_token": [{"n_decoded": 40}]}]'
    counted = iter((0, 40, 40, 40))

    class Moving(dict[str, tuple[int, str]]):
        def get(self, key: str, default: object = None) -> tuple[int, str]:
            if key != "/metrics":
                return self[key]
            done = next(counted)
            if done:
                self["/slots"] = (200, '[{"id": 0, "n_ctx": 9, "is_processing": false, "id_task": 1}]')
            return 200, f"{PROMPT_TOKENS} 5\n{TOKENS_PREDICTED} {done}\nllamacpp:requests_processing 1\n"

    with fake(Moving({"/slots": (200, working)})) as (record, _):
        reading = looked(record).reading
    assert reading is not None
    assert reading.predicted_tokens == 40
    assert reading.sample.slots is not None
    assert [slot.state for slot in reading.sample.slots] == ["idle"]


@pytest.mark.parametrize(
    ("answer", "state", "problem"),
    [
        ((503, '{"error": {"message": "Loading model"}}'), "loading", "the model is being loaded"),
        ((401, "{}"), "ready", "the server refuses a request without a key"),
        ((501, "{}"), "ready", "the server was started without --metrics"),
        ((500, "{}"), "ready", "/metrics answers with status 500"),
    ],
)
def test_a_refusal_is_told(answer: tuple[int, str], state: str, problem: str) -> None:
    with fake({"/metrics": answer}) as (record, _):
        status = looked(record)
    assert (status.state, status.problem, status.reading) == (state, problem, None)


def test_something_else_on_the_port_is_no_crash() -> None:
    with fake({"/metrics": BUSY, "/slots": (200, "<html>")}) as (record, _):
        status = looked(record)
    assert status.reading is None
    assert status.problem


def test_a_port_that_nobody_listens_on() -> None:
    status = looked(record_of(free_port(), 1, Path("log")))
    assert status.state == "away"
    assert status.problem == "nothing listens on its port: it has ended, or starts again"


def test_a_key_file_that_is_gone_is_told(tmp_path: Path) -> None:
    status = looked(record_of(free_port(), 1, Path("log"), tmp_path / "gone"))
    assert status.problem is not None
    assert "key file" in status.problem


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with fake({"/metrics": BUSY, "/slots": (200, "[]")}) as (record, _):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{record.port}/metrics")
        assert looked(record).reading is not None
