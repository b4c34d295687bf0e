"""A server whose streams never end by themselves: what llama-server is while a long answer is written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_PROPS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    b'{"total_slots": 4, "default_generation_settings": {"n_ctx": 4096, "params": {"seed": 4294967295}}}'
)


class Upstream:
    """What goes on in it. Requests to `/silent` are taken and never answered."""

    def __init__(self, event: bytes) -> None:
        self.event = event
        self.port = 0
        self.n_open = 0
        self.n_sent_bytes = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def die(self) -> None:
        """Drop every connection, as a killed process does."""

        def drop() -> None:
            for writer in self._writers:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(drop)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_open += 1
        self._writers.add(writer)
        closed = asyncio.ensure_future(self._answer(reader, writer))
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await closed
        finally:
            self.n_open -= 1
            self._writers.discard(writer)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/silent" in head.partition(b"\r\n")[0]:
            while await reader.read(1 << 16):
                pass
            return
        if head.startswith(b"GET /props "):
            writer.write(_PROPS)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        writer.write(_HEAD)
        while not writer.transport.is_closing():
            writer.write(b"%x\r\n%s\r\n" % (len(self.event), self.event))
            self.n_sent_bytes += len(self.event)
            await writer.drain()
            await asyncio.sleep(0.001)


@contextmanager
def endless_upstream(event: bytes = b'data: {"choices":[]}\n\n') -> Iterator[Upstream]:
    """Serve until the context ends."""
    upstream = Upstream(event)
    ready = threading.Event()

    async def main() -> None:
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        upstream.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            with suppress(asyncio.CancelledError):
                await server.serve_forever()
        upstream.die()
        while upstream.n_open:  # noqa: ASYNC110 - it counts, and this is the end
            await asyncio.sleep(0.01)

    task: list[asyncio.Task[None]] = []

    def run() -> None:
        asyncio.set_event_loop(upstream._loop)
        task.append(upstream._loop.create_task(main()))
        upstream._loop.run_until_complete(task[0])
        upstream._loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        yield upstream
    finally:
        upstream._loop.call_soon_threadsafe(task[0].cancel)
        thread.join(30)
