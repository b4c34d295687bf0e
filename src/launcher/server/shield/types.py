"""What a shield is told, and the words that its parts share. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from launcher.units import MIB

Api = Literal["chat", "responses", "messages"]
"""OpenAI's chat completions and responses, and Anthropic's messages."""

API_OF_PATH: dict[str, Api] = {
    "/v1/chat/completions": "chat",
    "/chat/completions": "chat",
    "/v1/responses": "responses",
    "/responses": "responses",
    "/v1/messages": "messages",
}
"""Where llama-server answers a conversation through its Harmony parser (tools/server/server.cpp)."""

Finish = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShieldConfig:
    """Where a shield listens, what stands behind it, and how much it lets through."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes a free one."""
    upstream_url: str
    """`http://127.0.0.1:41234`: llama-server, on loopback."""
    cors_origins: str | None = None
    """Origins whose pages may read, as `--cors-origins` takes them; None: as llama-server says."""
    page_dir: Path | None = None
    """Folder of a web page, whose files need no key; None: llama-server's own page, if it has one."""
    max_body_bytes: int | None = 16 * MIB
    """Of a request; None: no limit. A conversation of 131,072 tokens is about half a megabyte."""
    max_queued: int | None = 256
    """Requests to answer at a time, waiting ones included; one more is told to come back. None: no limit."""
    request_timeout_s: float = 30.0
    """For a request to arrive whole. Loopback and home networks take milliseconds."""
    stall_timeout_s: float = 120.0
    """For a client to take what is sent. One that takes longer is cut off, so that its slot is freed."""
    connect_timeout_s: float = 5.0
    """For llama-server to take a connection; on loopback it takes one at once or not at all."""


class ShieldError(Exception):
    """A turn that the shield cannot answer, with what its client is told."""

    def __init__(
        self, message: str, *, status: int = 502, kind: str = "server_error", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of a turn."""

    n_prompt: int
    n_predicted: int
    n_cached: int = 0


@dataclass(kw_only=True, slots=True)
class Call:
    """A tool call of the turn."""

    id: str
    name: str
    arguments: str = ""


@dataclass(kw_only=True, slots=True)
class Said:
    """What a client has got of a turn."""

    reasoning: str = ""
    content: str = ""
    calls: list[Call] = field(default_factory=list)
    n_deltas: int = 0
    """About the tokens that it took: llama-server sends one a token."""


Json = dict[str, Any]
