"""MCP servers as tools: all started at once, one loop in one thread for all of them, and nothing left at the end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from launcher.tools.mcp_text import MAX_DESCRIPTION_CHARS, function_name, schema_of, text_of
from launcher.tools.mcp_types import McpServer
from launcher.tools.text import clean_line, clean_text, cut_middle, say_result
from launcher.tools.types import Tool, ToolLimits, ToolResult, Verdict

if TYPE_CHECKING:
    from launcher.tools.mcp_connection import Connection, Offer

START_S = 10.0
"""For a server to start and to list its tools: `npx` and `uvx` load packages first."""
MAX_TOOLS = 128
"""Of one server. Each takes its part of every prompt."""
_TICK_S = 0.05
"""Between looks at the cancel flag."""
_CLOSE_S = 5.0
"""For all servers to end; each takes no longer than 1.5 s."""

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class McpTools:
    """What the servers offer."""

    tools: tuple[Tool, ...]
    problems: tuple[str, ...]
    """A line for each server or tool that cannot be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class McpTool:
    """One tool of a server."""

    name: str
    title: str
    description: str
    parameters: dict[str, Any]
    verdict: Verdict
    original: str
    """What the server calls it."""
    connection: Connection
    loop: _Loop
    limits: ToolLimits

    def call(self, arguments: str, cancelled: threading.Event) -> ToolResult:
        """Have the server do it."""
        try:
            table = json.loads(arguments, strict=False) if arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            return ToolResult(text=f"the arguments are not valid JSON: {error}", is_error=True)
        if not isinstance(table, dict):
            return ToolResult(text="the arguments have to be a JSON object", is_error=True)
        began = time.monotonic()
        text, is_error = self._ask(table, cancelled)
        text, n_cut = say_result(text, self.limits.max_output_chars)
        return ToolResult(text=text, is_error=is_error, elapsed_s=time.monotonic() - began, n_cut=n_cut)

    def _ask(self, table: dict[str, Any], cancelled: threading.Event) -> tuple[str, bool]:  # noqa: PLR0911  # cases
        from mcp import McpError

        from launcher.tools.mcp_connection import GoneError

        server = self.connection.server.name
        if cancelled.is_set():
            return "the user stopped it", True
        try:
            result = self.loop.run(self.connection.call(self.original, table, self.limits.timeout_s), cancelled)
        except concurrent.futures.CancelledError:
            return "the user stopped it", True
        except TimeoutError:
            return f"stopped after {self.limits.timeout_s:g} s, the time limit", True
        except GoneError as error:
            return f"the MCP server {server} {error}", True
        except McpError as error:
            return f"the MCP server {server} refused: {error}", True
        except Exception as error:  # noqa: BLE001  # an answer that the package cannot read, for one
            return f"the MCP server {server} gave no answer that makes sense: {type(error).__name__}: {error}", True
        return text_of(result), bool(result.isError)


