"""An MCP server as its configuration describes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Transport = Literal["stdio", "http", "sse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class McpServer:
    """A server that is started, or reached by HTTP."""

    name: str
    transport: Transport
    command: str = ""
    """Program to start; empty for one that is reached by HTTP."""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that it gets beside the few that every server gets (PATH, HOME and their like)."""
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    """Names of its tools that need no confirmation, `*` for all."""
    falls_back: bool = False
    """Whether HTTP with server-sent events is tried where the newer protocol is refused: the file names neither."""
