"""Records that scripts/gpu_check.py made on real GPUs, held against the planner as it is now."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from gpu_stages.grid import Grid, memory_cases
from gpu_stages.records import FileRow, Gpu, Held, HostHeld, MachineRow, MemoryRow, Record

from launcher.engines.oracle import OracleRow
from launcher.planner.table import memory_table
from launcher.planner.types import HOST, DeviceMemory
from launcher.planner.verify import WITHIN_BYTES, WITHIN_PART
from launcher.records import from_jsonable
from launcher.units import MIB
from tests.builders import gpu, machine
from tests.planner.builders import SPEC_20B, SPEC_120B, weights_of

__all__ = [
    "FileRow",
    "Gpu",
    "Grid",
    "Held",
    "HostHeld",
    "MachineRow",
    "MemoryRow",
    "Record",
    "memory_cases",
    "paths",
    "planned",
    "problems",
    "read",
]

FOLDER = Path(__file__).parents[1] / "data/gpu"
README = Path(__file__).parents[2] / "src/launcher/planner/README.md"
UNDER_BYTES, UNDER_PART = 64 * MIB, 0.01
"""What a device's row may be planned too small: 1 % or 64 MiB, whichever is more."""
OVER_BYTES, OVER_PART = 512 * MIB, 0.03
"""And too large: 3 % or 512 MiB."""
HOST_BYTES, HOST_PART = 1024 * MIB, 0.03
"""The host's row either way: 3 % or 1 GiB, since the driver's own libraries count."""
LEAST_PLACEMENTS = 16
"""Of each model. A record with fewer shows little."""
_SPECS = {"gpt-oss-20b": SPEC_20B, "gpt-oss-120b": SPEC_120B}


def paths() -> tuple[Path, ...]:
    """Every record that is here."""
    return tuple(sorted(FOLDER.glob("*/record.json")))


def read(path: Path) -> Record:
    """A record. Raises ValueError for what is none."""
    return from_jsonable(Record, json.loads(path.read_text(encoding="utf-8")))


def problems(record: Record) -> list[str]:
    """Everything about a record that the planner, or the record itself, gets wrong."""
    if record.machine.rehearsal:
        return ["it is a rehearsal, and says nothing of GPUs"]
    files = {file.file: file for file in record.files}
    found = []
    for model in _SPECS:
        names = {name for name, file in files.items() if file.model == model}
        n = sum(row.file in names for row in record.memory)
        if n < LEAST_PLACEMENTS:
            found.append(f"{n} placements of {model} are fewer than {LEAST_PLACEMENTS}")
    for row in record.memory:
        name = f"{row.file} {row.params.n_gpu_layers}/{row.params.n_cpu_moe} c{row.params.n_ctx}"
        found += [f"{name}: {text}" for text in _row(row, files.get(row.file))]
    return found


def _row(row: MemoryRow, file: FileRow | None) -> Iterator[str]:
    if file is None or file.model not in _SPECS or file.n_layer is not None:
        yield "its file is no whole GPT OSS"
        return
    if row.refused is not None:
        yield f"it was planned to fit, and refused: {row.refused}"
        return
    table = {one.name: one for one in planned(row, file)}
    for held in row.devices:
        yield from _device(table[held.device], held.taken_bytes)
    for rows in (row.stated, row.allocated):
        for one in rows:
            yield from _parts(table[one.device], one, last=one.device == HOST)
    if not row.devices or not row.allocated:
        yield "nothing was measured of it"
    if row.host is not None:
        off = table[HOST].used_bytes - row.host.taken_bytes
        if abs(off) > max(HOST_BYTES, HOST_PART * row.host.taken_bytes):
            yield f"the host is planned {off / MIB:+.0f} MiB off {row.host.taken_bytes / MIB:.0f}"


def planned(row: MemoryRow, file: FileRow) -> tuple[DeviceMemory, ...]:
    """The planner's table of a placement; what is free says nothing here."""
    spec, weights = _SPECS[file.model], weights_of(file.model, file.recipe)
    named = zip(row.params.devices, row.backends, strict=True)
    here = machine(devices=[replace(gpu(backend=backend), name=name) for name, backend in named])
    return memory_table(here, spec, weights, row.params)


def _device(row: DeviceMemory, taken_bytes: int) -> Iterator[str]:
    off = row.used_bytes - taken_bytes
    if -off > max(UNDER_BYTES, UNDER_PART * taken_bytes):
        yield f"{row.name} is planned {-off / MIB:.0f} MiB too small, of {taken_bytes / MIB:.0f}"
    if off > max(OVER_BYTES, OVER_PART * taken_bytes):
        yield f"{row.name} is planned {off / MIB:.0f} MiB too large, of {taken_bytes / MIB:.0f}"


def _parts(row: DeviceMemory, said: OracleRow, *, last: bool) -> Iterator[str]:
    """llama.cpp's own breakdown, within what `plan --verify` allows. It does not count mapped weights of the host."""
    for part in ("model", "context", "compute"):
        ours, theirs = getattr(row, f"{part}_bytes"), getattr(said, f"{part}_bytes")
        room = 0 if part == "context" else max(WITHIN_BYTES, int(theirs * WITHIN_PART))
        if abs(ours - theirs) > room and not (last and part == "model"):
            yield f"{row.name}: {part} is planned {(ours - theirs) / MIB:+.2f} MiB off {theirs / MIB:.2f}"
