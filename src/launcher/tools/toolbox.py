"""The tools of a conversation, opened together: Python, MCP servers, and what there is to tell of them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import DamagedFileError, UsageError
from launcher.paths import folders
from launcher.tools.mcp_config import McpConfig, parse_mcp_config
from launcher.tools.mcp_types import McpServer
from launcher.tools.python_tool import open_python_tool
from launcher.tools.request import ServerRequest, ToolRequest, ToolRules
from launcher.tools.types import Tool, ToolLimits, Verdict, find_tool

MCP_FILE = "mcp.json"
"""Name of the servers' file in the config folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolbox:
    """The open tools."""

    tools: tuple[Tool, ...] = ()
    """Those that the model may be told of: none that the user's rules deny."""
    notes: tuple[str, ...] = ()
    """Lines for the user: how Python is closed in, which servers and tools cannot be used, and why."""

    def find(self, name: str) -> Tool | None:
        """The tool that the model calls so."""
        return find_tool(self.tools, name)


def mcp_file(environ: Mapping[str, str] | None = None) -> Path:
    """Where the MCP servers are written down, there or not."""
    return folders(environ).config / MCP_FILE


def load_mcp_config(file: Path) -> McpConfig:
    """Read the file of the servers.

    Raises:
        UsageError: there is none, or it is no such configuration.
        DamagedFileError: it cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"no MCP servers are configured: there is no {file}",
            details=('write {"mcpServers": {"NAME": {"command": "...", "args": []}}} to it, as for other clients',),
            hint="gpt-oss config path",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        hint = f"ls -l {shlex.quote(str(file))}"
        raise DamagedFileError(f"{file} cannot be read: {reason}", path=str(file), hint=hint) from error
    return parse_mcp_config(text, file=str(file))


@contextmanager
def open_toolbox(
    request: ToolRequest,
    *,
    limits: ToolLimits | None = None,
    rules: ToolRules | None = None,
    environ: Mapping[str, str] | None = None,
    open_python: Callable[..., AbstractContextManager[Tool]] = open_python_tool,
) -> Iterator[Toolbox]:
    """Open what was asked for; it all ends with the context.

    Args:
        request: What, as `parse_tools` reads it.
        limits: What one call may take.
        rules: What runs without being asked, and what never does.
        environ: For the folders and for `${NAME}` in the servers' file; by default this process's own.
        open_python: Opens the tool `python`.

    Raises:
        UsageError: the servers' file is not there, or an entry that was asked for makes no sense.
        DamagedFileError: it cannot be read.
        LauncherError: Python was asked for, and code could get out of its sandbox here.
    """
    environ = os.environ if environ is None else environ
    limits = limits or ToolLimits()
    rules = rules or ToolRules()
    # Before anything is started: a slip in the file is told at once.
    servers = _servers(request, environ)
    tools: list[Tool] = []
    notes: list[str] = []
    with ExitStack() as stack:
        if request.python:
            python = stack.enter_context(open_python(limits, verdict=rules.verdict("python"), unsafe=request.unsafe))
            tools.append(python)
            isolation = getattr(python, "isolation", None)
            if isolation is not None:
                notes += [isolation.describe(), *isolation.missing]
        if servers:
            from launcher.tools.mcp_client import open_mcp

            opened = stack.enter_context(
                open_mcp(
                    [server for server, _ in servers],
                    limits,
                    log_dir=folders(environ).state / "logs",
                    wanted={server.name: asked.tools for server, asked in servers if asked.tools is not None},
                    verdict_of=_verdict_by(rules),
                    taken=[tool.name for tool in tools],
                )
            )
            tools += opened.tools
            notes += opened.problems
        denied = [tool.title for tool in tools if tool.verdict == "deny"]
        if denied:
            notes.append(f"not offered to the model, by your rules: {', '.join(denied)}")
        yield Toolbox(tools=tuple(tool for tool in tools if tool.verdict != "deny"), notes=tuple(notes))


def _verdict_by(rules: ToolRules) -> Callable[[str, McpServer, str], Verdict]:
    return lambda title, server, tool: rules.verdict(title, approved=server.allow, tool=tool)


def _servers(request: ToolRequest, environ: Mapping[str, str]) -> list[tuple[McpServer, ServerRequest]]:
    if not (request.every_server or request.servers):
        return []
    config = load_mcp_config(mcp_file(environ))
    asked = {server.name: server for server in request.servers}
    if request.every_server:
        asked = {name: ServerRequest(name=name) for name in config.names} | asked
    return [(config.server(name, environ), server) for name, server in asked.items()]
