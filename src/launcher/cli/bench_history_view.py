"""Kept runs, for a person and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from launcher.bench.history import Run
from launcher.bench.types import BenchRecord
from launcher.cli.bench_view import per_token
from launcher.cli.columns import Cell, Column, is_styled, table, terminal_width
from launcher.cli.history_view import age

_COLUMNS = (
    Column(name="run"),
    Column(name="when"),
    Column(name="model", shrink_to=8, drop=2),
    Column(name="engines", shrink_to=8, drop=4),
    Column(name="tests", right=True, drop=5),
    Column(name="prompt tok/s", right=True, drop=3),
    Column(name="decode tok/s", right=True, drop=1),
)
_ENERGY = Column(name="decode J/tok", right=True, drop=6)


def as_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs in short; `bench history RUN --json` has all of one."""
    return [
        {
            "run_id": run.run_id,
            "started_at": run.started_at,
            "model": run.records[0].model,
            "engines": list(_engines(run)),
            "tests": [_test(record) for record in run.records],
        }
        for run in runs
    ]


def print_runs(runs: Sequence[Run], *, now: datetime | None = None) -> None:
    """A table on stdout: of each run the speeds of its first prompt and its first decode test."""
    now = now or datetime.now(UTC)
    energies = [_energy(run) for run in runs]
    columns = (*_COLUMNS, _ENERGY) if any(energies) else _COLUMNS
    rows = [
        [Cell(text=text) for text in (*_texts(run, now), energy)][: len(columns)]
        for run, energy in zip(runs, energies, strict=True)
    ]
    lines = table(columns, rows, terminal_width(sys.stdout), colours=is_styled(sys.stdout))
    sys.stdout.writelines(line + "\n" for line in lines)


def _texts(run: Run, now: datetime) -> tuple[str, ...]:
    prompt = next((record for record in run.records if record.n_prompt and not record.n_gen), None)
    decode = _decode(run)
    models = dict.fromkeys(record.model for record in run.records)
    return (
        run.run_id,
        _when(run.started_at, now),
        ", ".join(models),
        ", ".join(_engines(run)),
        str(len(run.records)),
        *("-" if record is None else f"{record.test.name} {record.avg_ts:.1f}" for record in (prompt, decode)),
    )


def _decode(run: Run) -> BenchRecord | None:
    return next((record for record in run.records if record.n_gen and not record.n_prompt), None)


def _energy(run: Run) -> str:
    """Of the same test as the speed that is shown."""
    decode = _decode(run)
    return "" if decode is None else per_token(decode.j_per_token)


def _when(started_at: str, now: datetime) -> str:
    """A file that was edited by hand may hold any text there."""
    try:
        return age(started_at, now)
    except (ValueError, TypeError):
        return started_at


def _engines(run: Run) -> dict[str, None]:
    return dict.fromkeys(record.engine for record in run.records)


def _test(record: BenchRecord) -> dict[str, Any]:
    return {
        "name": record.test.name,
        "engine": record.engine,
        "n_prompt": record.n_prompt,
        "n_gen": record.n_gen,
        "n_depth": record.n_depth,
        "n_streams": record.n_streams,
        "avg_ts": record.avg_ts,
        "stddev_ts": record.stddev_ts,
        "j_per_token": record.j_per_token,
        "energy_of": list(record.energy_of),
    }
