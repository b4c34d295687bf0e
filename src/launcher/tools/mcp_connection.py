"""One MCP server on the loop of the client: started within a deadline, asked, told of what is given up, restarted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
from mcp import ClientSession, McpError, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from launcher.tools.capped_log import CappedLog
from launcher.tools.mcp_stdio import Heard, Streams, stdio_transport
from launcher.tools.mcp_types import McpServer, Transport
from launcher.tools.text import clean_line

_MAX_PAGES = 50
"""Of a list of tools: a server that always has a next page shall not keep us."""
_HTTP_S = 30.0
"""To connect and to send; answers have the call's own limit."""
_TELL_S = 0.5
"""To tell a server that a call is given up; it may not be listening."""
_SESSION_LOST = 32600
"""The package's code for HTTP status 404: the server has forgotten the session, or never had anything there."""
_CLIENT = types.Implementation(name="gpt-oss-launcher", version="1")

# Without a handler, Python prints to stderr what the package logs of servers.
for _name in ("mcp", "client"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class GoneError(Exception):
    """The server is not there (any more); the message says what is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What a server has to offer."""

    tools: tuple[types.Tool, ...]


class Connection:
    """One server. All methods run on the client's loop."""

    def __init__(self, server: McpServer, log: CappedLog, *, start_s: float) -> None:
        self.server = server
        self._log = log
        self._start_s = start_s
        self._heard = Heard()
        self._session: ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._lock = asyncio.Lock()

    async def start(self) -> Offer:
        """Start it and ask for its tools.

        Raises:
            GoneError: it cannot be started, does not answer in time, or says nothing that makes sense.
        """
        try:
            return await self._start_with(self.server.transport)
        except GoneError as error:
            if not self.server.falls_back or self.server.transport != "http":
                raise
            try:
                return await self._start_with("sse")
            except GoneError:
                raise error from None

    async def _start_with(self, transport: Transport) -> Offer:
        self._heard = Heard()
        self._stop = asyncio.Event()
        ready: asyncio.Future[Offer] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(transport, ready))
        done, _ = await asyncio.wait({ready}, timeout=self._start_s)
        if done:
            with suppress(GoneError):
                return ready.result()
            await self._ended()
            raise ready.exception() or GoneError("gone")
        await self.close()
        ready.cancel()
        raise GoneError(self._told(f"did not answer within {self._start_s:g} s"))

    async def _live(self, transport: Transport, ready: asyncio.Future[Offer]) -> None:
        """The connection's whole life: contexts of the package must end in the task that they began in."""
        try:
            async with (
                self._transport(transport) as (read, write),
                ClientSession(read, write, client_info=_CLIENT) as session,
            ):
                await session.initialize()
                tools = await _all_tools(session)
                self._session = session
                if not ready.done():
                    ready.set_result(Offer(tools=tools))
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001  # whatever a server makes the package raise
            if not ready.done():
                ready.set_exception(GoneError(self._told(_reason(error))))
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
        finally:
            self._session = None

    @asynccontextmanager
    async def _transport(self, transport: Transport) -> AsyncIterator[Streams]:
        headers = dict(self.server.headers)
        if transport == "stdio":
            async with stdio_transport(self.server, self._log, self._heard) as streams:
                yield streams
        elif transport == "sse":
            async with sse_client(self.server.url, headers=headers, timeout=_HTTP_S) as streams:
                yield streams
        else:
            timeout = httpx.Timeout(_HTTP_S, read=None)
            async with (
                httpx.AsyncClient(headers=headers, timeout=timeout) as client,
                streamable_http_client(self.server.url, http_client=client) as (read, write, _session_id),
            ):
                yield read, write

    async def call(self, tool: str, arguments: dict[str, Any], timeout_s: float) -> types.CallToolResult:
        """Call a tool. A server that is gone is started again, once.

        Raises:
            GoneError: it ended, before or during the call.
            TimeoutError: the call took too long, and the server was told that it is given up.
            McpError: the server refused.
        """
        async with asyncio.timeout(timeout_s):
            async with self._lock:
                if self._session is None or not self._is_alive():
                    await self.close()
                    await self.start()
            session = self._session
            if session is None:
                raise GoneError(self._told("ended"))
            return await self._ask(session, tool, arguments)

    async def _ask(self, session: ClientSession, tool: str, arguments: dict[str, Any]) -> types.CallToolResult:
        request_id = session._request_id  # noqa: SLF001  # a notice of cancellation names it, and it has no public name
        params = types.CallToolRequestParams(name=tool, arguments=arguments)
        try:
            # Not call_tool: it raises where a result does not follow the server's own schema, and the text is lost.
            return await session.send_request(
                types.ClientRequest(types.CallToolRequest(params=params)), types.CallToolResult
            )
        except asyncio.CancelledError:
            await self._tell_cancelled(session, request_id)
            raise
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            raise await self._died() from error
        except McpError as error:
            if error.error.code in {types.CONNECTION_CLOSED, _SESSION_LOST}:
                raise await self._died() from error
            raise

    async def _died(self) -> GoneError:
        await self.close()
        return GoneError(self._told("ended during the call"))

    def _is_alive(self) -> bool:
        return self._task is not None and not self._task.done() and not self._heard.ended

    async def _tell_cancelled(self, session: ClientSession, request_id: int) -> None:
        params = types.CancelledNotificationParams(requestId=request_id, reason="given up")
        notice = types.ClientNotification(types.CancelledNotification(params=params))
        with suppress(Exception):
            await asyncio.wait_for(asyncio.shield(session.send_notification(notice)), _TELL_S)

    async def close(self) -> None:
        """End the connection and the server's process."""
        self._stop.set()
        if self._session is None and self._task is not None:
            # It has not come as far as to wait for the event.
            self._task.cancel()
        await self._ended()

    async def _ended(self) -> None:
        if self._task is not None:
            await asyncio.wait({self._task})
            self._task = None

    def _told(self, what: str) -> str:
        """What went wrong, with what the server itself said of it."""
        text = what
        if self._heard.returncode not in {None, 0} and not what.startswith("did not"):
            text += f", with exit status {self._heard.returncode}"
        if self._heard.junk:
            text += f"; on stdout, which is for messages, it wrote {self._heard.junk!r}"
        if self._log.tail:
            last = clean_line(" | ".join(self._log.tail[-2:]), 300)
            text += f"; its last words: {last} (all of them: {self._log.path})"
        return text


async def _all_tools(session: ClientSession) -> tuple[types.Tool, ...]:
    capabilities = session.get_server_capabilities()
    if capabilities is not None and capabilities.tools is None:
        return ()
    found: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        params = types.PaginatedRequestParams(cursor=cursor)
        page = await session.list_tools(params=params)
        found += page.tools
        cursor = page.nextCursor
        if not cursor:
            break
    return tuple(found)


def _reason(error: BaseException) -> str:
    """What went wrong, out of the groups that task groups wrap errors in."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
        return f"cannot be started: {error.filename or ''}: {error.strerror}"
    if isinstance(error, httpx.HTTPStatusError):
        return f"answered with HTTP status {error.response.status_code}"
    if isinstance(error, httpx.HTTPError):
        return f"cannot be reached: {clean_line(str(error) or type(error).__name__, 200)}"
    if isinstance(error, McpError) and error.error.code == types.CONNECTION_CLOSED:
        return "ended before it answered"
    if isinstance(error, McpError) and error.error.code == _SESSION_LOST:
        return "answered with HTTP status 404: nothing is at this address"
    return clean_line(f"{error}" or type(error).__name__, 200)
