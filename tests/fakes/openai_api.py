"""A server of chat completions that says what a test tells it to, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

DEADLINE_S = 20.0
"""Of things that happen within milliseconds."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: dict[str, Any]


class Hold:
    """What a handler returns to keep the connection open, silent, until the client closes it."""


HOLD = Hold()
Handler = Callable[[Asked], "bytes | list[bytes | Hold]"]


def answer(status: int, body: object = b"", kind: str = "application/json", **headers: str) -> bytes:
    """A whole answer. `retry_after="5"` is the header Retry-After."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def chunked(data: bytes) -> bytes:
    """A piece of a stream."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: object) -> bytes:
    """One event in a piece of its own."""
    text = value if isinstance(value, str) else json.dumps(value)
    return chunked(f"data: {text}\n\n".encode())


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk with one delta."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def stream(*chunks: object, done: bool = True) -> bytes:
    """A whole stream of events, properly ended."""
    return STREAM_HEAD + b"".join(map(event, chunks)) + (event("[DONE]") if done else b"") + STREAM_END


def says(text: str = "hello") -> bytes:
    """A short answer."""
    return stream(delta(role="assistant"), delta(content=text), delta("stop"))


@dataclass
class Api:
    """The server. `handler` is called for each request."""

    handler: Handler
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    holding: threading.Event = field(default_factory=threading.Event)
    """A connection is held open, and all before it was sent."""
    hung_up: threading.Event = field(default_factory=threading.Event)
    """A client closed the connection that was held open."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """Bodies of the chat completions that were asked for."""
        return [asked.body for asked in self.asked if asked.path.endswith("/chat/completions")]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False
    api: Api


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        api = self.server.api  # type: ignore[attr-defined]
        with suppress(ConnectionError):
            asked = self._read()
            if asked is None:
                return
            api.asked.append(asked)
            said = api.handler(asked)
            for piece in [said] if isinstance(said, bytes) else said:
                if isinstance(piece, Hold):
                    self._hold(api)
                else:
                    self.connection.sendall(piece)

    def _hold(self, api: Api) -> None:
        self.connection.settimeout(DEADLINE_S)
        api.holding.set()
        with suppress(ConnectionError):
            while self.connection.recv(4096):
                pass
        api.hung_up.set()

    def _read(self) -> Asked | None:
        first = self.rfile.readline().decode().split()
        if len(first) < 2:
            return None
        headers: dict[str, str] = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        data = self.rfile.read(int(headers.get("content-length", "0")))
        return Asked(first[0], first[1], headers, json.loads(data) if data else {})


@contextmanager
def openai_api(handler: Handler | bytes) -> Iterator[Api]:
    """Serve until the context ends. Bytes are the answer to every request."""
    fixed = handler
    api = Api((lambda _asked: fixed) if isinstance(fixed, bytes) else fixed)
    with _Server(("127.0.0.1", 0), _Connection) as server:
        server.api = api
        api.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join(DEADLINE_S)


def refused_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
