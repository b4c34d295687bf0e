"""A plan for a person: the choice, memory by device, speeds by depth, the candidates, the reasons, the command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from launcher.cli.output import report_console
from launcher.planner.types import Candidate, DeviceMemory, Plan, Tier
from launcher.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

TIERS: dict[Tier, str] = {
    "gpu": "all on the GPU",
    "gpu+cpu-experts": "GPU, experts of some layers in RAM",
    "partial": "some layers on the GPU",
    "cpu": "CPU",
    "streamed": "streamed from disk",
}
_MOST_ROWS = 9
_BAR_CELLS = 10
_WIDE = 96  # columns from which the bars have room beside the numbers


def headline(plan: Plan) -> str:
    """One line: `gpt-oss-20b MXFP4 (11.3 GiB), CPU with 2 threads, context 131072, about 14 tok/s`."""
    size = format_bytes(next((c.size_bytes for c in plan.candidates if c.reason == "chosen"), plan.file.size_bytes))
    speed = f", about {speed_text(plan.tg_ts)} tok/s" if plan.tg_ts else ""
    return f"{plan.spec.id} {plan.file.quant} ({size}), {where(plan)}, context {plan.load_params.n_ctx}{speed}"


def where(plan: Plan) -> str:
    """The placement in a few words."""
    params = plan.load_params
    n_gpus = len(params.devices)
    gpus = "GPU" if n_gpus < 2 else f"{n_gpus} GPUs"
    if plan.tier == "cpu":
        return f"CPU with {params.n_threads} threads"
    if plan.tier == "gpu":
        return f"all on {'the GPU' if n_gpus < 2 else gpus}"
    if plan.tier == "gpu+cpu-experts":
        n_moe = params.n_cpu_moe + (params.n_cpu_moe_tensors > 0)
        return f"{gpus}, experts of {n_moe} of {plan.spec.n_layer} layers in RAM"
    return TIERS[plan.tier]


def speed_text(per_s: float) -> str:
    """Tokens per second with as many digits as mean something."""
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.1f}"


def print_plan(plan: Plan, argv: Sequence[str], *, machine: str | None = None) -> None:
    """Print the whole plan on stdout.

    Args:
        plan: what was planned.
        argv: the llama-server command that stands for it.
        machine: the profile's name, where it is for another machine.
    """
    from rich.text import Text

    console = report_console()
    label = "Plan: " if machine is None else f"Plan for {machine}: "
    console.print(Text.assemble((label, "bold"), (headline(plan), "bold green")))
    console.print(Text(f"  file    {plan.file.name}{_where_from(plan)}"))
    console.print(f"  load    {_load_line(plan)}")
    console.print()
    console.print(memory_table(plan.memory, bars=console.width >= _WIDE))
    if plan.throughput and plan.throughput[0].tg_ts is not None:
        console.print()
        console.print(_speed_table(plan))
        console.print(f"  predicted from: {plan.throughput[0].basis}", style="dim")
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
    console.print()
    console.print("The same with llama.cpp's own server:", style="bold")
    console.print(Text(shlex.join(argv)), soft_wrap=True)


def _where_from(plan: Plan) -> str:
    if plan.file.local_path is not None:
        return f", on this disk: {plan.file.local_path}" if plan.file.repo else ""
    return ", to be downloaded"


def _load_line(plan: Plan) -> str:
    p = plan.load_params
    words = [f"n_ctx {p.n_ctx}", f"n_ubatch {p.n_ubatch}", f"type_k {p.type_k}", f"type_v {p.type_v}"]
    words += [f"load_mode {p.load_mode}", f"n_threads {p.n_threads}"]
    if p.n_parallel > 1:
        words.append(f"n_parallel {p.n_parallel} ({'one context' if p.kv_unified else 'a part each'})")
    if p.devices:
        split = [f"tensor_split {','.join(f'{share:g}' for share in p.tensor_split)}"] if p.tensor_split else []
        words = ["+".join(p.devices), f"n_gpu_layers {p.n_gpu_layers}", f"n_cpu_moe {p.n_cpu_moe}", *split, *words]
    elif p.repack:
        words.append("repacked experts")
    return ", ".join(words)


def memory_table(rows: Sequence[DeviceMemory], *, bars: bool) -> Table:
    """What each device and the host hold, and how full that makes them."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(("memory", "model", "context", "compute", "other", "total", "free")):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    table.add_column("full", no_wrap=True)
    for row in rows:
        parts = (row.model_bytes, row.context_bytes, row.compute_bytes, row.overhead_bytes)
        total = row.used_bytes - row.streamed_bytes + row.shared_bytes
        used = total / row.free_bytes if row.free_bytes > 0 else 1.0
        table.add_row(row.name, *(format_bytes(n) for n in (*parts, row.used_bytes, row.free_bytes)), _bar(used, bars))
        for amount, words in (
            (row.mapped_bytes, "of it file-backed"),
            (row.shared_bytes, "and for devices"),
            (row.streamed_bytes, "of it streamed"),
        ):
            if amount:
                table.add_row(f"  {words}", format_bytes(amount), style="dim")
    return table


def _bar(used: float, bars: bool) -> str:  # noqa: FBT001
    percent = f"{used:>4.0%}"
    if not bars:
        return percent
    filled = min(_BAR_CELLS, round(used * _BAR_CELLS))
    return f"{'█' * filled}{'░' * (_BAR_CELLS - filled)} {percent}"


def _speed_table(plan: Plan) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tok/s at depth")
    for speed in plan.throughput:
        table.add_column(str(speed.n_depth), justify="right", no_wrap=True)
    table.add_row("decode", *("-" if s.tg_ts is None else speed_text(s.tg_ts) for s in plan.throughput))
    table.add_row("prompt", *("-" if s.pp_ts is None else speed_text(s.pp_ts) for s in plan.throughput))
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
        tg_ts = speed_text(c.tg_ts) if c.tg_ts else ""
        mark = "→" if c.reason == "chosen" else "●" if c.on_disk else ""
        style = "green" if c.reason == "chosen" else None if c.fits else "dim"
        table.add_row(mark, c.name, format_bytes(c.size_bytes), f"{c.dense_bpw:.1f}", fits, tg_ts, c.reason, style=style)
    return table
