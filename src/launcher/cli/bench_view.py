"""Bench records for a person: speeds with their spread, the planner's prediction beside them, streams of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.bench.energy import SHORTEST_S
from launcher.bench.stats import MIN_SAMPLES, NOISY_CV, coefficient_of_variation, is_noisy, median, paired_ratio
from launcher.bench.types import BenchRecord
from launcher.cli.output import report_console
from launcher.planner.types import HOST
from launcher.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NOISY_MARK = "~"
WIDE, WIDE_STREAMS = 80, 100
"""Columns of a terminal from which on the two tables have everything."""
_ENERGY, _NARROWEST_ENERGY = 10, 60
"""Columns that the energy takes besides, and the narrowest terminal that shows it."""


def print_records(records: Sequence[BenchRecord], *, console: Console | None = None) -> None:
    """Print what was measured on stdout: a table of one sequence, one of streams, and what to know of both."""
    console = console or report_console()
    plain = [record for record in records if record.latency is None]
    served = [record for record in records if record.latency is not None]
    if plain:
        console.print(speed_table(plain, width=console.width))
    if served:
        console.print(stream_table(served, width=console.width))
    for line in notes(records):
        console.print(line)


def _table(*names: str, wide: bool) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, name in enumerate(names):
        table.add_column(name, justify="left" if i < 2 else "right", no_wrap=wide or i > 0)
    return table


def speed_table(records: Sequence[BenchRecord], *, width: int = WIDE) -> Table:
    """Tokens per second of one sequence; on a narrow terminal the median alone. Energy where it is known."""
    wide, energy = width >= WIDE, _has_energy(records, width)
    spread = wide and (width >= WIDE + _ENERGY or not energy)
    names = ("test", "engine", "tok/s", *(["± sd"] if spread else []), "", "median", "planned", "off by")
    narrow = ("test", "engine", "tok/s", "")
    table = _table(*(names if wide else narrow), *(["J/tok"] if energy else []), wide=wide)
    for record in records:
        middle = median(record.samples_ts)
        mark = NOISY_MARK if is_noisy(record.samples_ts) else ""
        joules = [per_token(record.j_per_token)] if energy else []
        if not wide:
            table.add_row(record.test.name, record.engine, speed(middle), mark, *joules)
            continue
        sd = speed(record.stddev_ts) if len(record.samples_ts) > 1 else ""
        table.add_row(
            record.test.name,
            record.engine,
            speed(record.avg_ts),
            *([sd] if spread else []),
            mark,
            speed(middle),
            "" if record.predicted_ts is None else speed(record.predicted_ts),
            "" if record.predicted_ts is None else f"{record.predicted_ts / middle - 1:+.0%}",
            *joules,
        )
    return table


def stream_table(records: Sequence[BenchRecord], *, width: int = WIDE_STREAMS) -> Table:
    """What readers of a server's streams wait for; on a narrow terminal without the percentiles between."""
    energy = _has_energy(records, width)
    wide = width >= WIDE_STREAMS + (_ENERGY if energy else 0)
    narrow = ("test", "n", "first ms", "p99", "")
    names = ("test", "streams", "first ms", "next p50", "p90", "p99", "out tok/s", "all tok/s", "")
    table = _table(*(names if wide else narrow), *(["J/tok"] if energy else []), wide=wide)
    for record in records:
        if record.latency is None:
            continue
        wait = record.latency
        mark = NOISY_MARK if is_noisy(record.samples_ts) else ""
        joules = [per_token(record.j_per_token)] if energy else []
        first = (record.test.name, str(record.n_streams), f"{wait.ttft_ms:.1f}")
        if not wide:
            table.add_row(*first, f"{wait.itl_p99_ms:.2f}", mark, *joules)
            continue
        between = (f"{ms:.2f}" for ms in (wait.itl_p50_ms, wait.itl_p90_ms, wait.itl_p99_ms))
        table.add_row(*first, *between, speed(wait.output_ts), speed(record.avg_ts), mark, *joules)
    return table


def _has_energy(records: Sequence[BenchRecord], width: int) -> bool:
    return width >= _NARROWEST_ENERGY and any(record.j_per_token is not None for record in records)


def per_token(joules: float | None) -> str:
    """Three digits of joules: `0.0350`, `1.24`, `310`; nothing where it is not known."""
    if joules is None:
        return ""
    return f"{joules:.4f}" if joules < 0.1 else f"{joules:.3f}" if joules < 1 else speed(joules)


def speed(ts: float) -> str:
    """Three digits, and no more than a machine repeats: `7.93`, `61.2`, `1543`."""
    return f"{ts:.2f}" if ts < 10 else f"{ts:.1f}" if ts < 100 else f"{ts:.0f}"


def notes(records: Sequence[BenchRecord]) -> list[str]:
    """What the tables leave open."""
    lines = [*_yardstick(records), *_memory(records), *_energy(records)]
    noisy = [record for record in records if is_noisy(record.samples_ts)]
    if noisy:
        worst = max(coefficient_of_variation(record.samples_ts) or 0.0 for record in noisy)
        lines.append(
            f"{NOISY_MARK} spread past {NOISY_CV:.0%} of the mean, {worst:.0%} at worst: something else ran beside it. "
            "Trust the median, or measure again."
        )
    basis = next((record.predicted_basis for record in records if record.predicted_basis), None)
    if basis:
        lines.append(f"planned by: {basis}")
    return lines


def _yardstick(records: Sequence[BenchRecord]) -> list[str]:
    """The embedded engine beside llama-bench, pair by pair."""
    lines = []
    for ours in (record for record in records if record.engine == "embedded"):
        theirs = next((r for r in records if r.engine == "llama-bench" and r.test == ours.test), None)
        n = 0 if theirs is None else min(len(theirs.samples_ts), len(ours.samples_ts))
        if theirs is None or n == 0:
            continue
        ratio = paired_ratio(theirs.samples_ts[:n], ours.samples_ts[:n])
        between = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
        few = "" if n >= MIN_SAMPLES else f", of {n} pairs: too few to tell"
        lines.append(f"embedded / llama-bench, {ours.test.name}: {ratio.ratio:.3f}{between}{few}")
    return lines


def _memory(records: Sequence[BenchRecord]) -> list[str]:
    """The most that an engine held of RAM and of each device, beside the plan."""
    lines = []
    for engine in dict.fromkeys(record.engine for record in records):
        rows = [row for record in records if record.engine == engine for row in record.memory]
        for device in dict.fromkeys(row.device for row in rows):
            known = [row for row in rows if row.device == device and row.peak_bytes is not None]
            if known:
                peak = format_bytes(max(row.peak_bytes or 0 for row in known))
                planned = format_bytes(known[0].planned_bytes)
                more = " more than before it came" if any(row.whole_device for row in known) else ""
                name = "RAM" if device == HOST else device
                lines.append(f"peak {name}, {engine}: {peak}{more}, planned {planned} with the whole context")
    return lines


def _energy(records: Sequence[BenchRecord]) -> list[str]:
    """What the joules are of; where some tests have none, why."""
    known = [record for record in records if record.j_per_token is not None]
    if not known:
        return []
    of = "; ".join(dict.fromkeys(", ".join(record.energy_of) for record in known))
    few = f"; none of tests whose samples take less than {SHORTEST_S:g} s" if len(known) < len(records) else ""
    return [f"energy of {of} while the clock ran, idle power included{few}"]
