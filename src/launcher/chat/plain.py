"""The plain view of a conversation: the printer, and what can be changed between two turns."""

from __future__ import annotations

from dataclasses import dataclass, field

from launcher.chat.printer import Printer
from launcher.chat.types import Consent, ReasoningView, TurnEvent
from launcher.engines.types import EndDelta, NoteDelta, TextDelta, ToolCall
from launcher.tools.types import Tool


@dataclass(kw_only=True, slots=True)
class PlainView(Printer):
    """What is printed stays, so that thoughts are shown all or not at all."""

    _thoughts: list[str] = field(default_factory=list, init=False)
    _ended: bool = field(default=True, init=False)

    @property
    def reasoning(self) -> ReasoningView:
        """How thoughts are shown."""
        return "full" if self.show_reasoning else "hide"

    @reasoning.setter
    def reasoning(self, mode: ReasoningView) -> None:
        self.show_reasoning = mode == "full"

    def show(self, event: TurnEvent) -> None:
        """Print one event, and remember thoughts."""
        if self._ended:
            self._thoughts.clear()
        self._ended = isinstance(event, EndDelta)
        if isinstance(event, TextDelta) and event.channel == "analysis":
            self._thoughts.append(event.text)
        Printer.show(self, event)  # no super(): a dataclass with slots is another class than the one it names

    def confirm(self, tool: Tool, call: ToolCall) -> Consent:
        """Ask whether a call may run; where nobody can be asked, say what would have let it run."""
        if self.ask is None:
            told = f"{tool.title} was not run, as nobody can be asked; --tools-allow {tool.title} lets it run"
            Printer.show(self, NoteDelta(text=told))
        return Printer.confirm(self, tool, call)

    def unfold(self) -> None:
        """Print the thoughts of the last answer."""
        Printer.show(self, NoteDelta(text="".join(self._thoughts) or "no thoughts to show"))
