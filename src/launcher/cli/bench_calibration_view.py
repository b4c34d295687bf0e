"""The calibration for a person and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from launcher.cli.bench_view import speed
from launcher.cli.columns import Cell, Column, is_styled, table, terminal_width
from launcher.planner.costs import Figure
from launcher.planner.types import Calibration, MeasuredRun
from launcher.text import printable

_COSTS = (
    Column(name="cost"),
    Column(name="shipped", right=True, drop=1),
    Column(name="here", right=True),
    Column(name="runs", right=True, drop=2),
    Column(name="what it is", shrink_to=12, drop=3),
)
_RUNS = (
    Column(name="model", shrink_to=8),
    Column(name="test"),
    Column(name="engine", drop=3),
    Column(name="settings", shrink_to=10, drop=4),
    Column(name="date", drop=2),
    Column(name="tok/s", right=True),
    Column(name="planned", right=True, drop=1),
    Column(name="off by", right=True),
)


def as_json(runs: Sequence[MeasuredRun], found: Calibration | None, costs: Sequence[Figure]) -> dict[str, Any]:
    """Everything: kept runs without the amounts of work, fitted costs, what is left of each file."""
    return {
        "runs": [
            {
                name: getattr(run, name)
                for name in ("model", "test", "kind", "engine", "settings", "recipe", "date", "ts", "predicted_ts")
            }
            for run in runs
        ],
        "n_runs": found.n_runs if found is not None else 0,
        "last_date": found.last_date if found is not None else None,
        "costs": costs,
        "residuals": found.residuals if found is not None else (),
    }


def print_calibration(runs: Sequence[MeasuredRun], found: Calibration, costs: Sequence[Figure]) -> None:
    """Two tables on stdout: costs that any run tells of, and the runs."""
    told = [figure for figure in costs if figure.n_runs]
    lines = [
        *_table(_COSTS, [_cost(figure) for figure in told]),
        "",
        *_table(_RUNS, [_run(run) for run in runs]),
    ]
    sys.stdout.writelines(line + "\n" for line in lines)
    for line in _files(runs, found):
        sys.stdout.write(line + "\n")


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[Cell(text=text) for text in row] for row in rows]
    return table(columns, cells, terminal_width(sys.stdout), colours=is_styled(sys.stdout))


def _cost(figure: Figure) -> tuple[str, ...]:
    shown = (_figure(figure.shipped, figure.unit), _figure(figure.fitted, figure.unit))
    return (figure.term, *shown, str(figure.n_runs), figure.what)


def _figure(value: float, unit: str) -> str:
    """`26.0 GB/s`, `36.0 Gop/s`, `20.0 us`."""
    return f"{value * 1e6:.3g} us" if unit == "s" else f"{value / 1e9:.3g} G{unit}"


def _run(run: MeasuredRun) -> tuple[str, ...]:
    planned = run.predicted_ts
    return (
        run.model,
        run.test,
        run.engine,
        run.settings,
        run.date,
        speed(run.ts),
        "-" if planned is None else speed(planned),
        "-" if planned is None else f"{planned / run.ts - 1:+.0%}",
    )


def _files(runs: Sequence[MeasuredRun], found: Calibration) -> list[str]:
    """What of each file the costs leave unexplained."""
    names = {run.recipe: run.model for run in runs}
    lines = []
    for left in found.residuals:
        if left.settings is None:
            what = "prompts" if left.kind == "pp" else "decoding"
            name = printable(names[left.recipe])
            lines.append(f"{name}, {what}: {left.factor - 1:+.0%} of time that these costs do not explain")
    return ["", *lines] if lines else []
