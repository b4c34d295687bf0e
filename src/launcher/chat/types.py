"""What happens in a turn, and who shows it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from launcher.engines.types import ChatDelta, ToolCall
from launcher.tools.types import Tool, ToolResult

Consent = Literal["once", "always", "no"]
ReasoningView = Literal["full", "fold", "hide"]
"""How thoughts are shown: all of them, in one line once they end, or not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolStarted:
    """A call that is allowed, and runs now."""

    call: ToolCall
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolEnded:
    """What it gave; also for calls that were refused."""

    call: ToolCall
    title: str
    result: ToolResult


TurnEvent = ChatDelta | ToolStarted | ToolEnded
"""One stream for every engine. With tools, a turn holds several answers of the engine, each with its EndDelta."""


class View(Protocol):
    """Shows a turn as it happens."""

    def show(self, event: TurnEvent) -> None:
        """Show one event at once."""
        ...

    def confirm(self, tool: Tool, call: ToolCall) -> Consent:
        """Ask whether a call may run."""
        ...

    def close(self) -> None:
        """Finish what is unfinished, as after an interruption; the view can be used again."""
        ...
