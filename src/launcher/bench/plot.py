"""Charts as one SVG: nothing from elsewhere, light and dark, and told in words to those who do not see it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from launcher.bench.chart import Chart, Point, Series, number, ticks, x_ticks
from launcher.text import printable

WIDTH = 720
_PLOT_HEIGHT = 300
_LEFT, _RIGHT, _TOP, _AXIS = 70, 24, 46, 52
_LEGEND_ROW = 20
_GAP = 24
_CAP = 4
_CHAR = 8.0
"""Width of a letter at the legend's size, on the safe side."""
_N_Y_TICKS = 6
_MARKS = ("circle", "square", "triangle", "diamond", "cross")
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_N_COLOURS = 7

# Okabe and Ito's colours, which the colour-blind tell apart; lighter on a dark page.
_STYLE = """
.plot { --text: #1c1e21; --page: #ffffff; --soft: #5f6670; --grid: #dfe2e6; --c0: #0072b2; --c1: #b34700; --c2: #00795a;
  --c3: #a5447a; --c4: #8a6100; --c5: #3b7ea6; --c6: #444444; font: 13px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .plot { --text: #e4e6ea; --page: #16181c; --soft: #a7aeb8; --grid: #353a42;
  --c0: #56b4e9; --c1: #ff8a4c; --c2: #2fc79b; --c3: #e58fc0; --c4: #e6b422; --c5: #9ad0f0; --c6: #c8c8c8; } }
.plot text { fill: var(--text); } .plot .soft { fill: var(--soft); } .plot .head { font-weight: 600; font-size: 15px; }
.plot .page { fill: var(--page); } .plot .grid { stroke: var(--grid); } .plot .axis { stroke: var(--soft); }
.plot .line { fill: none; stroke-width: 2; } .plot .bar { stroke-width: 1.5; fill: none; }
"""


def to_svg(charts: Sequence[Chart], *, title: str) -> str:
    """All charts below one another in one file.

    Raises:
        ValueError: there is no chart.
    """
    if not charts:
        raise ValueError("no chart")
    parts, y = [], 0.0
    for chart in charts:
        parts.append(f'<g transform="translate(0 {y:g})">{_chart(chart)}</g>')
        y += _height(chart) + _GAP
    height = y - _GAP
    colours = " ".join(
        f".plot .s{i} {{ stroke: var(--c{i}); }} .plot .f{i} {{ fill: var(--c{i}); }}" for i in range(_N_COLOURS)
    )
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    return (
        f'<svg {head} class="plot" role="img" aria-labelledby="plot-title plot-desc">\n'
        f'<title id="plot-title">{_text(title)}</title>\n<desc id="plot-desc">{_text(in_words(charts))}</desc>\n'
        f'<style>{_STYLE}{colours}</style>\n<rect class="page" width="{WIDTH}" height="{height:g}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def in_words(charts: Sequence[Chart]) -> str:
    """Every number of the charts in sentences."""
    return " ".join(
        f"{chart.title}: "
        + "; ".join(f"{series.label}: {', '.join(map(_spoken, series.points))}" for series in chart.series)
        + f" (x: {chart.x_label}, y: {chart.y_label})."
        for chart in charts
    )


def _spoken(point: Point) -> str:
    return f"{point.mean:.2f} ± {point.stddev:.2f} at {number(point.x)}"


def _height(chart: Chart) -> float:
    return _TOP + _PLOT_HEIGHT + _AXIS + _LEGEND_ROW * len(_legend_rows(chart))


def _chart(chart: Chart) -> str:
    y_marks = ticks(0, chart.top or 1, _N_Y_TICKS)
    scale = _Scale(chart, y_marks[-1])
    bottom = _TOP + _PLOT_HEIGHT
    out = [f'<text class="head" x="{_LEFT}" y="18">{_text(chart.title)}</text>']
    out.append(f'<text class="soft" x="{_LEFT}" y="36">{_text(chart.y_label)}</text>')
    for mark in y_marks:
        y = scale.y(mark)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="soft" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(mark)}</text>')
    out.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    for mark in x_ticks(chart.x_values):
        x = scale.x(mark)
        out.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
        out.append(f'<text class="soft" x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{number(mark)}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    out.append(
        f'<text class="soft" x="{middle:g}" y="{bottom + 38}" text-anchor="middle">{_text(chart.x_label)}</text>'
    )
    out += [_line(series, i, scale) for i, series in enumerate(chart.series)]
    out += [_marks(series, i, scale) for i, series in enumerate(chart.series)]
    for row, entries in enumerate(_legend_rows(chart)):
        y = bottom + _AXIS + _LEGEND_ROW * row + 8
        out += [_legend(chart.series[i].label, i, x, y) for i, x in entries]
    return "\n".join(out)


