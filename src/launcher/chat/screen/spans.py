"""What a line on the screen is made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Span(NamedTuple):
    """Text of one style. A tuple, because some thousand are made and compared every second."""

    text: str
    sgr: str = ""
    """Parameters of the escape sequence that sets the style (`1;36`); empty for plain text."""
    url: str = ""
    """Where the text links to, cleaned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line as it is written. It may be longer than the window, which then breaks it at its edge."""

    spans: tuple[Span, ...] = ()
    joined: bool = False
    """It goes on where the line before it ended: no line break comes between them."""


Row = tuple[Span, ...]
"""Spans of one row, neighbours of one style merged, so that equal rows compare equal."""

EMPTY = Line()


def merged(spans: Iterable[Span]) -> Row:
    """Spans with neighbours of one style made one, and empty ones left out."""
    row: list[Span] = []
    for span in spans:
        if span.text:
            append(row, span)
    return tuple(row)


def append(row: list[Span], span: Span) -> None:
    """Put a span at the end of a row."""
    if row and row[-1].sgr == span.sgr and row[-1].url == span.url:
        row[-1] = Span(row[-1].text + span.text, span.sgr, span.url)
    else:
        row.append(span)


def styled(sgr: str, *more: str) -> str:
    """Styles put together."""
    return ";".join(part for part in (sgr, *more) if part)


def text_of(line: Line) -> str:
    """A line without its styles."""
    return "".join(span.text for span in line.spans)
