"""Charts as one PNG, twice as fine as the SVG and laid out alike; for places that show no SVG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from itertools import cycle, pairwise
from typing import TYPE_CHECKING

from launcher.bench.chart import Chart, Series, number, x_ticks
from launcher.bench.plot_layout import (
    BOTTOM,
    CAP,
    COLOURS,
    DISC,
    GRID,
    HEAD_SIZE,
    LEFT,
    PAGE,
    RIGHT,
    SOFT,
    TEXT,
    TEXT_SIZE,
    WIDTH,
    Entry,
    Scale,
    colour,
    dash,
    height,
    in_words,
    legend,
    outline,
    tops,
)
from launcher.text import printable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

SCALE = 2
"""Pixels of the file for one of the page: screens of today have as many."""
_SMOOTH = 3
"""Everything is drawn so many times larger and made smaller again, since Pillow draws hard edges."""
_BOLD = 0.35
"""Half of what a heading's strokes are thicker: the font has no bold letters."""
_Place = tuple[float, float]


def to_png(charts: Sequence[Chart], *, title: str) -> bytes:
    """All charts below one another in one picture, with the numbers in words as its description.

    Raises:
        ValueError: there is no chart.
        ImportError: Pillow is not there, or was built without fonts.
    """
    if not charts:
        raise ValueError("no chart")
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    starts, whole = tops(charts)
    page = Image.new("RGB", (WIDTH * SCALE, math.ceil(whole * SCALE)), PAGE)
    for chart, y in zip(charts, starts, strict=True):
        page.paste(_picture(chart), (0, round(y * SCALE)))
    told = PngInfo()
    told.add_itxt("Title", printable(title))
    told.add_itxt("Description", printable(in_words(charts)))
    file = io.BytesIO()
    page.save(file, "PNG", optimize=True, pnginfo=told, dpi=(96 * SCALE, 96 * SCALE))
    return file.getvalue()


def _picture(chart: Chart) -> Image:
    from PIL import Image, ImageDraw

    large = SCALE * _SMOOTH
    image = Image.new("RGB", (WIDTH * large, math.ceil(height(chart)) * large), PAGE)
    pen = _Pen(ImageDraw.Draw(image), large)
    scale = Scale(chart)
    _frame(pen, chart, scale)
    for i, series in enumerate(chart.series):
        _line(pen, series, i, scale)
    for i, series in enumerate(chart.series):
        for point in series.points:
            pen.mark(i, scale.x(point.x), scale.y(point.mean))
    for entry in legend(chart):
        _entry(pen, entry)
    return image.reduce(_SMOOTH)


class _Pen:
    """Draws in pixels of the page."""

    def __init__(self, draw: ImageDraw, scale: int) -> None:
        from PIL import ImageFont

        self._draw = draw
        self._scale = scale
        # Pillow's own: every machine draws the same.
        self._fonts = {size: ImageFont.load_default(size * scale) for size in (TEXT_SIZE, HEAD_SIZE)}

    def text(self, place: _Place, text: str, colour: str, *, anchor: str = "ls", head: bool = False) -> None:
        font = self._fonts[HEAD_SIZE if head else TEXT_SIZE]
        stroke = round(_BOLD * self._scale) if head else 0
        where = self._large([place])[0]
        self._draw.text(where, printable(text), fill=colour, font=font, anchor=anchor, stroke_width=stroke)

    def line(self, places: Sequence[_Place], colour: str, width: float = 1) -> None:
        self._draw.line(self._large(places), fill=colour, width=round(width * self._scale), joint="curve")

    def mark(self, series: int, x: float, y: float) -> None:
        corners, fill = outline(series, x, y), COLOURS[colour(series)]
        if corners:
            self._draw.polygon(self._large(corners), fill=fill)
        else:
            self._draw.ellipse(self._large([(x - DISC, y - DISC), (x + DISC, y + DISC)]), fill=fill)

    def _large(self, places: Sequence[_Place]) -> list[_Place]:
        return [(x * self._scale, y * self._scale) for x, y in places]


def _frame(pen: _Pen, chart: Chart, scale: Scale) -> None:
    """Titles, both axes and the grid."""
    pen.text((LEFT, 18), chart.title, TEXT, head=True)
    pen.text((LEFT, 36), chart.y_label, SOFT)
    for mark in scale.y_marks:
        y = scale.y(mark)
        pen.line([(LEFT, y), (WIDTH - RIGHT, y)], GRID)
        pen.text((LEFT - 8, y + 4), number(mark), SOFT, anchor="rs")
    pen.line([(LEFT, BOTTOM), (WIDTH - RIGHT, BOTTOM)], SOFT)
    for mark in x_ticks(chart.x_values):
        x = scale.x(mark)
        pen.line([(x, BOTTOM), (x, BOTTOM + 5)], SOFT)
        pen.text((x, BOTTOM + 19), number(mark), SOFT, anchor="ms")
    pen.text(((LEFT + WIDTH - RIGHT) / 2, BOTTOM + 38), chart.x_label, SOFT, anchor="ms")


def _line(pen: _Pen, series: Series, i: int, scale: Scale) -> None:
    """A line and its error bars."""
    stroke = COLOURS[colour(i)]
    places = [(scale.x(point.x), scale.y(point.mean)) for point in series.points]
    if len(places) > 1:
        for piece in dashes(places, dash(i)):
            pen.line(piece, stroke, 2)
    for point, (x, _) in zip(series.points, places, strict=True):
        if point.stddev > 0:
            ends = [scale.y(point.mean - point.stddev), scale.y(point.mean + point.stddev)]
            pen.line([(x, y) for y in ends], stroke, 1.5)
            for y in ends:
                pen.line([(x - CAP, y), (x + CAP, y)], stroke, 1.5)


def dashes(places: Sequence[_Place], pattern: Sequence[float]) -> Iterator[list[_Place]]:
    """The pieces of a line that are drawn, by lengths that are drawn and left out in turn; all of it where none is."""
    if not pattern:
        yield list(places)
        return
    lengths = cycle(zip(pattern, cycle((True, False)), strict=False))
    left, drawn = next(lengths)
    piece = [places[0]]
    for (x0, y0), (x1, y1) in pairwise(places):
        length, done = math.hypot(x1 - x0, y1 - y0), 0.0
        while length - done > left:
            done += left
            piece.append((x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length))
            if drawn:
                yield piece
            piece = piece[-1:]
            left, drawn = next(lengths)
        left -= length - done
        piece.append((x1, y1))
    if drawn:
        yield piece


def _entry(pen: _Pen, entry: Entry) -> None:
    pen.line([(entry.x, entry.y), (entry.line_end, entry.y)], COLOURS[colour(entry.series)], 2)
    pen.mark(entry.series, (entry.x + entry.line_end) / 2, entry.y)
    pen.text((entry.text_x, entry.y + 4), entry.label, TEXT)
