"""A tune for a person: what each setting bought, what was adopted and why; and what would be tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launcher.bench.stats import NOISY_CV
from launcher.cli.bench_view import speed
from launcher.cli.output import report_console
from launcher.records import to_jsonable
from launcher.tune.changes import spelt
from launcher.tune.race import MIN_PAIRS
from launcher.tune.types import Confirmation, Ratio, Sizes, Space, Trial, TuneResult, Workload
from launcher.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDE, NARROW = 100, 72
"""Columns of a terminal from which on the table says why, and below which it has but the turn."""


def print_result(result: TuneResult, *, console: Console | None = None) -> None:
    """Print what was tried on stdout, then what comes of it."""
    console = console or report_console()
    for line in head_lines(result):
        console.print(line)
    if result.trials:
        console.print()
        console.print(trial_table(result.trials, width=console.width))
        console.print()
    for line in end_lines(result):
        console.print(line)


def head_lines(result: TuneResult) -> Iterator[str]:
    """What was tuned, how long, and how fast the plan is."""
    took = f"{format_duration(result.took_s)} of {format_duration(result.budget_s)}"
    yield f"{result.model}, tuned for {result.workload.purpose} on {result.date}, {took}"
    yield f"a turn: {turn_text(result.workload)}"
    pp, tg = result.plan_speeds.pp_ts, result.plan_speeds.tg_ts
    if pp is not None and tg is not None:
        yield f"the plan in this tune's tests: prompts {speed(pp)} tok/s, decoding {speed(tg)} tok/s"


def turn_text(workload: Workload) -> str:
    """`512 tokens in, 256 out, 4 at a time`."""
    depth = f", after {workload.n_depth} in the context" if workload.n_depth else ""
    streams = f", {workload.n_streams} at a time" if workload.n_streams > 1 else ""
    return f"{workload.n_prompt} tokens in, {workload.n_gen} out{depth}{streams}"


def trial_table(trials: Sequence[Trial], *, width: int) -> Table:
    """A row for each setting: how much faster or slower it was, and what became of it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    whole = width >= NARROW
    padding = (0, 1) if whole else (0, 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=padding)
    table.add_column("setting")
    for name in ("prompts", "decoding", "a turn", "pairs") if whole else ("a turn",):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    if width >= WIDE:
        table.add_column("why")
    for trial in trials:
        turn = percent(trial.turn)
        cells = [percent(trial.prompt), percent(trial.decode), turn, str(trial.n_pairs or "")] if whole else [turn]
        style = "bold" if trial.outcome == "kept" else ""
        row = [trial.label, *cells, trial.outcome, *((trial.why,) if width >= WIDE else ())]
        table.add_row(*(Text(cell) for cell in row), style=style)
    return table


def percent(ratio: Ratio | None) -> str:
    """`+3.2 %`: how much faster; nothing where it was not measured."""
    return "" if ratio is None else f"{100 * (ratio.ratio - 1):+.1f} %"


def end_lines(result: TuneResult) -> Iterator[str]:
    """What was confirmed, what later plans do, what was left out."""
    for confirmation in result.confirmations:
        yield confirmation_line(confirmation)
    if result.adopted is not None:
        yield (
            f"later plans use {spelt(result.adopted)}: prompts {result.pp_ratio:.2f}, decoding {result.tg_ratio:.2f} "
            "of the plan's speed"
        )
    elif result.interrupted:
        yield "stopped: nothing was confirmed, the plan stays as it is"
    else:
        yield "nothing was measurably better: the plan stays as it is"
    n_late = sum(trial.outcome == "unfinished" for trial in result.trials)
    if n_late and not result.interrupted:
        yield f"{n_late} of {len(result.trials)} settings are unfinished: a longer --budget has room for more"
    for trial in result.trials:
        if trial.outcome == "offered":
            flags = " ".join(f"--cache-type-{which} {trial.changes.type_k}" for which in "kv")
            yield f"{flags} is not taken by itself, since it changes answers: {change_text(trial)}"
        elif trial.outcome == "crashed":
            yield f"{trial.label} crashed: {trial.why}"
    if result.noise is not None and result.noise > NOISY_CV:
        yield (
            f"runs of the same settings differed by {result.noise:.0%}: something else ran beside it; only large gains "
            "can be seen then. Tune again when the machine is idle"
        )
    for note in result.notes:
        yield f"not tried: {note}"


def change_text(trial: Trial) -> str:
    """`prompts +1.2 %, decoding -0.4 %`."""
    parts = (("prompts", trial.prompt), ("decoding", trial.decode))
    return ", ".join(f"{name} {percent(ratio)}" for name, ratio in parts if ratio is not None)


def confirmation_line(confirmation: Confirmation) -> str:
    """`confirmed over the plan by 6 pairs: flash_attn off: a turn +3.1 % (+2.2 % to +3.9 %)`."""
    turn, verb = confirmation.turn, "confirmed" if confirmation.adopted else "not confirmed"
    n = confirmation.n_pairs
    line = f"{verb} over {confirmation.over} by {n} {'pair' if n == 1 else 'pairs'}: {spelt(confirmation.changes)}"
    if turn is not None:
        line += f": a turn {percent(turn)}"
        if turn.low is not None and turn.high is not None and confirmation.n_pairs >= MIN_PAIRS:
            line += f" ({100 * (turn.low - 1):+.1f} % to {100 * (turn.high - 1):+.1f} %)"
    return line if confirmation.adopted else f"{line}; {confirmation.why}"


def space_json(space: Space, workload: Workload, sizes: Sizes, budget_s: float) -> dict[str, Any]:
    """What a dry run tells."""
    return {
        "workload": to_jsonable(workload),
        "budget_s": budget_s,
        "tests": to_jsonable(sizes),
        "axes": [
            {
                "name": axis.name,
                "options": [option.label for option in axis.options],
                "reloads": axis.reloads,
                "offered_only": axis.offer,
            }
            for axis in space.axes
        ],
        "left_out": list(space.left_out),
    }


def print_space(found: Mapping[str, Any]) -> None:
    """The same for a person."""
    console = report_console()
    n_options = sum(len(axis["options"]) for axis in found["axes"])
    console.print(f"{n_options} settings beside the plan's, in at most {format_duration(found['budget_s'])}:")
    for axis in found["axes"]:
        marks = [
            *(("loads the model again",) if axis["reloads"] else ()),
            *(("measured, never taken",) if axis["offered_only"] else ()),
        ]
        more = f" ({', '.join(marks)})" if marks else ""
        console.print(f"  {axis['name']}: {'; '.join(axis['options'])}{more}")
    for line in found["left_out"]:
        console.print(f"not tried: {line}")
    console.print("what wins is then confirmed beside the plan by 5 to 12 fresh pairs")
