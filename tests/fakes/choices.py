"""A llama-server whose turns depend on the seed: what each of several choices meets, chosen by a test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Behaviour = Literal["good", "broken", "refused", "dead", "failing"]
"""A whole turn; one that the parser gives up after its reasoning; a 400; a connection that ends; an error amid it."""

FAILURE = "The model produced output that does not match the expected peg-native format"
SERVER_SEED = 40


class Choices(ThreadingHTTPServer):
    """The server, with what it was asked."""

    daemon_threads = False

    def __init__(self, by_seed: dict[int, Behaviour]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.by_seed = by_seed
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def choices_upstream(by_seed: dict[int, Behaviour]) -> Iterator[Choices]:
    """Serve until the context ends. Requests without a seed count as the server's own."""
    with Choices(by_seed) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def event(value: dict[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def piece(seed: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One chunk of a choice."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"choices": [choice], "id": f"chatcmpl-{seed}", "created": seed, "model": "m", "object": "x"})


class _Handler(BaseHTTPRequestHandler):
    server: Choices

    def do_GET(self) -> None:
        self._json(
            200,
            {
                "total_slots": 4,
                "default_generation_settings": {"params": {"seed": SERVER_SEED}, "n_ctx": 8192},
            },
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/apply-template":
            self._json(200, {"prompt": "<|start|>assistant"})
        elif self.path == "/completion":
            said = {"content": "<|channel|>final<|message|>Mended.", "stop": False}
            self._stream(
                event(said), event({"content": "", "stop": True, "tokens_predicted": 7, "tokens_evaluated": 30})
            )
        else:
            self.server.asked.append(body)
            self.server.headers.append(dict(self.headers))
            self._turn(int(body.get("seed", SERVER_SEED)), body)

    def _turn(self, seed: int, body: dict[str, Any]) -> None:
        behaviour = self.server.by_seed[seed]
        if behaviour == "dead":
            self.close_connection = True
        elif behaviour == "refused":
            self._json(400, {"error": {"code": 400, "message": "not like this", "type": "invalid_request_error"}})
        elif not body.get("stream"):
            self._whole(seed, behaviour)
        else:
            thought, said = piece(seed, {"reasoning_content": "Hm."}), piece(seed, {"content": f"I am {seed}."})
            failed = event({"error": {"code": 500, "message": FAILURE if behaviour == "broken" else "out of cells"}})
            used = {"prompt_tokens": 20, "completion_tokens": seed, "total_tokens": 20 + seed}
            last = piece(seed, {}, "stop") + event({"choices": [], "usage": used}) + b"data: [DONE]\n\n"
            self._stream(b":\n\n" + thought, said + last if behaviour == "good" else failed)

    def _whole(self, seed: int, behaviour: Behaviour) -> None:
        if behaviour != "good":
            self._json(500, {"error": {"code": 500, "message": FAILURE}})
            return
        message = {"role": "assistant", "content": f"I am {seed}."}
        used = {"prompt_tokens": 20, "completion_tokens": seed, "total_tokens": 20 + seed}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._json(200, {"choices": [choice], "usage": used, "id": f"chatcmpl-{seed}", "timings": {}})

    def _json(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, *parts: bytes) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            # Cut anywhere, as a network may.
            for cut in (part[:5], part[5:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(cut), cut))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass
