"""What `--tools` asks for, and the user's rules of what may run without being asked. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from launcher.errors import UsageError
from launcher.tools.types import Verdict

_WORDS = ("python", "python:unsafe", "mcp", "mcp:NAME", "mcp:NAME:TOOL", "off")
_HINT = "gpt-oss chat --help"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerRequest:
    """An MCP server that was asked for."""

    name: str
    tools: tuple[str, ...] | None = None
    """Its tools that were named; None takes all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolRequest:
    """Tools that were asked for."""

    python: bool = False
    unsafe: bool = False
    """Python also where it cannot be closed in."""
    every_server: bool = False
    """All servers of the configuration."""
    servers: tuple[ServerRequest, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolRules:
    """Patterns of titles (`python`, `files:read_*`). What is denied stays so, whatever allows it; else it is asked."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def verdict(self, title: str, *, approved: Sequence[str] = (), tool: str = "") -> Verdict:
        """Whether a tool may run. `approved`: names that its server's own entry lets run unasked, `*` for all."""
        if any(fnmatchcase(title, pattern) for pattern in self.deny):
            return "deny"
        if any(fnmatchcase(title, pattern) for pattern in self.allow) or "*" in approved or (tool and tool in approved):
            return "allow"
        return "ask"


def parse_tools(text: str) -> ToolRequest:
    """Read `python,mcp:files,mcp:web:search`; `off` and nothing at all ask for none.

    Raises:
        UsageError: a word that means nothing.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["off"]:
        return ToolRequest()
    servers: dict[str, list[str] | None] = {}
    for word in words:
        if word in ("python", "python:unsafe", "mcp"):
            continue
        kind, _, rest = word.partition(":")
        name, colon, tool = rest.partition(":")
        if kind != "mcp" or not name or (colon and not tool):
            raise UsageError(f"--tools {text}: {_unknown(word)}", hint=_HINT)
        if not tool:
            servers[name] = None
        else:
            named = servers.setdefault(name, [])
            if named is not None and tool not in named:
                named.append(tool)
    return ToolRequest(
        python="python" in words or "python:unsafe" in words,
        unsafe="python:unsafe" in words,
        every_server="mcp" in words,
        servers=tuple(
            ServerRequest(name=name, tools=None if tools is None else tuple(tools)) for name, tools in servers.items()
        ),
    )


def _unknown(word: str) -> str:
    if word == "off":
        return "off stands alone"
    if word.startswith("mcp:"):
        return f"{word!r} names no {'server' if word.startswith('mcp::') or word == 'mcp:' else 'tool'}"
    close = difflib.get_close_matches(word.partition(":")[0], ("python", "mcp"), n=1)
    guess = f"; did you mean {close[0]!r}?" if close else f" (there are {', '.join(_WORDS)})"
    return f"no tool is called {word!r}{guess}"
