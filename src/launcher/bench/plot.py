"""Charts as one SVG: nothing from elsewhere, light and dark, and told in words to those who do not see it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from launcher.bench.chart import Chart, Series, number, x_ticks
from launcher.bench.plot_layout import (
    BOTTOM,
    CAP,
    COLOURS,
    DISC,
    GRID,
    LEFT,
    PAGE,
    RIGHT,
    SOFT,
    TEXT,
    WIDTH,
    Entry,
    Scale,
    colour,
    dash,
    in_words,
    legend,
    outline,
    spoken,
    tops,
)
from launcher.text import printable

_DARK = ("#56b4e9", "#ff8a4c", "#2fc79b", "#e58fc0", "#e6b422", "#9ad0f0", "#c8c8c8")


def _palette(colours: Sequence[str]) -> str:
    return " ".join(f"--c{i}: {value};" for i, value in enumerate(colours))


_STYLE = f"""
.plot {{ --text: {TEXT}; --page: {PAGE}; --soft: {SOFT}; --grid: {GRID}; {_palette(COLOURS)}
  font: 13px system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ .plot {{ --text: #e4e6ea; --page: #16181c; --soft: #a7aeb8; --grid: #353a42;
  {_palette(_DARK)} }} }}
.plot text {{ fill: var(--text); }} .plot .soft {{ fill: var(--soft); }}
.plot .head {{ font-weight: 600; font-size: 15px; }}
.plot .page {{ fill: var(--page); }} .plot .grid {{ stroke: var(--grid); }} .plot .axis {{ stroke: var(--soft); }}
.plot .line {{ fill: none; stroke-width: 2; }} .plot .bar {{ stroke-width: 1.5; fill: none; }}
"""


def to_svg(charts: Sequence[Chart], *, title: str) -> str:
    """All charts below one another in one file.

    Raises:
        ValueError: there is no chart.
    """
    if not charts:
        raise ValueError("no chart")
    starts, height = tops(charts)
    parts = [f'<g transform="translate(0 {y:g})">{_chart(chart)}</g>' for chart, y in zip(charts, starts, strict=True)]
    colours = " ".join(
        f".plot .s{i} {{ stroke: var(--c{i}); }} .plot .f{i} {{ fill: var(--c{i}); }}" for i in range(len(COLOURS))
    )
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    return (
        f'<svg {head} class="plot" role="img" aria-labelledby="plot-title plot-desc">\n'
        f'<title id="plot-title">{_text(title)}</title>\n<desc id="plot-desc">{_text(in_words(charts))}</desc>\n'
        f'<style>{_STYLE}{colours}</style>\n<rect class="page" width="{WIDTH}" height="{height:g}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _chart(chart: Chart) -> str:
    scale = Scale(chart)
    out = [f'<text class="head" x="{LEFT}" y="18">{_text(chart.title)}</text>']
    out.append(f'<text class="soft" x="{LEFT}" y="36">{_text(chart.y_label)}</text>')
    for mark in scale.y_marks:
        y = scale.y(mark)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(mark)}</text>')
    out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>')
    for mark in x_ticks(chart.x_values):
        x = scale.x(mark)
        out.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{BOTTOM}" y2="{BOTTOM + 5}"/>')
        out.append(f'<text class="soft" x="{x:.1f}" y="{BOTTOM + 19}" text-anchor="middle">{number(mark)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(
        f'<text class="soft" x="{middle:g}" y="{BOTTOM + 38}" text-anchor="middle">{_text(chart.x_label)}</text>'
    )
    out += [_line(series, i, scale) for i, series in enumerate(chart.series)]
    out += [_marks(series, i, scale) for i, series in enumerate(chart.series)]
    out += [_entry(entry) for entry in legend(chart)]
    return "\n".join(out)


def _line(series: Series, i: int, scale: Scale) -> str:
    """A line and its error bars."""
    places = [(scale.x(point.x), scale.y(point.mean)) for point in series.points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    pattern = " ".join(f"{length:g}" for length in dash(i))
    dashed = f' stroke-dasharray="{pattern}"' if pattern else ""
    out = [f'<polyline class="line s{colour(i)}" points="{line}"{dashed}/>'] if len(places) > 1 else []
    for point, (x, _) in zip(series.points, places, strict=True):
        if point.stddev > 0:
            low, high = scale.y(point.mean - point.stddev), scale.y(point.mean + point.stddev)
            caps = "".join(f"M{x - CAP:.1f} {end:.1f}h{2 * CAP}" for end in (low, high))
            out.append(f'<path class="bar s{colour(i)}" d="M{x:.1f} {low:.1f}V{high:.1f}{caps}"/>')
    return "\n".join(out)


def _marks(series: Series, i: int, scale: Scale) -> str:
    """The measured places, over all lines; each tells its numbers where a mouse rests on it."""
    return "\n".join(
        f"<g><title>{_text(f'{series.label}: {spoken(point)}')}</title>"
        f"{_mark(i, scale.x(point.x), scale.y(point.mean))}</g>"
        for point in series.points
    )


def _mark(i: int, x: float, y: float) -> str:
    corners = outline(i, x, y)
    if not corners:
        return f'<circle class="f{colour(i)}" cx="{x:.1f}" cy="{y:.1f}" r="{DISC:g}"/>'
    points = " ".join(f"{left:.1f},{top:.1f}" for left, top in corners)
    return f'<polygon class="f{colour(i)}" points="{points}"/>'


def _entry(entry: Entry) -> str:
    ends = f'x1="{entry.x:.1f}" x2="{entry.line_end:.1f}" y1="{entry.y:g}" y2="{entry.y:g}"'
    line = f'<line class="line s{colour(entry.series)}" {ends}/>'
    mark = _mark(entry.series, (entry.x + entry.line_end) / 2, entry.y)
    return f'{line}{mark}<text x="{entry.text_x:.1f}" y="{entry.y + 4:g}">{_text(entry.label)}</text>'


def _text(text: str) -> str:
    """Text of others: XML has no place for control characters, not even escaped."""
    return escape(printable(text))
