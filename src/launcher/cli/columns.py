"""Tables as wide as the terminal: columns that matter least go first, long texts are cut, piped ones are whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from launcher.text import printable

DIM, BOLD, RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_GAP = 2
_ELLIPSIS = "..."


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    right: bool = False
    drop: int = 0
    """Columns with a higher number go sooner where the terminal is narrow; those with 0 stay."""
    shrink_to: int | None = None
    """Width down to which its texts may be cut; None: never."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A text with the escape sequence of its colour, if any."""

    text: str
    style: str = ""


def terminal_width(stream: TextIO) -> int | None:
    """Columns of a terminal; None where the stream is piped, and nothing is cut."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def is_styled(stream: TextIO) -> bool:
    """Whether colours are wanted there."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(style: str, text: str, *, on: bool) -> str:
    """Text in a style, where there are styles."""
    return f"{style}{text}{RESET}" if on and style else text


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int | None, *, colours: bool = False
) -> list[str]:
    """Lines, the head first; no line is wider than `width` as long as its columns can be cut so far."""
    texts = [[printable(cell.text) for cell in row] for row in rows]
    widths = [max(len(column.name), *(len(row[i]) for row in texts), 0) for i, column in enumerate(columns)]
    shown = list(range(len(columns)))
    if width is not None:
        _shrink(columns, widths, shown, width)
    lines = [_row(columns, widths, shown, [(column.name, DIM) for column in columns], colours=colours)]
    for row, cells in zip(texts, rows, strict=True):
        pairs = [(text, cell.style) for text, cell in zip(row, cells, strict=True)]
        lines.append(_row(columns, widths, shown, pairs, colours=colours))
    return lines


def _shrink(columns: Sequence[Column], widths: list[int], shown: list[int], width: int) -> None:
    """Cut texts as far as they go; where that is not enough, drop the least telling column and cut anew."""
    full = list(widths)
    while True:
        too_wide = _total(widths, shown) - width
        for i in shown:
            least = columns[i].shrink_to
            if least is not None and too_wide > 0:
                cut = min(too_wide, max(0, widths[i] - max(least, len(columns[i].name))))
                widths[i] -= cut
                too_wide -= cut
        droppable = [i for i in shown if columns[i].drop]
        if too_wide <= 0 or not droppable:
            return
        shown.remove(max(droppable, key=lambda i: columns[i].drop))
        widths[:] = full


def _total(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[i] for i in shown) + _GAP * (len(shown) - 1)


def _row(
    columns: Sequence[Column],
    widths: Sequence[int],
    shown: Sequence[int],
    cells: Sequence[tuple[str, str]],
    *,
    colours: bool,
) -> str:
    line, used = "", 0
    for place, i in enumerate(shown):
        text, style = cells[i]
        text = cut(text, widths[i])
        pad = widths[i] - len(text)
        before = (_GAP if place else 0) + (pad if columns[i].right else 0)
        # Blanks are added only before a text, so that no line ends in them.
        if text:
            line += " " * (used + before) + styled(style, text, on=colours)
            used = 0 if columns[i].right else pad
        else:
            used += before + (0 if columns[i].right else pad)
    return line


def cut(text: str, width: int) -> str:
    """A text that is no longer than `width`, with dots where something is missing."""
    if len(text) <= width:
        return text
    return text[: max(0, width - len(_ELLIPSIS))] + _ELLIPSIS[: max(0, width)]
