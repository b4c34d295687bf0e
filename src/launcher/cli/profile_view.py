"""One table of every profile: what each machine would run, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.cli.output import report_console
from launcher.cli.plan_view import speed_text
from launcher.planner.types import HOST
from launcher.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.hardware.profiles import Profile
    from launcher.planner.types import Plan

Row = tuple["Profile", "Plan | None", "str | None"]
"""A profile with its plan (or the nearest miss), and why it was refused."""


def print_profiles(rows: Sequence[Row]) -> None:
    """Print the table on stdout."""
    from rich.table import Table

    console = report_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, right in (
        ("--hardware", False),
        ("machine", False),
        ("runs", False),
        ("placement", False),
        ("n_ctx", True),
        ("decode", True),
        ("prompt", True),
        ("left", True),
    ):
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "machine", overflow="fold")
    for profile, plan, refused in rows:
        if plan is None or refused is not None:
            table.add_row(profile.slug, profile.name, "-", refused or "", style="dim")
            continue
        first = plan.throughput[0]
        table.add_row(
            profile.slug,
            profile.name,
            f"{plan.spec.id.removeprefix('gpt-oss-')} {plan.file.quant}",
            placement(plan),
            str(plan.load_params.n_ctx),
            "-" if first.tg_ts is None else speed_text(first.tg_ts),
            "-" if first.pp_ts is None else speed_text(first.pp_ts),
            left(plan),
        )
    console.print(table)
    console.print("Speeds are predicted, in tokens per second of one stream at an empty context.", style="dim")


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
        words.append(f"n_cpu_moe {params.n_cpu_moe}" + (f"+{params.n_cpu_moe_tensors}/3" * bool(params.n_cpu_moe_tensors)))
    return ", ".join(words)


def left(plan: Plan) -> str:
    """What stays free: of the tightest device, and of the host."""
    devices = [row.left_bytes for row in plan.memory if row.name != HOST]
    host = format_bytes(plan.memory[-1].left_bytes)
    return f"{format_bytes(min(devices))} + {host}" if devices else host
