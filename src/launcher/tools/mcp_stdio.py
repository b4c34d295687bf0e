"""MCP over a child's stdin and stdout: one JSON message a line, in bounded memory, and no child left behind.

The official package has such a transport too; this one bounds a line and the log, tells what else a server prints, and
ends a server that does not listen without waiting for it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage

from launcher.system.children import OWN_GROUP, Job
from launcher.tools.capped_log import CappedLog
from launcher.tools.mcp_types import McpServer
from launcher.tools.text import clean_line

_MAX_LINE_BYTES = 32 << 20
"""Of one message: images are sent inside of them."""
_POLITE_S = 1.0
"""For a server to end once its stdin does, as the protocol has it."""
_TERM_S = 0.5
"""For one that does not, to end at SIGTERM."""
_INHERITED = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""Variables that every server gets; keys and tokens only those it is given by name."""
_INHERITED_ON_WINDOWS = (
    *("APPDATA", "COMSPEC", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "NUMBER_OF_PROCESSORS", "OS", "PATH", "PATHEXT"),
    *("PROCESSOR_ARCHITECTURE", "PROGRAMDATA", "PROGRAMFILES", "PROGRAMFILES(X86)", "SYSTEMDRIVE", "SYSTEMROOT"),
    *("TEMP", "TMP", "USERNAME", "USERPROFILE", "WINDIR"),
)
"""The same there: without SYSTEMROOT hardly a program starts, without the folders neither npx nor uvx finds its own."""

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


@dataclass(kw_only=True, slots=True)
class Heard:
    """What is learnt of a server beside its messages."""

    junk: str = ""
    """The first line on stdout that was no message."""
    answers: bool = False
    """Whether it ever spoke MCP: one that did is asked to end, and not just ended."""
    ended: bool = False
    """Whether it closed its stdout, or ended."""
    returncode: int | None = None
    """Once it is gone."""


def environment_of(server: McpServer, environ: Mapping[str, str], *, system: str = sys.platform) -> dict[str, str]:
    """The variables of a server's process. Windows writes their names in small or large letters as it likes."""
    if system != "win32":
        return {**{name: environ[name] for name in _INHERITED if name in environ}, **server.env}
    return {**{name: value for name, value in environ.items() if name.upper() in _INHERITED_ON_WINDOWS}, **server.env}


def program_of(server: McpServer, environ: Mapping[str, str], *, system: str = sys.platform) -> str:
    """What is started: on Windows with its ending, since that adds `.exe` at most, and npx is called npx.cmd."""
    if system != "win32":
        return server.command
    path = next((value for name, value in environ.items() if name.upper() == "PATH"), None)
    return shutil.which(server.command, path=path) or server.command


@asynccontextmanager
async def stdio_transport(server: McpServer, log: CappedLog, heard: Heard) -> AsyncIterator[Streams]:
    """Start a server and talk to it. It and the processes of its group are gone when the context is.

    Raises:
        OSError: it cannot be started.
    """
    environ = environment_of(server, os.environ)
    process = await asyncio.create_subprocess_exec(
        program_of(server, environ),
        *server.args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
        cwd=server.cwd,
        # Ctrl-C on the terminal is the launcher's; and the group is ended as one.
        start_new_session=True,
        creationflags=OWN_GROUP,
        limit=_MAX_LINE_BYTES,
    )
    job = Job()
    job.add(process.pid)
    to_session, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read_messages, process, to_session, heard)
            tasks.start_soon(_write_messages, process, from_session)
            tasks.start_soon(_read_log, process, log)
            try:
                yield read, write
            finally:
                with anyio.CancelScope(shield=True):
                    await _end(process, heard, job)
                tasks.cancel_scope.cancel()
    finally:
        for stream in (to_session, read, write, from_session):
            stream.close()


async def _read_messages(
    process: asyncio.subprocess.Process,
    to_session: MemoryObjectSendStream[SessionMessage | Exception],
    heard: Heard,
) -> None:
    assert process.stdout is not None  # noqa: S101  # a pipe was asked for
    # The session sees the end of the server as the end of this stream.
    async with to_session:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            async for line in _lines(process.stdout):
                try:
                    message = JSONRPCMessage.model_validate_json(line)
                except ValueError:
                    heard.junk = heard.junk or clean_line(line[:200].decode("utf-8", "replace"), 80)
                    continue
                heard.answers = True
                await to_session.send(SessionMessage(message))
    heard.ended = True


async def _read_log(process: asyncio.subprocess.Process, log: CappedLog) -> None:
    assert process.stderr is not None  # noqa: S101  # a pipe was asked for
    async for line in _lines(process.stderr):
        log.write(line)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Lines that are not empty, to the end; an overlong one ends the stream, since what follows makes no sense."""
    while True:
        try:
            line = await stream.readline()
        except (ValueError, OSError):
            return
        if not line:
            return
        if line.strip():
            yield line


async def _write_messages(
    process: asyncio.subprocess.Process, from_session: MemoryObjectReceiveStream[SessionMessage]
) -> None:
    assert process.stdin is not None  # noqa: S101  # a pipe was asked for
    async with from_session:
        with suppress(OSError, anyio.ClosedResourceError):
            async for message in from_session:
                text = message.message.model_dump_json(by_alias=True, exclude_none=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()


async def _end(process: asyncio.subprocess.Process, heard: Heard, job: Job) -> None:
    """End the server by its protocol, then by signals or its job; then the processes that it left."""
    assert process.stdin is not None  # noqa: S101  # a pipe was asked for
    process.stdin.close()
    if heard.answers:
        await _gone(process, _POLITE_S)
    if sys.platform == "win32":
        if not job.end() and process.returncode is None:
            process.kill()
    else:
        if process.returncode is None:
            _signal_group(process, signal.SIGTERM)
            await _gone(process, _TERM_S)
        _signal_group(process, signal.SIGKILL)
    await process.wait()
    heard.returncode = process.returncode
    # Somebody outside the group may hold the pipes open still.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio has no public name for it
    # Closing is done in the next turn of the loop.
    await asyncio.sleep(0)


async def _gone(process: asyncio.subprocess.Process, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await process.wait()


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
