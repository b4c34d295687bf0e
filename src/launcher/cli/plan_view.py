"""A plan for a person: the choice, memory by device, speeds by depth, the candidates, the reasons, the command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from launcher.cli.output import report_console, say
from launcher.cli.plan_tables import candidate_table, memory_table, speed_table, speed_text, worth_showing
from launcher.hardware.types import ENVIRONMENT
from launcher.planner.engine_choice import engine_words, left_out_notes
from launcher.planner.placement import N_BATCH
from launcher.planner.tuned import any_change
from launcher.planner.types import LoadParams, Plan
from launcher.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_LEFT_OUT_SHOWN = 2  # builds that cannot be taken, each with its reason, before a chat begins


def headline(plan: Plan) -> str:
    """One line: `gpt-oss-20b MXFP4 (11.3 GiB), CPU with 2 threads, context 131072, about 14 tok/s`."""
    size = format_bytes(next((c.size_bytes for c in plan.candidates if c.reason == "chosen"), plan.file.size_bytes))
    speed = f", about {speed_text(plan.tg_ts)} tok/s" if plan.tg_ts else ""
    won = plan.tuned if plan.tuned is not None and any_change(plan.tuned.changes) else None
    tuned = "" if won is None else f", tuned for {won.purpose} on {won.date}"
    build = plan.hardware.engine.name
    engine = "" if build == ENVIRONMENT else f", engine {build}"
    context = f"context {plan.load_params.n_ctx}"
    return f"{plan.spec.id} {plan.file.quant} ({size}), {where(plan)}, {context}{speed}{tuned}{engine}"


def tell_plan(plan: Plan) -> None:
    """Say on stderr what is about to be loaded, and what could not be taken."""
    say(headline(plan))
    tell_left_out(plan)


def tell_left_out(plan: Plan) -> None:
    """Say on stderr which builds of llama.cpp could not be taken."""
    notes = left_out_notes(plan.hardware)
    shown = notes if len(notes) <= _LEFT_OUT_SHOWN else notes[:1]
    for note in shown:
        say(note)
    if len(notes) > len(shown):
        say(f"{len(notes) - len(shown)} more engines are left out; gpt-oss plan says which, and why")


def where(plan: Plan) -> str:
    """The placement in a few words."""
    params = plan.load_params
    n_gpus = len(params.devices)
    gpus = "the GPU" if n_gpus == 1 else f"{n_gpus} GPUs"
    if plan.tier == "gpu":
        return f"all on {gpus}"
    if plan.tier == "gpu+cpu-experts":
        n_moe = params.n_cpu_moe + (params.n_cpu_moe_tensors > 0)
        return f"on {gpus}, experts of {n_moe} of {plan.spec.n_layer} layers in RAM"
    if plan.tier == "partial":
        return f"{params.n_gpu_layers} of {plan.spec.n_layer + 1} layers on {gpus}"
    return "streamed from disk" if plan.tier == "streamed" else f"CPU with {_threads(params.n_threads)}"


def _threads(n: int) -> str:
    return f"{n} thread{'' if n == 1 else 's'}"


def print_plan(plan: Plan, argv: Sequence[str], *, machine: str | None = None, console: Console | None = None) -> None:
    """Print the whole plan on stdout.

    Args:
        plan: what was planned.
        argv: the llama-server command that stands for it.
        machine: the other machine's name, where it is for one.
        console: where to print; stdout by default.
    """
    from rich.text import Text

    console = console or report_console()
    width = console.width
    label = "Plan: " if machine is None else f"Plan for {machine}: "
    console.print(Text.assemble((label, "bold"), (headline(plan), "bold green")))
    console.print(_facts(plan))
    console.print()
    console.print(memory_table(plan.memory, width=width))
    if plan.tg_ts is not None:
        console.print()
        console.print(speed_table(plan.throughput, width=width))
        console.print(Text(f"predicted from: {plan.throughput[0].basis}"), style="dim")
    if len(plan.candidates) > 1:
        console.print()
        console.print(candidate_table(plan.candidates, width=width))
        left_out = len(plan.candidates) - len(worth_showing(plan.candidates))
        if left_out > 0:
            console.print(f"and {left_out} more: gpt-oss plan --json", style="dim")
    if plan.notes:
        console.print()
    for note in plan.notes:
        console.print(Text(f"• {note}"))
    console.print()
    console.print("The same with llama.cpp's own server:", style="bold")
    console.print(Text(shlex.join(argv)), soft_wrap=True)  # the terminal wraps it: it is copied as one line


def _facts(plan: Plan) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_row("  file", Text(f"{plan.file.name}{_where_from(plan)}", overflow="fold"))
    grid.add_row("  load", Text(", ".join(_load_words(plan))))
    if plan.engines or plan.hardware.engine.name != ENVIRONMENT:
        grid.add_row("  engine", Text(engine_words(plan.hardware.engine)))
    return grid


def _where_from(plan: Plan) -> str:
    file = plan.file
    if file.local_path is None:
        return ", to be downloaded"
    how = f"used in place from {file.found_in}" if file.found_in else "on this disk"
    if file.repo is None:
        return f", {how}" if file.found_in else ""
    return f", {how}: {file.local_path}"


def _load_words(plan: Plan) -> list[str]:
    p = plan.load_params
    words = [f"n_ctx {p.n_ctx}", f"n_ubatch {p.n_ubatch}", f"type_k {p.type_k}", f"type_v {p.type_v}"]
    words += [f"load_mode {p.load_mode}", f"n_threads {p.n_threads}", *_unusual_words(p)]
    if p.n_parallel > 1:
        words.append(f"n_parallel {p.n_parallel} ({'one context' if p.kv_unified else 'a part each'})")
    if p.devices:
        split = [f"tensor_split {','.join(f'{share:g}' for share in p.tensor_split)}"] if p.tensor_split else []
        return ["+".join(p.devices), f"n_gpu_layers {p.n_gpu_layers}", f"n_cpu_moe {p.n_cpu_moe}", *split, *words]
    return [*words, "repacked experts"] if p.repack else words


def _unusual_words(p: LoadParams) -> Iterator[str]:
    """What only tuned settings have otherwise than every plan."""
    if p.n_threads_batch != p.n_threads:
        yield f"n_threads_batch {p.n_threads_batch}"
    if p.n_batch != min(max(N_BATCH, p.n_ubatch), p.n_ctx):
        yield f"n_batch {p.n_batch}"
    if not p.flash_attn:
        yield "flash_attn off"
    if not p.op_offload:
        yield "op_offload off"
