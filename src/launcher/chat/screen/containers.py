"""Quotes and lists: what a line begins with, and what its rows begin with. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.chat.screen.spans import Row, Span, merged
from launcher.chat.screen.theme import BOLD, DIM, Theme
from launcher.chat.screen.width import text_cells

MAX_DEPTH = 12
MIN_WIDTH = 20
"""Cells that text keeps, however deep it is nested."""

_QUOTE = re.compile(r" {0,3}> ?")
_ITEM = re.compile(r"( *)([-*+•]|\d{1,9}[.)])(?:( +)|$)")
_TASK = re.compile(r"\[([ xX])\] ")
RULE = re.compile(r" {0,3}(?:([-*_])(?:[ \t]*\1){2,}|={3,})[ \t]*\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """A quote, or an item of a list."""

    marker: Span
    """What its first row begins with, a space last."""
    indent: int | None = None
    """Spaces that lines of an item begin with; None for a quote."""

    @property
    def is_quote(self) -> bool:
        """Whether its rows all begin with its bar."""
        return self.indent is None


Stack = tuple[Container, ...]


def spaces_of(line: str) -> int:
    """Spaces at the beginning."""
    return len(line) - len(line.lstrip(" "))


def unprefixed(stack: Stack, line: str, *, lenient: bool = False) -> tuple[int, str]:
    """How many containers a line is still in, and the line without what they begin with.

    `lenient`: code within an item stays in it, though its lines are not indented.
    """
    for depth, container in enumerate(stack):
        if container.indent is None:
            found = _QUOTE.match(line)
            if not found:
                return depth, line
            line = line[found.end() :]
        elif not line.strip():
            line = ""
        elif spaces_of(line) >= container.indent:
            line = line[container.indent :]
        elif lenient:
            line = line.lstrip(" ")
        else:
            return depth, line
    return len(stack), line


def opened(
    line: str, theme: Theme, depth: int, *, in_paragraph: bool, in_list: bool, complete: bool
) -> tuple[Container, str] | None:
    """The container that begins a line, and the rest of the line."""
    if depth >= MAX_DEPTH:
        return None
    if found := _QUOTE.match(line):
        return Container(marker=Span(f"{theme.bar} ", DIM)), line[found.end() :]
    found = _ITEM.match(line)
    if not found or RULE.match(line) or spaces_of(line) > 7:
        return None
    spaces, marker, after = found[1], found[2], found[3]
    rest = line[found.end() :]
    if after is None and not complete:
        return None  # "-" may become "-5"
    if in_paragraph and (not rest or (marker[0].isdigit() and marker[:-1] != "1" and not in_list)):
        return None  # "in\n1986. That was" is no list
    gap = len(after or " ")
    if gap > 4:
        rest, gap = " " * (gap - 1) + rest, 1
    # Models indent what is in an item by two spaces, however long its number is.
    indent = len(spaces) + min(len(marker) + gap, 2)
    sign = f"{marker} " if marker[0].isdigit() else f"{theme.bullet(depth)} "
    if task := _TASK.match(rest):
        sign, rest = f"{theme.box(ticked=task[1] != ' ')} ", rest[task.end() :]
    return Container(marker=Span(sign, BOLD if sign[0].isdigit() else ""), indent=indent), rest


def prefix_of(stack: Stack, fresh: int, width: int) -> Row:
    """What a row begins with, the last `fresh` containers with their markers; the outer ones go where room is short."""
    parts: list[Span] = []
    for at, container in enumerate(stack):
        new = at >= len(stack) - fresh
        blank = Span(" " * text_cells(container.marker.text))
        parts.append(container.marker if new or container.is_quote else blank)
    while parts and sum(text_cells(part.text) for part in parts) > max(0, width - MIN_WIDTH):
        parts.pop(0)
    return merged(parts)


def quotes_of(stack: Stack) -> Row:
    """What an empty row begins with: bars, up to the last of them."""
    while stack and not stack[-1].is_quote:
        stack = stack[:-1]
    *most, last = prefix_of(stack, 0, 1 << 30) or (Span(""),)
    return merged((*most, last._replace(text=last.text.rstrip())))
