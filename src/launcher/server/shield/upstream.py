"""One request to llama-server, over a connection of its own; a stream goes to the client as it is, chunk for chunk.

Two sockets are joined where their data arrives: no task wakes up and nothing is parsed for an event, since on a small
machine what the shield takes is taken from the model. aiohttp's client costs three times as much for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from launcher.server.shield import errors
from launcher.server.shield.http1 import CHUNK_END, LAST_CHUNK, Head, chunk, read_head, unchunk

_MAX_HEAD_BYTES = 1 << 16
_HELD_BYTES = 1 << 18
"""Of a stream that its client does not take; then llama-server is paused."""
_FULL_BYTES = 1 << 17
_FLOOD_GAP_S = 0.005
"""Between two events. A stream faster than that, 200 tokens a second, is passed on about four events at a time: that is
a third of the work, which on a small machine is taken from the model, and no reader sees it."""
_FLOOD_EVENTS = 3
"""Of the next ones that are waited for; less than `_FLOOD_GAP_S` for each."""


class UpstreamGoneError(Exception):
    """The connection ended in the middle of an answer."""


class Upstream(asyncio.Protocol):
    """Receives an answer: its head, then a document or a stream."""

    def __init__(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self.head: asyncio.Future[Head] = loop.create_future()
        self.done: asyncio.Future[bool] = loop.create_future()
        """Ends with the answer: False where the parser gave up."""
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: Head | None = None
        self._client: asyncio.Transport | None = None
        self._keep: Callable[[bytes], object] = bytes
        self._fix: Callable[[bytes], bytes] | None = None
        self._sent_s = 0.0
        self._chunked_client = True
        self._watched = False
        self.full = asyncio.Event()
        """The client takes less than comes; `resume` once it has."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Ask."""
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Hang up: llama-server notices, stops decoding and frees the slot."""
        for future in (self.head, self.done):
            if not future.done():
                future.cancel()
            elif not future.cancelled():
                future.exception()  # whoever hangs up does not ask why it ended
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._client is not None:
            self._pass_on(self._taken(data))
            return
        self._buffer += data
        if self._head is None:
            self._read_head()
        if self._head is not None and not self.done.done() and self._is_whole(self._head):
            self.done.set_result(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        if self._head is not None and not self.done.done() and self._client is None and self._ends_with_connection():
            self.done.set_result(True)
        gone = UpstreamGoneError(str(exc or "the connection ended"))
        for future in (self.head, self.done):
            if not future.done():
                future.set_exception(gone)

    async def document(self) -> bytes:
        """Wait for the whole body.

        Raises:
            UpstreamGoneError: it ended too early.
        """
        head = await self.head
        await self.done
        body = bytes(self._buffer)
        return unchunk(body[: -len(LAST_CHUNK)]) if head.is_chunked else body[: head.length]

    def join(
        self,
        client: asyncio.Transport,
        keep: Callable[[bytes], object],
        *,
        chunked: bool,
        watched: bool,
        fix: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Send what comes to the client from now on; `done` says when it has ended.

        Args:
            client: Where the head of the answer was sent already.
            keep: Is given everything that was sent.
            chunked: Whether the client reads chunks.
            watched: Whether an event that says that the parser gave up is kept from the client, and ends it.
            fix: Gives whole events as their API says they are; None: they pass as they come.
        """
        self._fix = fix
        self._client, self._keep, self._chunked_client, self._watched = client, keep, chunked, watched
        data = self._taken(b"")
        if data:
            self._pass_on(data)

    def _taken(self, data: bytes) -> bytes:
        """Give what was held back together with what came now."""
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer.clear()
        return data

    def resume(self) -> None:
        """Let llama-server go on."""
        self.full.clear()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _read_head(self) -> None:
        text, mark, rest = self._buffer.partition(b"\r\n\r\n")
        if not mark and len(text) < _MAX_HEAD_BYTES:
            return
        try:
            self._head = read_head(bytes(text))
        except ValueError as error:
            if not self.head.done():
                self.head.set_exception(UpstreamGoneError(f"no answer of HTTP: {error}"))
            self.close()
            return
        self._buffer = rest
        if not self.head.done():
            self.head.set_result(self._head)

    def _is_whole(self, head: Head) -> bool:
        if head.is_event_stream:
            return False  # joined to a client, or never read
        if head.is_chunked:
            return self._buffer.endswith(b"\r\n" + LAST_CHUNK) or self._buffer == LAST_CHUNK
        return head.length is not None and len(self._buffer) >= head.length

    def _ends_with_connection(self) -> bool:
        return self._head is not None and not self._head.is_chunked and self._head.length is None

    def _pass_on(self, data: bytes) -> None:
        if self.done.done() or self._client is None:
            return
        ended = False
        if not data.endswith(CHUNK_END):
            if data.endswith(b"\r\n" + LAST_CHUNK) or data == LAST_CHUNK:
                ended, data = True, data[: -len(LAST_CHUNK)]
            else:
                whole = data.rfind(CHUNK_END) + len(CHUNK_END)
                if whole < len(CHUNK_END):
                    self._buffer += data
                    return
                self._buffer += data[whole:]
                data = data[:whole]
        if self._watched and errors.PARSER_FAILURE in data:
            events = unchunk(data)
            before, failed = errors.split_at_failure(events)
            if failed:
                if before:
                    self._send(chunk(before))
                self.done.set_result(False)
                return
        if data:
            self._send(data)
        if ended:
            self.done.set_result(True)

    def _send(self, data: bytes) -> None:
        if self._client is None or self._transport is None:
            return
        self._client.write(self._spelt(data))
        self._keep(data)
        if self._client.get_write_buffer_size() > _HELD_BYTES:
            self.full.set()
            self._transport.pause_reading()
            return
        now = self._loop.time()
        gap = (now - self._sent_s) / max(1, data.count(CHUNK_END))
        if gap < _FLOOD_GAP_S:
            self._transport.pause_reading()
            self._loop.call_later(_FLOOD_EVENTS * gap, self._go_on)
        self._sent_s = now

    def _spelt(self, data: bytes) -> bytes:
        """Chunks as this client reads them."""
        if self._fix is None:
            return data if self._chunked_client else unchunk(data)
        events = self._fix(unchunk(data))
        return chunk(events) if events and self._chunked_client else events

    def _go_on(self) -> None:
        if not self.full.is_set():
            self.resume()

    def has_room(self) -> bool:
        """Whether the client has taken enough for llama-server to go on."""
        return self._client is None or self._client.get_write_buffer_size() < _FULL_BYTES
