"""A plan for a person: the choice, the memory table, the candidates, the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.cli.output import report_console
from launcher.planner.types import Candidate, Plan, Tier
from launcher.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

TIERS: dict[Tier, str] = {
    "gpu": "all on the GPU",
    "gpu+cpu-experts": "GPU, experts of some layers in RAM",
    "partial": "some layers on the GPU",
    "cpu": "CPU",
    "streamed": "streamed from disk",
}
_MOST_ROWS = 9


def headline(plan: Plan) -> str:
    """One line: `gpt-oss-20b MXFP4 (11.3 GiB), CPU with 2 threads, context 131072, about 14 tok/s`."""
    params = plan.load_params
    size = format_bytes(next((c.size_bytes for c in plan.candidates if c.reason == "chosen"), plan.file.size_bytes))
    where = f"CPU with {params.n_threads} threads" if plan.tier == "cpu" else TIERS[plan.tier]
    if plan.tier == "gpu+cpu-experts":
        where = f"GPU, experts of {params.n_cpu_moe} of {plan.spec.n_layer} layers in RAM"
    speed = f", about {plan.decode_tps.value:.0f} tok/s" if plan.decode_tps else ""
    return f"{plan.spec.id} {plan.file.quant} ({size}), {where}, context {params.n_ctx}{speed}"


def print_plan(plan: Plan) -> None:
    """Print the whole plan on stdout."""
    from rich.text import Text

    console = report_console()
    console.print(Text.assemble(("Plan: ", "bold"), (headline(plan), "bold green")))
    console.print(f"  file    {plan.file.name}{_where(plan)}")
    console.print(f"  load    {_load_line(plan)}")
    if plan.decode_tps:
        console.print(f"  speed   about {plan.decode_tps.value:.1f} tok/s decode ({plan.decode_tps.basis})")
    console.print()
    console.print(_memory_table(plan))
    if len(plan.candidates) > 1:
        console.print()
        console.print(_candidate_table(plan.candidates))
        left_out = len(plan.candidates) - len(_worth_showing(plan.candidates))
        if left_out > 0:
            console.print(f"  and {left_out} more: gpt-oss plan --json", style="dim")
    if plan.notes:
        console.print()
    for note in plan.notes:
        console.print(f"• {note}")


def _where(plan: Plan) -> str:
    if plan.file.local_path is not None:
        return f", on this disk: {plan.file.local_path}" if plan.file.repo else ""
    return ", to be downloaded"


def _load_line(plan: Plan) -> str:
    p = plan.load_params
    words = [f"n_ctx {p.n_ctx}", f"n_ubatch {p.n_ubatch}", f"type_k {p.type_k}", f"type_v {p.type_v}"]
    words += [f"load_mode {p.load_mode}", f"n_threads {p.n_threads}"]
    if p.devices:
        words = [f"{p.devices[0]}", f"n_gpu_layers {p.n_gpu_layers}", f"n_cpu_moe {p.n_cpu_moe}", *words]
    elif p.repack:
        words.append("repacked experts")
    return ", ".join(words)


def _memory_table(plan: Plan) -> Table:
    from rich.table import Table

    columns = ("memory", "model", "context", "compute", "other", "total", "available", "left")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in plan.memory:
        amounts = (row.model_bytes, row.context_bytes, row.compute_bytes, row.overhead_bytes, row.used_bytes)
        left = row.free_bytes - row.used_bytes
        table.add_row(row.name, *(format_bytes(n) for n in (*amounts, row.free_bytes, left)))
        if row.mapped_bytes:
            table.add_row("  of it file-backed", format_bytes(row.mapped_bytes), style="dim")
    return table


def _worth_showing(candidates: tuple[Candidate, ...]) -> list[Candidate]:
    """The choice, then what was too large (one row a model), then the other classes that fit, best first."""
    shown: dict[tuple[str, bool, float], Candidate] = {}
    for c in sorted(candidates, key=lambda c: (c.reason != "chosen", c.fits, not c.on_disk)):
        # Of a model that does not fit one row says enough: all its files are about as large.
        shown.setdefault((c.model, c.fits, round(c.dense_bpw, 1) if c.fits else 0.0), c)
    return list(shown.values())[:_MOST_ROWS]


def _candidate_table(candidates: tuple[Candidate, ...]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, right in (("", False), ("candidate", False), ("size", True), ("bits", True), ("n_ctx", True)):
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    table.add_column("tok/s", justify="right", no_wrap=True)
    table.add_column("why")
    for c in _worth_showing(candidates):
        fits = str(c.n_ctx) if c.fits else "-"
        tps = f"{c.decode_tps.value:.0f}" if c.decode_tps else ""
        mark = "→" if c.reason == "chosen" else "●" if c.on_disk else ""
        style = "green" if c.reason == "chosen" else None if c.fits else "dim"
        table.add_row(mark, c.name, format_bytes(c.size_bytes), f"{c.dense_bpw:.1f}", fits, tps, c.reason, style=style)
    return table
