"""Models on this disk, for a person."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TextIO

from launcher.cli.columns import DIM, Cell, Column, is_styled, table, terminal_width
from launcher.cli.history_view import age
from launcher.cli.models_rows import ModelRow
from launcher.store.removal import Doomed
from launcher.units import format_bytes

_COLUMNS = (
    Column(name="model"),
    Column(name="quant"),
    Column(name="size", right=True),
    Column(name="where"),
    Column(name="state", drop=1),
    Column(name="verified", drop=3),
    Column(name="used", drop=2),
    Column(name="name", shrink_to=20),
)
_NARROW = 64
"""Columns below which a table would lose its names: then each model has a line for its name and one for the rest."""
_LONG = 5
"""Parts of a path from which it is told by its last two."""


def print_models(rows: Sequence[ModelRow], now: datetime) -> None:
    """A table on stdout, and below it what is wrong with some of them."""
    cells = [
        _cells(
            row.model or "-",
            row.quant or "-",
            format_bytes(row.size_bytes),
            row.app,
            _state(row),
            _day(row.verified_at),
            "-" if row.last_used_at is None else age(row.last_used_at, now),
            _name(row.name, sys.stdout),
            style="" if row.state == "complete" else DIM,
        )
        for row in rows
    ]
    width = terminal_width(sys.stdout)
    if width is not None and width < _NARROW:
        for line in cells:
            sys.stdout.write(f"{line[-1].text}\n{_facts(line[:-1], width)}\n")
    else:
        _write(sys.stdout, table(_COLUMNS, cells, width, colours=is_styled(sys.stdout)))
    told = [row for row in rows if row.why is not None and row.state != "other"]
    if told:
        sys.stdout.write("\n")
    for row in told:
        sys.stdout.write(f"{short(row.name)}: {row.why}\n")


def _facts(cells: Sequence[Cell], width: int) -> str:
    """All but the name, where there is no room for columns and their heads."""
    said = {"verified": "verified ", "used": "used "}
    facts = [said.get(column.name, "") + cell.text for column, cell in zip(_COLUMNS, cells, strict=False)]
    text = ", ".join(fact for fact in facts if not fact.endswith("-"))
    return textwrap.fill(text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def _cells(*texts: str, style: str = "") -> list[Cell]:
    return [Cell(text=text, style=style) for text in texts]


def _state(row: ModelRow) -> str:
    if row.state == "incomplete" and row.total_bytes:
        return f"{row.size_bytes / row.total_bytes:.0%}"
    return {"complete": "complete", "unusable": "not usable", "other": "not GPT OSS"}.get(row.state, row.state)


def _day(time: str | None) -> str:
    return "-" if time is None else datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d")


def _name(name: str, stream: TextIO) -> str:
    """On a terminal a path begins with the folder of its file: what comes before says least."""
    path = Path(name)
    if not path.is_absolute() or not stream.isatty() or len(path.parts) < _LONG:
        return short(name)
    return str(Path("...", *path.parts[-2:]))


def short(name: str) -> str:
    """A path with the home folder as `~`, which a shell understands."""
    home = os.path.expanduser("~")  # noqa: PTH111  # where nobody has a home, it stays `~`
    return f"~{name[len(home) :]}" if name.startswith(home + os.sep) else name


def print_usage(rows: Sequence[tuple[ModelRow, int]], by_app: Mapping[str, int]) -> None:
    """Bytes on the disk by model, by application and together."""
    columns = (
        Column(name="on disk", right=True),
        Column(name="where"),
        Column(name="model", drop=1),
        Column(name="quant", drop=2),
        Column(name="name", shrink_to=18),
    )
    cells = [
        _cells(format_bytes(n_bytes), row.app, row.model or "-", row.quant or "-", _name(row.name, sys.stdout))
        for row, n_bytes in rows
    ]
    cells += [_cells(format_bytes(n_bytes), app, "", "", "all") for app, n_bytes in by_app.items()]
    cells.append(_cells(format_bytes(sum(by_app.values())), "together", "", "", ""))
    _write(sys.stdout, table(columns, cells, terminal_width(sys.stdout), colours=is_styled(sys.stdout)))


def print_doomed(doomed: Iterable[Doomed], others: Iterable[tuple[str, Path, int]] = (), *, stream: TextIO) -> None:
    """What would go."""
    columns = (
        Column(name="frees", right=True),
        Column(name="what"),
        Column(name="of", shrink_to=9),
        Column(name="file", shrink_to=20, drop=1),
    )
    cells = [
        _cells(format_bytes(item.freed_bytes), item.what, item.repo, _name(str(_first(item)), stream))
        for item in doomed
    ]
    cells += [_cells(format_bytes(n_bytes), what, "the launcher", _name(str(p), stream)) for what, p, n_bytes in others]
    _write(stream, table(columns, cells, terminal_width(stream), colours=is_styled(stream)))


def _first(doomed: Doomed) -> Path:
    return (*doomed.blobs, *doomed.pointers)[0]


def _write(stream: TextIO, lines: Iterable[str]) -> None:
    stream.writelines(line + "\n" for line in lines)
