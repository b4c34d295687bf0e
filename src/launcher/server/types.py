"""What a running server is, for those who start it, find it, watch it and connect to it. Pure."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 8080  # llama-server's own
DEFAULT_HOST = "127.0.0.1"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def key_command(key_file: Path, *, system: str = sys.platform) -> str:
    """The shell command that prints the first key of a file, as llama-server reads it: no comment, no empty line.

    That of Windows works from PowerShell and from cmd, where some clients run it.
    """
    if system == "win32":
        # No `$` in it: the PowerShell that it is typed into would put something in its place.
        path = str(key_file).replace("'", "''")
        lines = f"Select-String -LiteralPath '{path}' -Pattern '^[^#\\s]'"
        return f'powershell -NoProfile -Command "({lines} | Select-Object -First 1).Line"'
    return f"grep -m1 '^[^#[:space:]]' {shlex.quote(str(key_file))}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where clients find a server, and what they need to use it."""

    url: str
    """`http://127.0.0.1:8080`, without a path: OpenAI clients append `/v1`, Anthropic's nothing."""
    model: str
    """Name that clients ask for: `gpt-oss-20b`."""
    n_ctx: int
    """Tokens of context that one conversation has."""
    key_file: Path | None = None
    """File of API keys; None where the server wants none."""

    @property
    def openai_url(self) -> str:
        """Base URL of the OpenAI API."""
        return f"{self.url}/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerRecord:
    """A server that runs, as `state/servers/PORT.json` keeps it (mode 0600)."""

    pid: int
    """Of the launcher that looks after it."""
    pid_started_s: float
    """When that process began, as the system tells it: pids are used again."""
    host: str
    port: int
    model: str
    """`gpt-oss-20b`."""
    file: str
    """The plan's name of the file: `ggml-org/gpt-oss-20b-GGUF:MXFP4`, or a path."""
    n_ctx: int
    """Tokens of context that one slot has."""
    n_parallel: int
    started_at: str
    """ISO 8601, UTC."""
    log_path: Path
    server_pid: int | None = None
    """Of llama-server itself; None while there is none."""
    server_port: int | None = None
    """Loopback port of llama-server where something stands before it; None where clients talk to it directly."""
    key_file: Path | None = None
    cors_origins: str | None = None
    """Web origins whose pages may read, as `--cors-origins` takes them; None: as llama-server says."""
    ui_path: Path | None = None
    """Folder of its web page; None: llama-server's own, if it has one."""
    planned_bytes: dict[str, int] | None = None
    """What the plan takes, by device and `CPU`."""
    build: str | None = None
    """Name of the llama.cpp build that answers; None where a program was named instead."""
    detached: bool = False
    ready: bool = False
    sleeping: bool = False
    """Whether the model has left memory until the next request."""

    @property
    def url(self) -> str:
        """How this machine reaches it."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104  # compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def endpoint(self) -> Endpoint:
        """What a client needs."""
        return Endpoint(url=self.url, model=self.model, n_ctx=self.n_ctx, key_file=self.key_file)
