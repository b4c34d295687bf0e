"""Run a shield: in an event loop of the caller's, or in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import UsageError
from launcher.server.shield.types import ShieldConfig

if TYPE_CHECKING:
    from aiohttp import web

_START_TIMEOUT_S = 30.0  # importing aiohttp on a cold disk takes seconds
_STOP_TIMEOUT_S = 1.0  # for answers that are under way when the shield stops; llama-server stops with it
_LINGER_S = 2.0  # for a client to stop sending what was refused; cut off earlier, it would not read the answer
_READ_BYTES = 1 << 16  # held of an answer that the client does not take; twice that, and llama-server is paused


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningShield:
    """A shield that listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """How this machine reaches it."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104  # compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@asynccontextmanager
async def open_shield(config: ShieldConfig) -> AsyncIterator[RunningShield]:
    """Listen until the context ends.

    Raises:
        UsageError: the address is taken, or is none of this machine's.
    """
    # aiohttp takes a tenth of a second to import, and only a server needs it.
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web

    from launcher.server.shield.relay import Relay

    # Only turns that are mended go this way. As for the others, no connection is kept: see http1.request.
    connector = TCPConnector(limit=0, force_close=True)
    timeout = ClientTimeout(total=None, sock_connect=config.connect_timeout_s)
    async with ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=DummyCookieJar(),
        read_bufsize=_READ_BYTES,
    ) as session:
        listener = web.Server(
            Relay(config, session).handle,
            handler_cancellation=True,  # a client that goes away takes its request along, and frees its slot
            keepalive_timeout=config.request_timeout_s,  # for headers that never end, too
            lingering_time=_LINGER_S,
            auto_decompress=False,
            access_log=None,
        )
        runner = web.ServerRunner(listener, handle_signals=False, shutdown_timeout=_STOP_TIMEOUT_S)
        await runner.setup()
        try:
            site = web.TCPSite(runner, config.host, config.port)
            try:
                await site.start()
            except OSError as error:
                raise UsageError(
                    f"{config.host}:{config.port} cannot be listened on: {error.strerror or error}",
                    hint=f"gpt-oss serve --port {config.port + 1}",
                ) from None
            yield RunningShield(host=config.host, port=_port(runner))
        finally:
            await runner.cleanup()


@contextmanager
def start_shield(config: ShieldConfig) -> Iterator[RunningShield]:
    """Listen in a thread of its own until the context ends.

    Raises:
        UsageError: see `open_shield`.
    """
    started = threading.Event()
    box: list[RunningShield | BaseException] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with open_shield(config) as shield:
            box.append(shield)
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            box.append(error)
        finally:
            started.set()
            loop.close()

    thread = threading.Thread(target=run, name="shield", daemon=True)
    thread.start()
    try:
        started.wait(_START_TIMEOUT_S)
        first = box[0] if box else TimeoutError("the shield did not start")
        if isinstance(first, BaseException):
            raise first
        yield first
    finally:
        if not loop.is_closed():
            with suppress(RuntimeError):  # closed in between
                loop.call_soon_threadsafe(stop.set)
        thread.join(_START_TIMEOUT_S)


def _port(runner: web.ServerRunner) -> int:
    return int(runner.addresses[0][1])