class _Loop:
    """An asyncio loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mcp", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def run(self, job: Coroutine[Any, Any, Value], cancelled: threading.Event | None = None) -> Value:
        """Wait for a coroutine. It is cancelled where `cancelled` is set, or this thread interrupted."""
        future = asyncio.run_coroutine_threadsafe(job, self._loop)
        try:
            # TimeoutError may also be what the coroutine raises, so the wait is apart from the result.
            while not concurrent.futures.wait([future], _TICK_S).done:
                self._check_alive()
                if cancelled is not None and cancelled.is_set():
                    future.cancel()
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _check_alive(self) -> None:
        """At the end of the interpreter its thread is gone, and nothing will ever be done."""
        if not self._thread.is_alive():
            raise RuntimeError("the loop has ended")

    def close(self) -> None:
        """Stop it, with whatever still runs on it."""
        with suppress(concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            asyncio.run_coroutine_threadsafe(self._cancel_rest(), self._loop).result(_CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _cancel_rest(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._loop.shutdown_asyncgens()


@contextmanager
def open_mcp(
    servers: Sequence[McpServer],
    limits: ToolLimits | None = None,
    *,
    log_dir: Path,
    wanted: Mapping[str, Sequence[str]] | None = None,
    verdict_of: Callable[[str, McpServer, str], Verdict] | None = None,
    taken: Sequence[str] = (),
    start_s: float = START_S,
) -> Iterator[McpTools]:
    """Start the servers, all at once, and end them with the context.

    Args:
        servers: Which.
        limits: What a call may take.
        log_dir: For what they write to stderr: `mcp-NAME.log` each.
        wanted: By server, the tools that are taken; all of a server that is not named.
        verdict_of: Whether a call needs to be confirmed, by title, server and the tool's own name. By default all do.
        taken: Names of functions that the model has already.
        start_s: For each server to start.
    """
    from launcher.tools.capped_log import CappedLog
    from launcher.tools.mcp_connection import Connection

    loop = _Loop()
    logs = [CappedLog(log_dir / f"mcp-{_file_word(server.name)}.log") for server in servers]
    connections = [Connection(server, log, start_s=start_s) for server, log in zip(servers, logs, strict=True)]
    try:
        outcomes = loop.run(_start_all(connections))
        gathered = _Gathered(
            loop=loop,
            limits=limits or ToolLimits(),
            wanted=wanted or {},
            verdict_of=verdict_of or (lambda _title, _server, _tool: "ask"),
            names=set(taken),
        )
        for connection, outcome in zip(connections, outcomes, strict=True):
            gathered.take(connection, outcome)
        yield McpTools(tools=tuple(gathered.tools), problems=tuple(gathered.problems))
    finally:
        try:
            loop.run(_close_all(connections))
        finally:
            loop.close()
            for log in logs:
                log.close()


async def _start_all(connections: Sequence[Connection]) -> list[Offer | BaseException]:
    return await asyncio.gather(*(connection.start() for connection in connections), return_exceptions=True)


async def _close_all(connections: Sequence[Connection]) -> None:
    closing = asyncio.gather(*(connection.close() for connection in connections), return_exceptions=True)
    with suppress(TimeoutError):
        await asyncio.wait_for(closing, _CLOSE_S)


class _Gathered:
    """Makes tools of what servers offer, and lines of what is wrong with it."""

    def __init__(
        self,
        *,
        loop: _Loop,
        limits: ToolLimits,
        wanted: Mapping[str, Sequence[str]],
        verdict_of: Callable[[str, McpServer, str], Verdict],
        names: set[str],
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._wanted = wanted
        self._verdict_of = verdict_of
        self._names = names
        self.tools: list[McpTool] = []
        self.problems: list[str] = []

    def take(self, connection: Connection, outcome: Offer | BaseException) -> None:
        """The tools of one server, or why there are none."""
        server = connection.server
        if isinstance(outcome, BaseException):
            self.problems.append(f"mcp:{server.name}: {clean_line(str(outcome) or type(outcome).__name__, 600)}")
            return
        wanted = self._wanted.get(server.name)
        offered = {tool.name: tool for tool in outcome.tools}
        if not offered:
            self.problems.append(f"mcp:{server.name}: it offers no tools")
        for name in wanted or ():
            if name not in offered:
                known = clean_line(", ".join(offered), 200) or "none"
                self.problems.append(f"mcp:{server.name}: no tool is called {name!r}; it offers {known}")
        chosen = [tool for tool in offered.values() if wanted is None or tool.name in wanted]
        if len(chosen) > MAX_TOOLS:
            self.problems.append(f"mcp:{server.name}: of its {len(chosen)} tools, the first {MAX_TOOLS} are taken")
        for tool in chosen[:MAX_TOOLS]:
            title = f"{server.name}:{clean_line(tool.name, 100)}"
            try:
                parameters = schema_of(tool.inputSchema)
            except ValueError as error:
                self.problems.append(f"{title}: left out, since {error}")
                continue
            name = function_name(server.name, tool.name, self._names)
            self._names.add(name)
            self.tools.append(
                McpTool(
                    name=name,
                    title=title,
                    description=cut_middle(clean_text(tool.description or ""), MAX_DESCRIPTION_CHARS)[0],
                    parameters=parameters,
                    verdict=self._verdict_of(title, server, tool.name),
                    original=tool.name,
                    connection=connection,
                    loop=self._loop,
                    limits=self._limits,
                )
            )


def _file_word(name: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in name)[:60] or "_"
