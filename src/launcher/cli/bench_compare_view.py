"""Two benches side by side, for a person and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from launcher.bench.compare import Compared, Comparison, Verdict
from launcher.bench.stats import MIN_SAMPLES, NOISY_CV
from launcher.cli.bench_sources import Source
from launcher.cli.bench_view import per_token
from launcher.cli.columns import BOLD, DIM, Cell, Column, is_styled, styled, table, terminal_width
from launcher.cli.output import say
from launcher.errors import ExitCode
from launcher.records import to_jsonable
from launcher.text import printable

_STYLES: dict[Verdict, str] = {
    "faster": "\x1b[32m",
    "slower": "\x1b[31m",
    "same": "",
    "too noisy": "\x1b[33m",
    "too few": "\x1b[33m",
}
_N_ALONE = 5
_MANY = 10
"""Tests from which chance alone makes half a difference: one in twenty."""


def as_json(a: Source, b: Source, found: Comparison) -> dict[str, Any]:
    """All of it, with `name` of each row as the table has it."""
    sides = {side: {"source": source.name, "started_at": source.started_at} for side, source in (("a", a), ("b", b))}
    rows = [{"name": row.name, **to_jsonable(row)} for row in found.rows]
    return {**sides, **to_jsonable(found), "rows": rows}


def print_comparison(a: Source, b: Source, found: Comparison, stream: TextIO) -> None:
    """What differs besides, the table, and what it does not tell."""
    width, colours = terminal_width(stream), is_styled(stream)
    heads = (f"{label}  {_about(source)}" for label, source in (("A", a), ("B", b)))
    stream.writelines(styled(BOLD, line, on=colours) + "\n" for line in _wrapped(heads, width))
    lines = [*_wrapped(_differences(found), width), "", *table(*_table(found.rows), width, colours=colours), ""]
    lines += [styled(DIM, line, on=colours) for line in _wrapped((*_notes(found), *_energy(found)), width)]
    stream.writelines(line + "\n" for line in lines)


def exit_code(found: Comparison, fail_if_slower: float | None) -> ExitCode:
    """1 where a test of B is slower than allowed; says which, and what could not be judged."""
    if fail_if_slower is None:
        return ExitCode.DONE
    if found.undecided:
        say(f"not judged, too noisy or too few samples: {', '.join(row.name for row in found.undecided)}")
    slower = found.slower_than(fail_if_slower)
    for row in slower:
        say(f"slower by {1 - row.ratio.ratio:.1%}, and {fail_if_slower:g} % is allowed: {row.name} ({row.engine})")
    return ExitCode.FAULT if slower else ExitCode.DONE


def _about(source: Source) -> str:
    """The source, when it was measured, and of what it is all."""
    alone = [{getattr(row, name) for row in source.rows} for name in ("model", "engine")]
    parts = [source.name, *([source.started_at[:16].replace("T", " ")] if source.started_at else [])]
    return printable("  ".join([*parts, *(values.pop() for values in alone if len(values) == 1)]))


def _differences(found: Comparison) -> Iterator[str]:
    """One line for each kind."""
    for kind in dict.fromkeys(item.kind for item in found.differences):
        items = [item for item in found.differences if item.kind == kind]
        texts = (f"{item.field} {_value(item.a)} -> {_value(item.b)}" for item in items)
        yield f"{kind} {'differ' if kind == 'settings' else 'differs'}: {', '.join(texts)}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "(several)" if value is None else printable(str(value)) or "none"


def _table(rows: Sequence[Compared]) -> tuple[list[Column], list[list[Cell]]]:
    several = [len({getattr(row, name) for row in rows}) > 1 for name in ("engine", "model")]
    several.append(any(row.energy_of for row in rows))
    columns = [
        Column(name="test", shrink_to=14),
        *([Column(name="engine", shrink_to=6)] if several[0] else []),
        *([Column(name="model", shrink_to=12, drop=5)] if several[1] else []),
        Column(name="A tok/s", right=True, drop=4),
        Column(name="B tok/s", right=True, drop=3),
        Column(name="B/A", right=True),
        Column(name="interval", right=True, drop=2),
        Column(name="verdict"),
        *([Column(name=f"{side} J/tok", right=True, drop=6) for side in "AB"] if several[2] else []),
    ]
    return columns, [_cells(row, several) for row in rows]


def _cells(row: Compared, several: Sequence[bool]) -> list[Cell]:
    ratio = row.ratio
    between = "-" if ratio.low is None or ratio.high is None else f"{ratio.low:.3f} to {ratio.high:.3f}"
    return [
        Cell(text=row.name),
        *([Cell(text=row.engine)] if several[0] else []),
        *([Cell(text=row.model)] if several[1] else []),
        Cell(text=_speed(row.a_ts, noisy=row.noisy_a)),
        Cell(text=_speed(row.b_ts, noisy=row.noisy_b)),
        Cell(text=f"{ratio.ratio:.3f}"),
        Cell(text=between),
        Cell(text=row.verdict, style=_STYLES[row.verdict]),
        *([Cell(text=per_token(joules)) for joules in (row.a_j_per_token, row.b_j_per_token)] if several[2] else []),
    ]


def _speed(ts: float, *, noisy: bool | None) -> str:
    return ("~" if noisy else "") + (f"{ts:.2f}" if ts < 100 else f"{ts:.1f}" if ts < 1000 else f"{ts:.0f}")


def _notes(found: Comparison) -> Iterator[str]:
    methods = {row.ratio.method for row in found.rows}
    verdicts = {row.verdict for row in found.rows}
    yield "Speeds are medians. B/A above 1: B is faster."
    if "pairs" in methods:
        sure = {row.ratio.confidence for row in found.rows if row.ratio.method == "pairs" and row.ratio.confidence}
        told = f", {' and '.join(f'{value:.1%}' for value in sorted(filter(None, sure)))} sure" if sure else ""
        yield f"Tests that one run measured in turn: B/A is the median of the pairs' ratios, its interval exact{told}."
    if "bootstrap" in methods:
        yield "Intervals of separate runs: bootstrap of the medians, 95 %. They hold what changed in between, too."
    if len(found.rows) >= _MANY:
        yield f"Of {len(found.rows)} tests that are alike about {len(found.rows) / 20:.1f} are told apart by chance."
    if any(row.noisy_a or row.noisy_b for row in found.rows):
        yield f"~ samples spread past {NOISY_CV:.0%} of their mean."
    if "same" in verdicts:
        yield f"same: a difference of {NOISY_CV:.0%} would have shown."
    if "too noisy" in verdicts:
        yield f"too noisy: no difference is shown, and one of {NOISY_CV:.0%} would not have been."
    if "too few" in verdicts:
        yield f"too few: fewer than {MIN_SAMPLES} samples show nothing; measure with -r {MIN_SAMPLES} or more."
    for side, names in (("A", found.only_a), ("B", found.only_b)):
        if names:
            more = f" and {len(names) - _N_ALONE} more" if len(names) > _N_ALONE else ""
            yield printable(f"only in {side}: {', '.join(names[:_N_ALONE])}{more}")


def _energy(found: Comparison) -> Iterator[str]:
    for of in dict.fromkeys(", ".join(row.energy_of) for row in found.rows if row.energy_of):
        yield f"J/tok: energy of {of}, idle power included; how sure its differences are is not known."


def _wrapped(lines: Iterable[str], width: int | None) -> Iterator[str]:
    for line in lines:
        yield from (
            [line]
            if width is None
            else textwrap.wrap(line, max(20, width), subsequent_indent="  ", break_on_hyphens=False)
        )
