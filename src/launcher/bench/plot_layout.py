"""Where everything of a chart stands on a page, for every kind of file. Pure. Lengths are pixels of a page 720 wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from launcher.bench.chart import Chart, Point, number, ticks
from launcher.text import printable

WIDTH = 720
PLOT_HEIGHT = 300
LEFT, RIGHT, TOP = 70, 24, 46
BOTTOM = TOP + PLOT_HEIGHT
GAP = 24
"""Between two charts, and beside the first and last place of the x axis."""
CAP = 4
"""Half the width of an error bar's end."""
TEXT_SIZE, HEAD_SIZE = 13, 15
_AXIS = 52
_LEGEND_ROW = 20
_LEGEND_LINE = 22
_CHAR = 8.0
"""Width of a letter at the legend's size, on the safe side."""
_N_Y_TICKS = 6
_LONGEST = int((WIDTH - LEFT - RIGHT - 40) / _CHAR)

COLOURS = ("#0072b2", "#b34700", "#00795a", "#a5447a", "#8a6100", "#3b7ea6", "#444444")
"""Of lines on a white page: Okabe and Ito's, darker, which the colour-blind tell apart."""
TEXT, PAGE, SOFT, GRID = "#1c1e21", "#ffffff", "#5f6670", "#dfe2e6"
DASHES: tuple[tuple[float, ...], ...] = ((), (7, 4), (2, 3), (9, 3, 2, 3))
"""Of lines whose colour another has already: drawn and left out in turn."""
_OUTLINES: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((-4, -4), (4, -4), (4, 4), (-4, 4)),
    ((0, -5), (5, 4), (-5, 4)),
    ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
    (
        *((-1.5, -5), (1.5, -5), (1.5, -1.5), (5, -1.5), (5, 1.5), (1.5, 1.5)),
        *((1.5, 5), (-1.5, 5), (-1.5, 1.5), (-5, 1.5), (-5, -1.5), (-1.5, -1.5)),
    ),
)
DISC = 4.0
"""Radius of a mark that is round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the legend."""

    series: int
    label: str
    x: float
    y: float
    """Of its line and mark; the text stands a little below."""

    @property
    def line_end(self) -> float:
        """Where its line ends."""
        return self.x + _LEGEND_LINE

    @property
    def text_x(self) -> float:
        """Where its text begins."""
        return self.x + _LEGEND_LINE + 6


class Scale:
    """Values to places on the page."""

    def __init__(self, chart: Chart) -> None:
        self._low, self._high = chart.x_values[0], chart.x_values[-1]
        self.y_marks = ticks(0, chart.top or 1, _N_Y_TICKS)

    def x(self, value: float) -> float:
        """From the left."""
        width = WIDTH - LEFT - RIGHT - 2 * GAP
        share = (value - self._low) / (self._high - self._low) if self._high > self._low else 0.5
        return LEFT + GAP + share * width

    def y(self, value: float) -> float:
        """From the top of the chart."""
        return TOP + PLOT_HEIGHT * (1 - max(0.0, value) / self.y_marks[-1])


def height(chart: Chart) -> float:
    """Of a chart with its title, axis and legend."""
    return BOTTOM + _AXIS + _LEGEND_ROW * len({entry.y for entry in legend(chart)})


def tops(charts: Sequence[Chart]) -> tuple[list[float], float]:
    """Where each chart begins, one below the other, and how high the page is."""
    ends = list(accumulate(height(chart) + GAP for chart in charts))
    return [0.0, *ends[:-1]], ends[-1] - GAP


def legend(chart: Chart) -> list[Entry]:
    """Series with their place, broken into rows where the page ends; a label that no row holds is cut."""
    entries: list[Entry] = []
    x, y = float(LEFT), float(BOTTOM + _AXIS + 8)
    for i, series in enumerate(chart.series):
        label = printable(series.label)
        label = label if len(label) <= _LONGEST else label[: _LONGEST - 3] + "..."
        width = 40 + _CHAR * len(label)
        if x > LEFT and x + width > WIDTH - RIGHT:
            x, y = float(LEFT), y + _LEGEND_ROW
        entries.append(Entry(series=i, label=label, x=x, y=y))
        x += width
    return entries


def outline(series: int, x: float, y: float) -> list[tuple[float, float]]:
    """Corners of a series' mark; none: it is a disc. Shapes as well as colours: a print may have none."""
    return [(x + dx, y + dy) for dx, dy in _OUTLINES[series % len(_OUTLINES)]]


def colour(series: int) -> int:
    """Which of the colours."""
    return series % len(COLOURS)


def dash(series: int) -> tuple[float, ...]:
    """Which of the dashes."""
    return DASHES[series // len(COLOURS) % len(DASHES)]


def in_words(charts: Sequence[Chart]) -> str:
    """Every number of the charts in sentences."""
    return " ".join(
        f"{chart.title}: "
        + "; ".join(f"{series.label}: {', '.join(map(spoken, series.points))}" for series in chart.series)
        + f" (x: {chart.x_label}, y: {chart.y_label})."
        for chart in charts
    )


def spoken(point: Point) -> str:
    """`12.35 ± 0.50 at 4096`; of energy, which has small numbers, as many digits as say something."""
    digits = 2 if point.mean >= 1 else 4
    return f"{point.mean:.{digits}f} ± {point.stddev:.{digits}f} at {number(point.x)}"
