"""The words of a /command line, with quotes as in a shell. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_QUOTES = "'\""
_SPECIAL = frozenset(" \t'\"\\")
"""What makes a name need quotes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """The word that a text ends with."""

    start: int
    """Where it begins, with its quote."""
    value: str
    """Without quotes and escapes."""
    index: int
    """How many words come before it."""


def last_word(text: str) -> Word:
    """The word at the end of `text`; an empty one after a space."""
    start, value, quote, index = 0, "", "", 0
    inside = escaped = False
    for position, char in enumerate(text):
        if escaped:
            value, escaped = value + char, False
        elif char == "\\" and quote != "'":
            inside, escaped = True, True
        elif quote:
            if char == quote:
                quote = ""
            else:
                value += char
        elif char in " \t":
            index += inside
            start, value, inside = position + 1, "", False
        else:
            inside = True
            if char in _QUOTES:
                quote = char
            else:
                value += char
    return Word(start=start, value=value, index=index)


def quoted(name: str, *, is_open: bool = False) -> str:
    """A name as one word; `is_open` leaves the quote open, since more of the path is to come."""
    if not _SPECIAL & set(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}' if is_open else f'"{escaped}"'