class _Scale:
    """Values to places on the page."""

    def __init__(self, chart: Chart, top: float) -> None:
        self._low, self._high = chart.x_values[0], chart.x_values[-1]
        self._top = top

    def x(self, value: float) -> float:
        width = WIDTH - _LEFT - _RIGHT - 2 * _GAP
        share = (value - self._low) / (self._high - self._low) if self._high > self._low else 0.5
        return _LEFT + _GAP + share * width

    def y(self, value: float) -> float:
        return _TOP + _PLOT_HEIGHT * (1 - max(0.0, value) / self._top)


def _line(series: Series, i: int, scale: _Scale) -> str:
    """A line and its error bars."""
    places = [(scale.x(point.x), scale.y(point.mean)) for point in series.points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    colour, dash = i % _N_COLOURS, _DASHES[i // _N_COLOURS % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    out = [f'<polyline class="line s{colour}" points="{line}"{dashed}/>'] if len(places) > 1 else []
    for point, (x, _) in zip(series.points, places, strict=True):
        if point.stddev > 0:
            low, high = scale.y(point.mean - point.stddev), scale.y(point.mean + point.stddev)
            caps = "".join(f"M{x - _CAP:.1f} {end:.1f}h{2 * _CAP}" for end in (low, high))
            out.append(f'<path class="bar s{colour}" d="M{x:.1f} {low:.1f}V{high:.1f}{caps}"/>')
    return "\n".join(out)


def _marks(series: Series, i: int, scale: _Scale) -> str:
    """The measured places, over all lines; each tells its numbers where a mouse rests on it."""
    return "\n".join(
        f"<g><title>{_text(f'{series.label}: {_spoken(point)}')}</title>"
        f"{_mark(i, scale.x(point.x), scale.y(point.mean))}</g>"
        for point in series.points
    )


def _mark(i: int, x: float, y: float) -> str:
    """Shapes as well as colours: a print may have none."""
    shapes = {
        "circle": "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        "square": "m-4 -4h8v8h-8z",
        "triangle": "m0 -5l5 9h-10z",
        "diamond": "m0 -5.5l5 5.5l-5 5.5l-5 -5.5z",
        "cross": "m-1.5 -5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
    }
    return f'<path class="f{i % _N_COLOURS}" d="M{x:.1f} {y:.1f}{shapes[_MARKS[i % len(_MARKS)]]}"/>'


def _legend_rows(chart: Chart) -> list[list[tuple[int, float]]]:
    """Series with their place, broken into rows where the page ends."""
    rows: list[list[tuple[int, float]]] = [[]]
    x = float(_LEFT)
    for i, series in enumerate(chart.series):
        width = 40 + _CHAR * len(series.label)
        if rows[-1] and x + width > WIDTH - _RIGHT:
            rows.append([])
            x = float(_LEFT)
        rows[-1].append((i, x))
        x += width
    return rows


def _legend(label: str, i: int, x: float, y: float) -> str:
    line = f'<line class="line s{i % _N_COLOURS}" x1="{x:.1f}" x2="{x + 22:.1f}" y1="{y:g}" y2="{y:g}"/>'
    return f'{line}{_mark(i, x + 11, y)}<text x="{x + 28:.1f}" y="{y + 4:g}">{_text(label)}</text>'


def _text(text: str) -> str:
    """Text of others: XML has no place for control characters, not even escaped."""
    return escape(printable(text))
