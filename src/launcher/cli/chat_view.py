"""How an answer is shown here: Markdown on a terminal that can show it, else text."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import Protocol

from launcher.chat.actions import ReasoningView
from launcher.chat.types import View
from launcher.cli.quiet import ask_aloud
from launcher.settings import Settings


class ChatView(View, Protocol):
    """A view that a conversation can change."""

    reasoning: ReasoningView

    def unfold(self) -> None:
        """Show the thoughts of the last turn."""
        ...


def _size() -> tuple[int, int]:
    columns, rows = shutil.get_terminal_size()
    return columns, rows


def open_view(settings: Settings, count_tokens: Callable[[str], int | None] | None = None) -> ChatView:
    """The view for this terminal, or for a pipe. `count_tokens`, of a conversation, tells how long thoughts were."""
    conversation = count_tokens is not None
    if sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown"):
        from launcher.chat.screen.safe import terminal_encoding
        from launcher.chat.screen.terminal import TerminalView
        from launcher.chat.screen.theme import Theme

        theme = Theme(
            colour=not os.environ.get("NO_COLOR"),
            unicode=terminal_encoding(sys.stdout.encoding) is None,
            links=os.environ.get("TERM", "") not in ("linux", "screen"),
        )
        asked = "show_reasoning" in settings.layers
        shown: ReasoningView = "fold" if not asked else "full" if settings.show_reasoning else "hide"
        return TerminalView(
            sys.stdout,
            size=_size,
            theme=theme,
            reasoning=shown,
            unfold_hint="Ctrl-O shows it" if conversation else "--reasoning shows it",
            count_tokens=count_tokens,
            ask=ask_aloud,
        )
    from launcher.chat.plain import PlainView

    err, tty = sys.stderr, sys.stderr.isatty()
    return PlainView(
        out=sys.stdout,
        err=err,
        styled=tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        terminal=tty or sys.stdout.isatty(),
        show_reasoning=settings.show_reasoning,
        show_timings=tty,
        ask=ask_aloud if tty and sys.stdin is not None and sys.stdin.isatty() else None,
    )
