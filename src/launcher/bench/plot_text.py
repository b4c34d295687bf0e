"""Charts for a terminal: lines of Braille dots, a letter at each measured place, plain ASCII where nothing else shows.

Pure: it gives pieces of text with the number of the series that each belongs to; who prints them chooses the colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from launcher.bench.chart import Chart, number, ticks, x_ticks
from launcher.text import printable

MIN_WIDTH = 30
"""Columns below which a chart tells nothing: it is drawn this wide all the same."""
MAX_WIDTH = 100
"""Columns past which lines only get longer."""
_HEIGHT = 14
_N_Y_TICKS = 4
_COLUMNS_PER_TICK = 12
MARKS = "ox+*#@%&"
"""Of the series, in their order. ASCII, so that they are the same everywhere, and with no colours at all."""
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille cell, by row and column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Text that belongs to a series, or to none: then it is part of the frame."""

    text: str
    series: int | None = None


Line = tuple[Piece, ...]


def to_lines(chart: Chart, width: int, *, ascii_only: bool = False) -> list[Line]:
    """A chart in at most `width` columns: title, plot, axis, legend. Lines have no blanks at their ends."""
    width = min(max(width, MIN_WIDTH), MAX_WIDTH)
    y_marks = ticks(0, chart.top or 1, _N_Y_TICKS)
    gutter = max(len(number(mark)) for mark in y_marks)
    canvas = _Canvas(width - gutter - 3, _HEIGHT, ascii_only=ascii_only)
    scale = _Scale(chart, y_marks[-1], canvas)
    _draw(chart, canvas, scale)
    bar, corner, rule, tick = ("|", "+", "-", "+") if ascii_only else ("│", "└", "─", "┴")
    labels = {scale.row(mark): number(mark) for mark in y_marks}
    lines: list[Line] = [(Piece(text=_cut(chart.title, width)),), (Piece(text=_cut(chart.y_label, width)),)]
    lines += [(Piece(text=f"{labels.get(row, ''):>{gutter}} {bar}"), *canvas.pieces(row)) for row in range(_HEIGHT)]
    columns = {
        scale.column(mark): number(mark) for mark in x_ticks(chart.x_values, canvas.columns // _COLUMNS_PER_TICK)
    }
    axis = "".join(tick if column in columns else rule for column in range(canvas.columns))
    lines.append((Piece(text=f"{' ' * gutter} {corner}{axis}"),))
    lines.append((Piece(text=" " * (gutter + 2) + _x_labels(columns, canvas.columns + 1)),))
    lines.append((Piece(text=_cut(" " * (gutter + 2) + chart.x_label, width)),))
    for i, series in enumerate(chart.series):
        lines.append((Piece(text=_cut(f"{_mark(i)} {series.label}", width), series=i),))
    return [_stripped(line) for line in lines]


class _Canvas:
    """Cells that hold dots, or one character that hides them; the last series that touches a cell has it."""

    def __init__(self, columns: int, rows: int, *, ascii_only: bool) -> None:
        self.columns, self.rows = columns, rows
        self._ascii = ascii_only
        self._bits = [[0] * columns for _ in range(rows)]
        self._chars: list[list[str | None]] = [[None] * columns for _ in range(rows)]
        self._owner: list[list[int | None]] = [[None] * columns for _ in range(rows)]

    def dot(self, x: int, y: int, series: int) -> None:
        """A dot, two to a column and four to a row."""
        column, row = x // 2, y // 4
        if 0 <= column < self.columns and 0 <= row < self.rows:
            self._bits[row][column] |= _DOTS[y % 4][x % 2]
            self._owner[row][column] = series

    def put(self, column: int, row: int, char: str, series: int) -> None:
        """A character over what is there."""
        self._chars[row][column] = char
        self._owner[row][column] = series

    def pieces(self, row: int) -> Iterator[Piece]:
        """A row, cells of one series together."""
        text, series = "", self._owner[row][0]
        for column in range(self.columns):
            if self._owner[row][column] != series:
                yield Piece(text=text, series=series)
                text, series = "", self._owner[row][column]
            text += self._cell(column, row)
        yield Piece(text=text, series=series)

    def _cell(self, column: int, row: int) -> str:
        char, bits = self._chars[row][column], self._bits[row][column]
        if char is not None:
            return char
        if not bits:
            return " "
        return "." if self._ascii else chr(0x2800 + bits)


class _Scale:
    """Values to dots and cells."""

    def __init__(self, chart: Chart, top: float, canvas: _Canvas) -> None:
        self._low, self._high, self._top = chart.x_values[0], chart.x_values[-1], top
        # Half a tick's label of room at both ends.
        self._left, self._right = 2, max(3, canvas.columns - 4)
        self._rows = canvas.rows

    def x(self, value: float) -> int:
        share = (value - self._low) / (self._high - self._low) if self._high > self._low else 0.5
        return round(2 * (self._left + share * (self._right - self._left)))

    def y(self, value: float) -> int:
        return round((1 - min(max(value, 0.0) / self._top, 1.0)) * (4 * self._rows - 1))

    def column(self, value: float) -> int:
        return self.x(value) // 2

    def row(self, value: float) -> int:
        return self.y(value) // 4


def _draw(chart: Chart, canvas: _Canvas, scale: _Scale) -> None:
    """Lines first, then error bars that are longer than a mark, then the marks."""
    for i, series in enumerate(chart.series):
        places = [(scale.x(point.x), scale.y(point.mean)) for point in series.points]
        for (x0, y0), (x1, y1) in pairwise(places):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for step in range(steps + 1):
                canvas.dot(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps), i)
    for i, series in enumerate(chart.series):
        for point in series.points:
            for y in range(scale.y(point.mean + point.stddev), scale.y(point.mean - point.stddev) + 1):
                canvas.dot(scale.x(point.x), y, i)
    for i, series in enumerate(chart.series):
        for point in series.points:
            canvas.put(scale.column(point.x), scale.row(point.mean), _mark(i), i)


def _mark(i: int) -> str:
    return MARKS[i % len(MARKS)]


def _x_labels(columns: dict[int, str], width: int) -> str:
    """Numbers below their ticks, centred; the first wins where two would touch."""
    text = ""
    for column, label in sorted(columns.items()):
        start = max(0, min(column - (len(label) - 1) // 2, width - len(label)))
        if not text or start > len(text):
            text = text.ljust(start) + label
    return text


def _cut(text: str, width: int) -> str:
    """On one line, and no wider: a label is mostly a file's name."""
    text = printable(text)
    return text if len(text) <= width else text[: width - 3] + "..."


def _stripped(line: Line) -> Line:
    """Without blanks at the end."""
    pieces = list(line)
    while pieces and not pieces[-1].text.rstrip():
        pieces.pop()
    if pieces:
        pieces[-1] = Piece(text=pieces[-1].text.rstrip(), series=pieces[-1].series)
    return tuple(pieces)
