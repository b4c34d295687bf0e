"""A terminal that shows no keys while an answer is written: `^C` in the middle of a word is no part of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_echo() -> Iterator[None]:
    """Within the block, what is typed is kept for the next prompt and not shown."""
    with _echo(on=False):
        yield


def ask_aloud(question: str) -> str:
    """`input` inside such a block."""
    with _echo(on=True):
        return input(question)


@contextmanager
def _echo(*, on: bool) -> Iterator[None]:
    if sys.platform == "win32" or sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    import termios

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    changed = [*before[:3], before[3] | termios.ECHO if on else before[3] & ~termios.ECHO, *before[4:]]
    try:
        termios.tcsetattr(fd, termios.TCSANOW, changed)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
