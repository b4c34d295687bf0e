"""The tables of scripts/gpu_check.py: what was measured, with the planner's error beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu_stages.kept import RESULTS, Kept
from gpu_stages.records import MemoryRow, Record, ServeRow, SpeedRow
from gpu_stages.report import tables

from launcher.bench.types import BenchTest
from launcher.engines.oracle import OracleRow
from launcher.planner.table import memory_table
from launcher.units import MIB
from tests.builders import gpu, machine
from tests.planner.builders import SPEC_20B, gpu_params, weights_of
from tests.scripts.gpu import MACHINE, FakeDriver, asked, loads_of


def memory_row() -> MemoryRow:
    params = gpu_params(25, n_ctx=4096, load_mode="mmap")
    table = memory_table(machine(devices=[gpu()]), SPEC_20B, weights_of("gpt-oss-20b"), params)
    driver = FakeDriver()
    row = loads_of(driver).measure(replace(asked(4096), planned=table))
    used = table[0].used_bytes
    held = replace(
        row.devices[0], before_bytes=0, loaded_bytes=0, opened_bytes=0, ran_bytes=used - 100 * MIB, freed_bytes=0
    )
    own = OracleRow(device="CUDA0", model_bytes=used - 300 * MIB, context_bytes=0, compute_bytes=0)
    return replace(row, devices=(held,), allocated=(own,))


def record(**rows: Any) -> Record:
    nothing: dict[str, Any] = {"build": None, "unfinished": ()}
    nothing |= dict.fromkeys(("files", "memory", "speed", "offload", "serve"), ())
    return Record(machine=MACHINE, **nothing | rows)


def test_the_table_of_memory_has_planned_less_measured() -> None:
    row = memory_row()
    short = replace(row, devices=(replace(row.devices[0], ran_bytes=row.planned[0].used_bytes + 64 * MIB),))
    refused = replace(row, refused="no memory", devices=())
    text = tables(record(memory=(row, short, refused)))
    planned, besides = row.planned[0].used_bytes / MIB, row.planned[0].overhead_bytes / MIB
    head = "| 20b, ngl 25, c 4096, ub 512, f16/f16 |"
    assert f"{head} CUDA0 | {planned:.0f} | {planned - 100:.0f} | {besides:.0f} | 200 | +100 | +" in text
    assert f"{head} CUDA0 | {planned:.0f} | {planned + 64:.0f} | {besides:.0f} | 364 | -64 | -0." in text
    assert f"{head} refused: no memory |" in text
    assert "Of 2: 1 planned too small, by 64 MiB at most; 100 MiB too large at most." in text


def test_the_tables_of_speed_have_the_error_of_the_prediction() -> None:
    row = SpeedRow(
        file="20b", params=gpu_params(25, 6), test=BenchTest(n_gen=64, n_depth=4096), samples_ts=(190.0, 200.0, 210.0),
        predicted_ts=230.0, basis="a table",
    )  # fmt: skip
    unknown = replace(row, predicted_ts=None)
    refused = replace(row, samples_ts=(), refused="died")
    text = tables(record(speed=(row, unknown), offload=(refused,)))
    head = "| 20b | ngl 25, ncmoe 6, ub 512 | tg64 @ d4096 |"
    assert f"{head} 200 | 10% | 230 | +15% |" in text
    assert f"{head} 200 | 10% |  |  |" in text
    assert f"{head} refused: died |" in text
    assert "Errors of 1 predictions: 15% in the middle, 15% at worst." in text


def test_a_row_of_streams_is_a_record(tmp_path: Path) -> None:
    kept = Kept(tmp_path / RESULTS)
    row = ServeRow(
        file="20b", n_streams=2, n_prompt=1, n_gen=1, output_ts=(1.0,), ttft_ms=1, itl_p50_ms=1, itl_p90_ms=1,
        itl_p99_ms=1,
    )  # fmt: skip
    kept.add("serve", "a", row)
    assert Kept(tmp_path / RESULTS).get("serve", "a", ServeRow) == row
