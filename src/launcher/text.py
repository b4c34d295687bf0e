"""Text of others, made fit for one line. Pure."""

from __future__ import annotations


def printable(text: str) -> str:
    """Blanks for line breaks, escape sequences' ESC and other control characters: none of them reaches a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)
