"""Where a person writes in a conversation. prompt_toolkit is imported only where it can draw."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from launcher.chat.prompt.edit import edit_text
from launcher.chat.prompt.history import HistoryFile
from launcher.chat.prompt.types import EditMode, Prompt, Sources, Status

__all__ = ["EditMode", "Prompt", "Sources", "Status", "choose_prompt", "open_prompt"]


def choose_prompt(environ: Mapping[str, str], *, stdin_is_tty: bool, out_is_tty: bool) -> Literal["full", "plain"]:
    """Which prompt a terminal can show. `out_is_tty`: stdout or stderr is one, where it can be drawn."""
    capable = sys.platform == "win32" or environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
    return "full" if stdin_is_tty and out_is_tty and capable else "plain"


@contextmanager
def open_prompt(
    *,
    say: Callable[[str], None],
    history: Path | None = None,
    status: Callable[[], Status | None] | None = None,
    sources: Sources | None = None,
    edit_mode: EditMode = "emacs",
    edit: Callable[[Path], None] | None = None,
    on_reasoning: Callable[[], None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Prompt]:
    """The prompt that this terminal can show, until the conversation ends.

    `history` is the file of what was typed before; None keeps it in memory. `edit` opens a file in an editor and waits
    (Ctrl-X Ctrl-E); `on_reasoning` prints the last reasoning (Ctrl-O). `say` is told what goes wrong with either.
    """
    environ = os.environ if environ is None else environ
    file = HistoryFile(history, warn=say)
    out = next((stream for stream in (sys.stdout, sys.stderr) if stream is not None and stream.isatty()), None)
    tty = sys.stdin is not None and sys.stdin.isatty()
    prompt: Prompt | None = None
    if choose_prompt(environ, stdin_is_tty=tty, out_is_tty=out is not None) == "full":
        # What a console cannot do shows when it is opened, in errors of many kinds; a plain prompt does everywhere.
        with suppress(Exception):
            from launcher.chat.prompt.full import FullPrompt
            from launcher.chat.prompt.keys import Actions
            from launcher.chat.prompt.terminal import open_output

            prompt = FullPrompt(
                history=file,
                output=open_output(out),
                status=status,
                sources=sources,
                edit_mode=edit_mode,
                actions=Actions(
                    on_reasoning=on_reasoning,
                    edit=None if edit is None else lambda text: edit_text(text, edit, say),
                ),
                colours=not environ.get("NO_COLOR"),
            )
    yield prompt or _plain(file)


def _plain(file: HistoryFile) -> Prompt:
    from launcher.chat.prompt.plain import PlainPrompt, asker

    if sys.stdout is not None and sys.stdout.isatty():
        try:
            import readline
        except ImportError:  # Windows has none: its consoles edit lines by themselves
            return PlainPrompt(history=file, ask=input)
        return PlainPrompt(history=file, ask=input, readline=readline)
    return PlainPrompt(history=file, ask=asker(sys.stdin, sys.stderr))
