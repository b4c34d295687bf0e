"""One table of every profile: what each machine would run, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.cli.output import report_console
from launcher.cli.plan_tables import WIDE, columns, speed_text
from launcher.planner.report import missing
from launcher.planner.types import HOST, Plan
from launcher.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from launcher.hardware.profiles import Profile

Row = tuple["Profile", "Plan | None", "str | None"]
"""A profile with its plan (or the nearest miss), and why it was refused."""
_WHOLE = 150
"""Columns from which the machines' full names have room beside the rest."""


def print_profiles(rows: Sequence[Row], *, console: Console | None = None) -> None:
    """Print the table, on stdout by default."""
    from rich.text import Text

    console = console or report_console()
    width = console.width
    named, wide = width >= _WHOLE, width >= WIDE
    table = columns(
        left=["--hardware", *(["machine"] if named else []), "runs"], right=["n_ctx", "decode"], width=width
    )
    if wide:
        table.add_column("prompt", justify="right", no_wrap=True)
    table.add_column("placement")
    if wide:
        table.add_column("left", justify="right", no_wrap=True)
    for profile, plan, refused in rows:
        names = [Text(profile.slug), *([Text(profile.name)] if named else [])]
        if plan is None or refused is not None:
            cells = ["-", "-", "-", *(["-"] if wide else []), "refused" if plan is None else missing(plan)]
            table.add_row(*names, *cells, style="dim")
            continue
        speeds = [speed_text(plan.tg_ts), *([speed_text(plan.throughput[0].pp_ts)] if wide else [])]
        runs = f"{plan.spec.id.removeprefix('gpt-oss-')} {plan.file.quant}"
        cells = [runs, str(plan.load_params.n_ctx), *speeds, placement(plan), *([left(plan)] if wide else [])]
        table.add_row(*names, *cells)
    console.print(table)
    console.print("Speeds are predicted, in tokens per second of one stream at an empty context.", style="dim")
    for profile, plan, refused in rows:
        if plan is None:
            console.print(Text(f"{profile.slug}: {refused}"), style="dim")


def placement(plan: Plan) -> str:
    """The settings that matter, in a few characters: `n_cpu_moe 24`, `2 GPUs 19:18`, `CPU`."""
    params = plan.load_params
    words = []
    if len(params.devices) > 1:
        words.append(f"{len(params.devices)} GPUs {':'.join(f'{share:g}' for share in params.tensor_split)}")
    if plan.tier == "gpu":
        return words[0] if words else "GPU"
    if plan.tier in ("cpu", "streamed"):
        return "CPU" if plan.tier == "cpu" else "streamed"
    if plan.tier == "partial":
        words.append(f"{params.n_gpu_layers} layers")
    if params.n_cpu_moe or params.n_cpu_moe_tensors:
        tensors = f"+{params.n_cpu_moe_tensors}/3" if params.n_cpu_moe_tensors else ""
        words.append(f"n_cpu_moe {params.n_cpu_moe}{tensors}")
    return ", ".join(words)


def left(plan: Plan) -> str:
    """What stays free: of the tightest device, and of the host."""
    devices = [row.left_bytes for row in plan.memory if row.name != HOST]
    host = format_bytes(plan.memory[-1].left_bytes)
    return f"{format_bytes(min(devices))} + {host}" if devices else host
