"""Streams arrive cut anywhere, and leave whole; heads and chunks of HTTP are read as they are written."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.server.shield import errors
from launcher.server.shield.http1 import CHUNK_END, LAST_CHUNK, read_head, request, unchunk
from launcher.server.shield.types import ShieldError
from launcher.server.shield.upstream import Upstream, UpstreamGoneError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FAILURE = "The model produced output that does not match the expected peg-native format"
FAILED = b"data: " + json.dumps({"error": {"code": 500, "message": FAILURE}}).encode() + b"\n\n"


class Transport(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...


def chunked(events: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(data) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


async def passed(pieces: list[bytes], *, watched: bool, chunks: bool) -> tuple[bytes, bool]:
    """What a client is sent, and how the stream ended."""
    upstream, client = Upstream(), Transport()
    upstream.connection_made(Transport())
    kept: list[bytes] = []
    for piece in pieces:
        upstream.data_received(piece)
        if upstream.head.done() and upstream._client is None:
            upstream.join(client, kept.append, chunked=chunks, watched=watched)
    assert unchunk(b"".join(kept)) == (unchunk(client.written) if chunks else client.written)
    ended = await upstream.done
    upstream.close()
    return client.written, ended


EVENTS = st.lists(
    st.text(min_size=1, max_size=30).map(lambda text: b"data: " + json.dumps({"t": text}).encode() + b"\n\n"),
    min_size=1,
    max_size=5,
)
PLACES = st.lists(st.integers(0, 10_000), max_size=12)


@given(EVENTS, PLACES, st.booleans())
def test_a_stream_that_is_cut_anywhere_arrives_whole(events: list[bytes], places: list[int], chunks: bool) -> None:
    pieces = cut(HEAD + chunked(events) + LAST_CHUNK, places)
    written, ended = asyncio.run(passed(pieces, watched=True, chunks=chunks))
    assert ended
    assert (unchunk(written) if chunks else written) == b"".join(events)


@given(EVENTS, PLACES)
def test_the_failure_is_kept_from_the_client_and_what_came_before_is_not(
    events: list[bytes], places: list[int]
) -> None:
    pieces = cut(HEAD + chunked([*events, FAILED]) + LAST_CHUNK, places)
    written, ended = asyncio.run(passed(pieces, watched=True, chunks=True))
    assert not ended
    assert unchunk(written) == b"".join(events)
    # In one chunk with the event before it, too.
    pieces = cut(HEAD + chunked([*events[:-1], events[-1] + FAILED]), places)
    assert unchunk(asyncio.run(passed(pieces, watched=True, chunks=True))[0]) == b"".join(events)


def test_a_stream_that_nobody_watches_passes_with_its_failure() -> None:
    written, ended = asyncio.run(passed([HEAD + chunked([FAILED]) + LAST_CHUNK], watched=False, chunks=True))
    assert (unchunk(written), ended) == (FAILED, True)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-", None),
        (b"SSH-2.0-OpenSSH\r\n\r\n", None),
    ],
)
def test_documents_are_whole_or_an_error(answer: bytes, body: bytes | None) -> None:
    async def document() -> bytes:
        upstream = Upstream()
        upstream.connection_made(Transport())
        for at in range(len(answer)):
            upstream.data_received(answer[at : at + 1])
        upstream.connection_lost(None)
        try:
            return await upstream.document()
        finally:
            upstream.close()

    if body is None:
        with pytest.raises(UpstreamGoneError):
            asyncio.run(document())
    else:
        assert asyncio.run(document()) == body


def test_heads() -> None:
    head = read_head(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nX: a: b ")
    assert (head.status, head.reason) == (503, "Service Unavailable")
    assert (head.get("retry-after"), head.get("x"), head.get("y"), head.length) == ("3", "a: b", None, None)
    sent = request(
        "POST",
        "/v1/chat/completions?a=b",
        [(b"Host", b"here"), (b"Connection", b"keep-alive"), (b"Accept-Encoding", b"gzip"), (b"Content-Length", b"9")],
        b"{}",
        plain=True,
    )
    assert sent == (
        b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    )
    assert CHUNK_END in chunked([b"data: {}\n\n"])


def test_words_are_a_failure_only_as_the_message_of_an_error() -> None:
    assert errors.is_parser_failure(FAILED.strip())
    assert errors.is_parser_failure(b"event: error\n" + b"data: " + json.dumps({"message": FAILURE}).encode())
    assert errors.is_parser_failure(json.dumps({"error": {"message": FAILURE}}).encode())
    assert not errors.is_parser_failure(b"data: " + json.dumps({"message": FAILURE}).encode())
    assert not errors.is_parser_failure(b"data: " + json.dumps({"choices": [{"delta": {"content": FAILURE}}]}).encode())
    assert not errors.is_parser_failure(FAILURE.encode())


def test_errors_in_each_form() -> None:
    error = ShieldError("no", status=413, kind="invalid_request_error", param="body")
    assert cast("dict[str, Any]", json.loads(errors.document(None, error)))["error"]["param"] == "body"
    assert json.loads(errors.document("messages", error)) == {
        "type": "error",
        "error": {"type": "request_too_large", "message": "no"},
    }
    assert errors.event("chat", error).startswith(b'data: {"error"')
    assert errors.event("responses", error).startswith(b"event: error\ndata: ")
