"""A view that remembers, and answers as it was told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from launcher.chat.types import Consent, ToolEnded, ToolStarted, TurnEvent
from launcher.engines.types import NoteDelta, TextDelta, ToolCall
from launcher.tools.types import Tool


@dataclass
class FakeView:
    """Keeps every event."""

    consent: Callable[[ToolCall], Consent] = lambda call: "no"
    events: list[TurnEvent] = field(default_factory=list)
    n_asked: int = 0
    n_closed: int = 0

    def show(self, event: TurnEvent) -> None:
        self.events.append(event)

    def confirm(self, tool: Tool, call: ToolCall) -> Consent:
        self.n_asked += 1
        return self.consent(call)

    def close(self) -> None:
        self.n_closed += 1

    @property
    def final(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, TextDelta) and e.channel == "final")

    @property
    def notes(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, NoteDelta)]

    @property
    def tool_texts(self) -> list[str]:
        return [e.result.text for e in self.events if isinstance(e, ToolEnded)]

    @property
    def n_started(self) -> int:
        return sum(isinstance(e, ToolStarted) for e in self.events)
