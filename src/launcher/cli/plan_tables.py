"""The tables of a plan for a person: memory by device, speed by depth, the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.planner.types import Candidate, DeviceMemory, Throughput
from launcher.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS = 9
_BAR_CELLS = 10
WIDE = 100
"""Columns from which there is room for bars, sizes and two spaces between columns."""


def speed_text(per_s: float | None) -> str:
    """Tokens per second with as many digits as mean something; a dash where unknown."""
    if per_s is None:
        return "-"
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.1f}"


def columns(*, left: Sequence[str], right: Sequence[str], width: int) -> Table:
    """An empty table without lines; narrower gaps on a narrow terminal."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1) if width >= WIDE else (0, 1, 0, 0))
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def memory_table(rows: Sequence[DeviceMemory], *, width: int) -> Table:
    """What each device and the host hold, and how full that makes them."""
    table = columns(left=["memory"], right=["model", "context", "compute", "other", "total", "free"], width=width)
    table.add_column("full", no_wrap=True)
    for row in rows:
        parts = (row.model_bytes, row.context_bytes, row.compute_bytes, row.overhead_bytes)
        amounts = (format_bytes(n) for n in (*parts, row.used_bytes, row.free_bytes))
        table.add_row(row.name, *amounts, _bar(row, bars=width >= WIDE))
        of_it = (("file-backed", row.mapped_bytes), ("streamed", row.streamed_bytes), ("for devices", row.shared_bytes))
        for words, amount in of_it:
            if amount:
                table.add_row(f"  {words}", format_bytes(amount), style="dim")
    return table


def _bar(row: DeviceMemory, *, bars: bool) -> str:
    full = 1 - row.left_bytes / row.free_bytes if row.free_bytes > 0 else 1.0
    filled = min(_BAR_CELLS, max(0, round(full * _BAR_CELLS)))
    return f"{'█' * filled}{'░' * (_BAR_CELLS - filled)} {full:>4.0%}" if bars else f"{full:>4.0%}"


def speed_table(speeds: Sequence[Throughput], *, width: int) -> Table:
    """Decode and prompt speed by tokens that are in the context already."""
    table = columns(left=["tok/s at depth"], right=[str(speed.n_depth) for speed in speeds], width=width)
    table.add_row("decode", *(speed_text(speed.tg_ts) for speed in speeds))
    table.add_row("prompt", *(speed_text(speed.pp_ts) for speed in speeds))
    return table


def worth_showing(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The choice, then what was too large (one row a model), then the other classes that fit, best first."""
    shown: dict[tuple[str, bool, float], Candidate] = {}
    for c in sorted(candidates, key=lambda c: (c.reason != "chosen", c.fits, not c.on_disk)):
        # Of a model that does not fit one row says enough: all its files are about as large.
        shown.setdefault((c.model, c.fits, round(c.dense_bpw, 1) if c.fits else 0.0), c)
    return list(shown.values())[:_MOST_ROWS]


def candidate_table(candidates: Sequence[Candidate], *, width: int) -> Table:
    """The choice and the best of what lost to it, with the reasons."""
    from rich.text import Text

    sizes = ["size"] if width >= WIDE else []
    table = columns(left=["", "candidate"], right=[*sizes, "bits", "n_ctx", "tok/s"], width=width)
    table.add_column("why")
    for c in worth_showing(candidates):
        mark = "→" if c.reason == "chosen" else "●" if c.on_disk else ""
        style = "green" if c.reason == "chosen" else None if c.fits else "dim"
        amounts = [format_bytes(c.size_bytes)] * len(sizes)
        amounts += [f"{c.dense_bpw:.1f}", str(c.n_ctx) if c.fits else "-", speed_text(c.tg_ts)]
        table.add_row(mark, Text(c.name), *amounts, Text(c.reason), style=style)
    return table
