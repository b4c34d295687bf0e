"""Yes or no on a terminal."""

from __future__ import annotations

import sys


def can_be_asked() -> bool:
    """Whether somebody is there to read a question and answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str, *, default: bool) -> bool:
    """Ask, on stderr; `default` is what the return key alone means. Ctrl-D raises KeyboardInterrupt, as Ctrl-C does."""
    import typer

    try:
        return bool(typer.confirm(question, default=default, err=True))
    except typer.Abort:
        raise KeyboardInterrupt from None  # Ctrl-C or Ctrl-D at the question: told as any other
