"""The table of scripts/tune_sweep.py: speeds of each arm, ratios round by round, and what they have to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any

from launcher.bench.stats import Interval, paired_ratio
from launcher.planner.types import Changes, LoadParams
from launcher.records import from_jsonable, to_jsonable
from launcher.tune.changes import beside, spelt, with_changes

GOOD = 0.97
QUARTER = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One setting of the sweep, or one run of the final rounds."""

    changes: Changes
    pp_ts: float | None
    """None where the engine refused it."""
    tg_ts: float | None
    took_s: float
    """A load included where it needed one."""


def tuned_params(result: dict[str, Any]) -> LoadParams:
    """The plan that the tune began from, with what it adopted."""
    changes = Changes() if result["adopted"] is None else from_jsonable(Changes, result["adopted"])
    return with_changes(from_jsonable(LoadParams, result["plan"]), changes)


def difference(one: LoadParams, other: LoadParams) -> Changes:
    """What turns the one into the other."""
    return beside(one, Changes(**{field.name: getattr(other, field.name) for field in fields(Changes)}))


def turn_ts(row: Row, weights: tuple[int, int]) -> float | None:
    """Typical turns per second."""
    if row.pp_ts is None or row.tg_ts is None:
        return None
    return 1 / (weights[0] / row.pp_ts + weights[1] / row.tg_ts)


SPEEDS: dict[str, Callable[[Row, tuple[int, int]], float | None]] = {
    "prompts": lambda row, _: row.pp_ts,
    "decoding": lambda row, _: row.tg_ts,
    "a turn": turn_ts,
}


def ratios(one: Sequence[Row], other: Sequence[Row], weights: tuple[int, int]) -> dict[str, Interval]:
    """The second over the first, round by round."""
    found = {}
    for name, speed in SPEEDS.items():
        pairs = [(speed(a, weights), speed(b, weights)) for a, b in zip(one, other, strict=True)]
        whole = [(a, b) for a, b in pairs if a is not None and b is not None]
        if whole:
            found[name] = paired_ratio([a for a, _ in whole], [b for _, b in whole])
    return found


def arms_of(found: dict[str, list[Row]], weights: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Medians of each arm, and what it changes."""
    arms = {}
    for name, rows in found.items():
        whole = [row for row in rows if row.pp_ts is not None and row.tg_ts is not None]
        if not whole:
            raise SystemExit(f"{name}: the engine refused it in every round")
        arms[name] = {
            "changes": spelt(rows[0].changes),
            "pp_ts": median(row.pp_ts or 0.0 for row in whole),
            "tg_ts": median(row.tg_ts or 0.0 for row in whole),
            "turn_ts": median(turn_ts(row, weights) or 0.0 for row in whole),
            "rounds": to_jsonable(rows),
        }
    return arms


def checks_of(over_best: dict[str, Interval], over_defaults: dict[str, Interval], time_part: float) -> dict[str, bool]:
    """What the tuned plan has to hold."""
    below = [name for name, found in over_defaults.items() if found.is_real and found.ratio < 1]
    return {
        "no speed is measurably below llama-server's defaults" + (f" ({', '.join(below)})" if below else ""): not below,
        f"a turn is at least {GOOD} of the sweep's best": over_best["a turn"].ratio >= GOOD,
        f"in at most {QUARTER} of the sweep's time": time_part <= QUARTER,
    }


def lines_of(result: dict[str, Any]) -> Iterator[str]:
    """The table, as Markdown."""
    yield f"{result['model']}, {result['cpu']}: {result['n_settings']} settings in {result['sweep_s'] / 60:.1f} min,"
    yield f"tune in {result['tune_s'] / 60:.1f} min ({result['time_part']:.2f} of it); {result['tests']}"
    yield ""
    yield "| settings | prompts tok/s | decoding tok/s | what differs from the plan |"
    yield "|---|---|---|---|"
    for name, arm in result["arms"].items():
        yield f"| {name} | {arm['pp_ts']:.2f} | {arm['tg_ts']:.2f} | {arm['changes'] or 'nothing'} |"
    yield ""
    yield "| tuned over | prompts | decoding | a turn |"
    yield "|---|---|---|---|"
    for name, found in result["ratios"].items():
        cells = (found.get(which) for which in SPEEDS)
        yield f"| {name} | " + " | ".join("" if cell is None else ratio_text(cell) for cell in cells) + " |"
    yield ""
    yield from (f"- {'holds' if ok else 'FAILS'}: {what}" for what, ok in result["checks"].items())


def ratio_text(interval: dict[str, Any]) -> str:
    """`1.031 (1.012 to 1.044)`."""
    if interval["low"] is None:
        return f"{interval['ratio']:.3f}"
    return f"{interval['ratio']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"
