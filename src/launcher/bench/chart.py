"""Rows as charts: speed and energy over depth and over streams, with the ticks of their axes. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.bench.compare import settings_that_vary
from launcher.bench.rows import Row
from launcher.bench.stats import mean, stddev

_N_OWN_TICKS = 8
_CLOSEST = 0.08
"""Share of the axis below which two ticks would print over each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Samples at one place of the x axis: mean and, as llama-bench prints it, the standard deviation."""

    x: float
    mean: float
    stddev: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One line of a chart."""

    label: str
    points: tuple[Point, ...]
    """By growing x."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Tokens per second, or joules per token, over something."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]

    @property
    def top(self) -> float:
        """The highest end of an error bar."""
        return max(point.mean + point.stddev for series in self.series for point in series.points)

    @property
    def x_values(self) -> tuple[float, ...]:
        """Every place that was measured, growing."""
        return tuple(sorted({point.x for series in self.series for point in series.points}))


def charts_of(rows: Sequence[Row]) -> tuple[Chart, ...]:
    """Decode and prompt speed over depth, and speed over streams where more than one number of them was measured.

    Then the same of energy, where it is known. A chart of a single place tells less than a table: it is left out where
    there is another.
    """
    charts = [*_charts(rows, _SPEED), *_charts([row for row in rows if row.j_per_token is not None], _ENERGY)]
    return tuple([chart for chart in charts if len(chart.x_values) > 1] or charts)


def ticks(low: float, high: float, n: int) -> tuple[float, ...]:
    """About `n` round numbers that hold a range: steps of 1, 2 or 5 times a power of ten.

    Raises:
        ValueError: the range is none, or is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high and n > 0):
        raise ValueError(f"no range: {low} to {high}")
    rough = (high - low) / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(i * step for i in range(first, last + 1))


def x_ticks(values: Sequence[float], n: int = _N_OWN_TICKS) -> tuple[float, ...]:
    """Of growing places that were measured the first, the last and those between that do not print over another.

    `n` is how many numbers side by side the axis has room for.
    """
    low, high = values[0], values[-1]
    if low == high:
        return (low,)
    closest = max(_CLOSEST, 0.6 / n) * (high - low)
    kept = [low]
    for value in values[1:-1]:
        if value - kept[-1] >= closest and high - value >= closest:
            kept.append(value)
    return (*kept, high)


def number(value: float) -> str:
    """A tick's number: no digits that say nothing."""
    text = f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:.0f}"
    return "0" if text in ("-0", "") else text


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shown:
    """What the y axis is of."""

    name: str
    label: str
    values: Callable[[Row], Sequence[float]]
    of: Callable[[Row], str] = lambda _: ""
    """What only values of the same may share a line."""


_SPEED = _Shown(name="speed", label="tokens per second", values=lambda row: row.samples_ts)
_ENERGY = _Shown(
    name="energy",
    label="joules per token, idle power included",
    values=lambda row: () if row.j_per_token is None else (row.j_per_token,),
    of=lambda row: ", ".join(row.energy_of),
)


def _charts(rows: Sequence[Row], shown: _Shown) -> list[Chart]:
    one = [row for row in rows if row.n_streams == 1]
    found = [
        _over_depth("Decode", [row for row in one if not row.test.n_prompt], shown),
        _over_depth("Prompt", [row for row in one if not row.test.n_gen], shown),
        _over_depth("Prompt and decode", [row for row in one if row.test.n_prompt and row.test.n_gen], shown),
    ]
    served = {_place(row) for row in rows if row.n_streams > 1}
    many = [row for row in rows if _place(row) in served]
    keys = [(_place(row), row.n_streams, row) for row in many]
    title = f"{shown.name.capitalize()} over streams"
    found.append(_chart(title, "streams at the same time", keys, shown, by_depth=True))
    return [chart for chart in found if chart is not None]


def _over_depth(what: str, rows: Sequence[Row], shown: _Shown) -> Chart | None:
    keys = [((row.engine, row.model, row.test.n_prompt, row.test.n_gen), row.test.n_depth, row) for row in rows]
    return _chart(f"{what} {shown.name} over depth", "tokens in the context", keys, shown)


def _place(row: Row) -> tuple[Any, ...]:
    return (row.engine, row.model, row.test.n_prompt, row.test.n_gen, row.test.n_depth)


def _chart(
    title: str,
    x_label: str,
    keyed: Sequence[tuple[tuple[Any, ...], float, Row]],
    shown: _Shown,
    *,
    by_depth: bool = False,
) -> Chart | None:
    """Rows by what makes a line and by their place on it. `by_depth`: a line has one depth of its own."""
    if not keyed:
        return None
    places = {id(row): (key, x) for key, x, row in keyed}
    varied = settings_that_vary([row for *_, row in keyed], lambda row: places[id(row)])
    lines: dict[tuple[Any, ...], dict[float, list[float]]] = {}
    firsts: dict[tuple[Any, ...], Row] = {}
    for key, x, row in keyed:
        line = (key, tuple(row.facts.get(name) for name in varied), shown.of(row))
        lines.setdefault(line, {}).setdefault(x, []).extend(shown.values(row))
        firsts.setdefault(line, row)
    labels = _labels(list(firsts.values()), varied, shown, by_depth=by_depth)
    series = tuple(
        Series(label=label, points=_points(points.items()))
        for label, points in zip(labels, lines.values(), strict=True)
    )
    return Chart(title=title, x_label=x_label, y_label=shown.label, series=series)


def _points(samples: Iterable[tuple[float, Sequence[float]]]) -> tuple[Point, ...]:
    return tuple(Point(x=x, mean=mean(found), stddev=stddev(found)) for x, found in sorted(samples))


def _labels(rows: Sequence[Row], varied: Sequence[str], shown: _Shown, *, by_depth: bool) -> list[str]:
    """What tells the lines apart: engine and tokens always, the rest where it differs."""
    models = len({row.model for row in rows}) > 1
    depths = by_depth and len({row.test.n_depth for row in rows}) > 1
    parts = len({shown.of(row) for row in rows}) > 1
    return [
        ", ".join(
            [
                row.engine,
                *([row.model] if models else []),
                _tokens(row) + (f" @ d{row.test.n_depth}" if depths else ""),
                *(f"{name} {row.facts[name]}" for name in varied if name in row.facts),
                *([f"of {shown.of(row)}"] if parts else []),
            ]
        )
        for row in rows
    ]


def _tokens(row: Row) -> str:
    return "+".join(f"{kind}{n}" for kind, n in (("pp", row.test.n_prompt), ("tg", row.test.n_gen)) if n) or "tg0"
