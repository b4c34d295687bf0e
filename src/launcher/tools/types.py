"""What a tool is: a name with a JSON schema that the model sees, and a call that gives text back. Pure."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Verdict = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolLimits:
    """What one call may take. A tool that goes past it is stopped, and the model is told so."""

    timeout_s: float = 30.0
    max_output_chars: int = 20_000
    """What is longer is cut in the middle: the end of an output says most."""
    memory_bytes: int = 1 << 30
    """Of address space, where the tool is a process of ours."""
    max_calls: int = 16
    """Calls that one turn of the conversation may make."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolResult:
    """What a call gave."""

    text: str
    """For the model, already cut to the limit."""
    is_error: bool = False
    elapsed_s: float = 0.0
    n_cut: int = 0
    """Characters that were left out of `text`."""


class Tool(Protocol):
    """Something that a model may call."""

    @property
    def name(self) -> str:
        """What the model calls it, in Harmony's alphabet (`[A-Za-z0-9_-]`): `python`, `SERVER_tool`."""
        ...

    @property
    def title(self) -> str:
        """What the user knows it by: `python`, `files:read_file`."""
        ...

    @property
    def description(self) -> str:
        """What the model is told of it."""
        ...

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of its arguments, an object."""
        ...

    @property
    def verdict(self) -> Verdict:
        """Whether a call needs to be confirmed, by the user's rules."""
        ...

    def call(self, arguments: str, cancelled: threading.Event) -> ToolResult:
        """Run it on JSON text as the model wrote it.

        Whatever goes wrong (bad arguments, a time-out, a server that is gone) is a result with `is_error`, since the
        model is told of it and may try again. Ends within a second of `cancelled` being set.
        """
        ...


def function_of(tool: Tool) -> dict[str, Any]:
    """A tool in the form that OpenAI's API and chat templates take."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def find_tool(tools: Iterable[Tool], name: str) -> Tool | None:
    """The tool that a model calls so; it writes Harmony's namespace, `functions.`, before a name at times."""
    short = name.removeprefix("functions.")
    return next((tool for tool in tools if tool.name == short), None)
