"""All rows as one record, and its tables: what was measured, with the planner's error beside it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import median

from gpu_stages.kept import Kept
from gpu_stages.lab import MACHINE, LabError
from gpu_stages.records import (
    STAGES,
    BuildRow,
    FileRow,
    MachineRow,
    MemoryRow,
    Record,
    ServeRow,
    SpeedRow,
    StageRow,
)
from launcher.planner.types import LoadParams
from launcher.units import MIB

STAGE = "stage"
_TELLING_BYTES = 16 * MIB
"""Less is no measure for a part in percent."""


def record_of(kept: Kept) -> Record:
    """What is kept, as one record. Raises LabError where nothing was measured."""
    machine = kept.get(MACHINE, MACHINE, MachineRow)
    if machine is None:
        raise LabError("nothing was measured yet: run the stage memory, for one")
    builds = kept.rows("build", BuildRow)
    return Record(
        machine=machine,
        build=builds[-1] if builds else None,
        files=kept.rows("files", FileRow),
        memory=kept.rows("memory", MemoryRow),
        speed=kept.rows("speed", SpeedRow),
        offload=kept.rows("offload", SpeedRow),
        serve=kept.rows("serve", ServeRow),
        unfinished=tuple(_unfinished(kept)),
    )


def _unfinished(kept: Kept) -> Iterable[str]:
    for stage in STAGES:
        row = kept.get(STAGE, stage, StageRow)
        if row is None:
            yield f"{stage} never ended."
        elif row.why is not None:
            yield f"{stage}: {row.why}."
        elif row.n_left:
            yield f"{stage}: its time had no room for {row.n_left} cases."


def folder_name(machine: MachineRow) -> str:
    """A GPU's name as a folder: `nvidia-h100-80gb-hbm3`."""
    gpus = machine.gpus
    text = gpus[0].description if gpus else "no-gpu"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def tables(record: Record) -> str:
    """Markdown."""
    machine = record.machine
    gpus = ", ".join(gpu.description for gpu in machine.gpus) or "no GPU"
    lines = [f"# {gpus}", ""]
    if machine.rehearsal:
        lines += ["**A rehearsal: loopback servers stood for devices. It says nothing of GPUs.**", ""]
    lines += [
        (
            f"{machine.date}; {machine.cpu}, {machine.n_threads} threads; driver {machine.driver or 'none'}; "
            f"llama.cpp {machine.llama_cpp_commit} by llama-cpp-python {machine.engine_version} "
            f"({', '.join(machine.backends)}); gpt-oss-launcher {machine.launcher_version}."
        ),
        "",
    ]
    if record.build is not None:
        build = record.build
        lines += [
            (
                f"Engine {build.name}: {_mib(build.n_bytes)} MiB, made in {build.took_s:.0f} s; self-test: "
                f"{build.self_test or 'not made'}."
            ),
            "",
        ]
    if record.unfinished:
        lines += [*(f"- {sentence}" for sentence in record.unfinished), ""]
    lines += _memory(record.memory)
    lines += _speeds("Speed over depth", record.speed)
    lines += _speeds("Experts on the host", record.offload)
    lines += _serve(record.serve)
    return "\n".join(lines).rstrip() + "\n"


def _memory(rows: Sequence[MemoryRow]) -> list[str]:
    if not rows:
        return []
    table = [
        "## Memory, in MiB",
        "",
        (
            "`besides` is what the driver counts beyond llama.cpp's own buffers; the last two columns are planned less "
            "measured."
        ),
        "",
        "| placement | device | planned | measured | besides: planned | measured | off | part |",
        "|---|---|---|---|---|---|---|---|",
    ]
    offs = []
    for row in rows:
        if row.refused is not None:
            table.append(f"| {_placement(row)} | refused: {row.refused} | | | | | | |")
            continue
        for held in row.devices:
            planned = next(one for one in row.planned if one.name == held.device)
            own = next((one for one in row.allocated if one.device == held.device), None)
            buffers = 0 if own is None else own.model_bytes + own.context_bytes + own.compute_bytes
            off = planned.used_bytes - held.taken_bytes
            offs.append(off)
            cells = (
                _placement(row), held.device, _mib(planned.used_bytes), _mib(held.taken_bytes),
                _mib(planned.overhead_bytes), _mib(held.taken_bytes - buffers), f"{off / MIB:+.0f}",
                f"{off / held.taken_bytes:+.1%}" if held.taken_bytes >= _TELLING_BYTES else "",
            )  # fmt: skip
            table.append(f"| {' | '.join(cells)} |")
    if offs:
        table += [
            "",
            (
                f"Of {len(offs)}: {sum(off < 0 for off in offs)} planned too small, by {-min(0, *offs) / MIB:.0f} MiB "
                f"at most; {max(0, *offs) / MIB:.0f} MiB too large at most."
            ),
        ]
    return [*table, ""]


def _placement(row: MemoryRow) -> str:
    p = row.params
    slots = f", {p.n_parallel} slots{' unified' if p.kv_unified else ''}" if p.n_parallel > 1 else ""
    where = f"ngl {p.n_gpu_layers}" + (f", ncmoe {p.n_cpu_moe}" if p.n_cpu_moe else "")
    deep = ", full" if row.deep else ""
    return f"{row.file}, {where}, c {p.n_ctx}, ub {p.n_ubatch}, {p.type_k}/{p.type_v}{slots}{deep}"


def _speeds(title: str, rows: Sequence[SpeedRow]) -> list[str]:
    if not rows:
        return []
    table = [
        f"## {title}",
        "",
        "| file | placed | test | tok/s | spread | predicted | error |",
        "|---|---|---|---|---|---|---|",
    ]
    offs = []
    for row in rows:
        head = f"| {row.file} | {_placed(row.params)} | {row.test.name}"
        if row.refused is not None or not row.samples_ts:
            table.append(f"{head} | refused: {row.refused or 'no sample'} | | | |")
            continue
        ts = median(row.samples_ts)
        spread = (max(row.samples_ts) - min(row.samples_ts)) / ts
        error = "" if row.predicted_ts is None else f"{row.predicted_ts / ts - 1:+.0%}"
        predicted = "" if row.predicted_ts is None else f"{row.predicted_ts:.4g}"
        offs += [] if row.predicted_ts is None else [abs(row.predicted_ts / ts - 1)]
        table.append(f"{head} | {ts:.4g} | {spread:.0%} | {predicted} | {error} |")
    if offs:
        table += ["", f"Errors of {len(offs)} predictions: {median(offs):.0%} in the middle, {max(offs):.0%} at worst."]
    return [*table, ""]


def _placed(params: LoadParams) -> str:
    return f"ngl {params.n_gpu_layers}, ncmoe {params.n_cpu_moe}, ub {params.n_ubatch}"


def _serve(rows: Sequence[ServeRow]) -> list[str]:
    if not rows:
        return []
    table = [
        "## Streams",
        "",
        "| file | streams | prompt + answer | tok/s together | first token, ms | between two: p50 | p90 | p99 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    table += [
        f"| {row.file} | {row.n_streams} | {row.n_prompt} + {row.n_gen} | {median(row.output_ts):.4g} | "
        f"{row.ttft_ms:.0f} | {row.itl_p50_ms:.1f} | {row.itl_p90_ms:.1f} | {row.itl_p99_ms:.1f} |"
        for row in rows
    ]
    return [*table, ""]


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / MIB:.0f}"
