"""The planner's memory against what real GPUs showed (tests/data/gpu/), and the judging of such records itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.engines.oracle import OracleRow
from launcher.planner.types import HOST, LoadParams
from launcher.records import from_jsonable, to_jsonable
from launcher.units import MIB
from tests.planner import gpu_data
from tests.planner.builders import gpu_params
from tests.planner.gpu_data import (
    README,
    FileRow,
    Gpu,
    Grid,
    Held,
    HostHeld,
    MachineRow,
    MemoryRow,
    Record,
    memory_cases,
    paths,
    planned,
    problems,
    read,
)


def test_records_of_real_gpus() -> None:
    """Every placement that was measured, by the planner as it is now."""
    if not paths():
        pytest.skip("no GPU was measured yet: scripts/gpu_check.py makes a record for tests/data/gpu/")
    found = {path.parent.name: problems(read(path)) for path in paths()}
    assert [text for texts in found.values() for text in texts] == [], found


def test_the_bounds_are_those_of_the_readme() -> None:
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert "by no more than 1 % or 64 MiB too small" in text
    assert "3 % or 512 MiB too large" in text
    assert "the host's row by 3 % or 1 GiB" in text
    assert (gpu_data.UNDER_PART, gpu_data.UNDER_BYTES) == (0.01, 64 * MIB)
    assert (gpu_data.OVER_PART, gpu_data.OVER_BYTES) == (0.03, 512 * MIB)
    assert (gpu_data.HOST_PART, gpu_data.HOST_BYTES) == (0.03, 1024 * MIB)


FILES = tuple(
    FileRow(file=name, model=f"gpt-oss-{name}", recipe="MXFP4", n_layer=None, path="", size_bytes=0, took_s=0.0)
    for name in ("20b", "120b")
)
MACHINE = MachineRow(
    rehearsal=False,
    gpus=(Gpu(name="CUDA0", description="NVIDIA H100", backend="CUDA", total_bytes=1, compute_capability="9.0"),),
    cpu="a CPU", n_threads=16, ram_bytes=1, driver="580", launcher_version="0.1.0", engine_version="0.3.36",
    llama_cpp_commit="0c1e570", backends=("CUDA", "CPU"), date="2026-11-25",
)  # fmt: skip


def measured(file: FileRow, params: LoadParams, *, off_bytes: int = 0) -> MemoryRow:
    """A row of a GPU that takes `off_bytes` more than the planner says."""
    row = MemoryRow(
        file=file.file, params=params, backends=("CUDA",), deep=False, first=True, planned=(), stated=(),
        allocated=(), devices=(), host=None,
    )  # fmt: skip
    table = planned(row, file)
    device, host = table
    used = 500 * MIB + device.used_bytes + off_bytes
    told = tuple(
        OracleRow(
            device=one.name,
            model_bytes=one.model_bytes,
            context_bytes=one.context_bytes,
            compute_bytes=one.compute_bytes,
        )
        for one in table
    )
    held = Held(
        device="CUDA0", before_bytes=500 * MIB, loaded_bytes=used - MIB, opened_bytes=used - MIB, ran_bytes=used,
        freed_bytes=used - 2 * MIB,
    )  # fmt: skip
    resident = HostHeld(anon_bytes=host.anonymous_bytes, file_bytes=host.mapped_bytes, shmem_bytes=0)
    return replace(row, planned=table, stated=told, allocated=told, devices=(held,), host=resident)


@pytest.fixture(scope="module")
def record() -> Record:
    """As a GPU would give it that does just what the planner says."""
    grid = Grid(contexts=(4096, 32_768), ubatches=(512,))
    rows = [
        measured(file, case.params)
        for file, n_layer in zip(FILES, (24, 36), strict=True)
        for case in memory_cases(file.file, gpu_params(0, load_mode="mmap"), n_layer, grid)
    ]
    return Record(
        machine=MACHINE, build=None, files=FILES, memory=tuple(rows), speed=(), offload=(), serve=(), unfinished=()
    )


def changed(record: Record, row: MemoryRow) -> list[str]:
    """The problems with another first row."""
    return problems(replace(record, memory=(row, *record.memory[1:])))


def test_a_gpu_that_does_what_the_planner_says(record: Record) -> None:
    assert problems(from_jsonable(Record, to_jsonable(record))) == []


@pytest.mark.parametrize(
    ("off_mib", "says"),
    [(100, []), (200, ["planned 200 MiB too small"]), (-500, []), (-600, ["planned 600 MiB too large"])],
)
def test_how_far_a_device_may_be_off(record: Record, off_mib: int, says: list[str]) -> None:
    """Of 12 GB: 1 % is 120 MiB, and 3 % less than 512."""
    row = measured(FILES[0], record.memory[0].params, off_bytes=off_mib * MIB)
    found = changed(record, row)
    assert len(found) == len(says)
    assert all(word in text for word, text in zip(says, found, strict=True))


def test_a_small_placement_may_be_64_mib_short(record: Record) -> None:
    """Of 2 GB, 1 % would be 20 MiB."""
    small = next(row.params for row in record.memory if row.params.n_cpu_moe == 24)
    assert changed(record, measured(FILES[0], small, off_bytes=60 * MIB)) == []
    assert len(changed(record, measured(FILES[0], small, off_bytes=70 * MIB))) == 1


@pytest.mark.parametrize("part", ["model", "context", "compute"])
@pytest.mark.parametrize("which", ["stated", "allocated"])
def test_what_llama_cpp_says_is_held_to_the_planner_part_by_part(record: Record, part: str, which: str) -> None:
    row = record.memory[0]
    device, host = getattr(row, which)
    off = 1 if part == "context" else 200 * MIB
    other = replace(device, **{f"{part}_bytes": getattr(device, f"{part}_bytes") + off})
    change: dict[str, Any] = {which: (other, host)}
    (problem,) = changed(record, replace(row, **change))
    assert f"CUDA0: {part} is planned" in problem


def test_mapped_weights_of_the_host_are_another_count(record: Record) -> None:
    row = record.memory[0]
    device, host = row.allocated
    assert host.device == HOST
    assert changed(record, replace(row, allocated=(device, replace(host, model_bytes=0)))) == []


def test_the_host_has_a_bound_of_its_own(record: Record) -> None:
    row = record.memory[0]
    assert row.host is not None
    more = replace(row.host, shmem_bytes=900 * MIB)
    assert changed(record, replace(row, host=more)) == []
    (problem,) = changed(record, replace(row, host=replace(more, shmem_bytes=1100 * MIB)))
    assert "the host is planned -1100 MiB off" in problem


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"refused": "out of memory"}, "planned to fit, and refused: out of memory"),
        ({"devices": ()}, "nothing was measured"),
        ({"allocated": ()}, "nothing was measured"),
        ({"file": "30b"}, "no whole GPT OSS"),
    ],
)
def test_rows_that_show_nothing(record: Record, change: dict[str, Any], says: str) -> None:
    (problem,) = changed(record, replace(record.memory[0], **change))
    assert says in problem


def test_records_that_show_nothing(record: Record) -> None:
    rehearsal = replace(record, machine=replace(MACHINE, rehearsal=True))
    assert problems(rehearsal) == ["it is a rehearsal, and says nothing of GPUs"]
    few = replace(record, memory=record.memory[:12])
    assert problems(few) == [
        "12 placements of gpt-oss-20b are fewer than 16",
        "0 placements of gpt-oss-120b are fewer than 16",
    ]
    short = replace(FILES[0], n_layer=2)
    assert "20b 25/0 c4096: its file is no whole GPT OSS" in problems(replace(record, files=(short, FILES[1])))


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"schema": 2}', encoding="utf-8")
    with pytest.raises(ValueError, match="machine: missing"):
        read(path)
