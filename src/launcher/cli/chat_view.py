"""How an answer is shown here: Markdown on a terminal that can show it, else text."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from launcher.chat.types import ReasoningView, View
from launcher.cli.quiet import ask_aloud
from launcher.settings import Settings

if TYPE_CHECKING:
    from launcher.chat.screen.theme import Theme


class ChatView(View, Protocol):
    """A view that a conversation can change."""

    reasoning: ReasoningView

    def unfold(self) -> None:
        """Show the thoughts of the last turn."""
        ...


def open_view(settings: Settings, count_tokens: Callable[[str], int | None] | None = None) -> ChatView:
    """The view for this terminal, or for a pipe. `count_tokens`, of a conversation, tells how long thoughts were."""
    conversation = count_tokens is not None
    theme: Theme | None = None
    if sys.stdout.isatty():
        from launcher.chat.screen.theme import theme_of

        theme = theme_of(os.environ, sys.stdout.encoding)
    if theme is not None:
        from launcher.chat.screen.terminal import TerminalView

        asked = "show_reasoning" in settings.layers
        shown: ReasoningView = "fold" if not asked else "full" if settings.show_reasoning else "hide"
        return TerminalView(
            sys.stdout,
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
