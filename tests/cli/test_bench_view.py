"""Bench records as a person sees them, on wide and narrow terminals."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from launcher.bench.types import Latency, PeakMemory
from launcher.cli.bench_view import notes, print_records, speed
from tests.bench.samples import STEADY, record, scaled

NOISY = (100.0, 60.0, 140.0, 100.0, 100.0)


def shown(*records: object, width: int = 80) -> list[str]:
    out = io.StringIO()
    print_records(records, console=Console(file=out, width=width, highlight=False))  # type: ignore[arg-type]
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_mean_spread_median_and_the_prediction_beside_them() -> None:
    lines = shown(record(STEADY, stddev_ts=0.79, predicted_ts=110.0, predicted_basis="a table"))
    assert lines[0].split() == ["test", "engine", "tok/s", "±", "sd", "median", "planned", "off", "by"]
    assert lines[2].split() == ["tg128", "embedded", "100", "0.79", "100", "110", "+10%"]
    assert lines[-1] == "planned by: a table"


def test_a_spread_that_is_too_wide_is_marked_and_explained() -> None:
    lines = shown(record(NOISY, stddev_ts=28.3))
    assert lines[2].split() == ["tg128", "embedded", "100", "28.3", "~", "100"]
    assert any("spread past 5% of the mean, 28% at worst" in line for line in lines)
    assert not any("~" in line for line in shown(record(STEADY)))


def test_the_embedded_engine_beside_the_yardstick() -> None:
    ours, theirs = record(scaled(0.98)), record(STEADY, engine="llama-bench")
    (line,) = [line for line in notes([ours, theirs]) if line.startswith("embedded / llama-bench")]
    assert line == "embedded / llama-bench, tg128: 0.980 (0.980 to 0.980)"
    (few,) = notes([record(scaled(0.98)[:2]), record(STEADY[:2], engine="llama-bench")])
    assert few.endswith("of 2 pairs: too few to tell")


def test_streams() -> None:
    wait = Latency(ttft_ms=12.34, itl_p50_ms=1.5, itl_p90_ms=2.5, itl_p99_ms=9.75, output_ts=41.0)
    served = record(STEADY, engine="server", n_prompt=64, n_gen=16, n_streams=4, latency=wait)
    assert shown(served, width=100)[2].split() == ["pp64+tg16", "4", "12.3", "1.50", "2.50", "9.75", "41.0", "100"]
    assert shown(served, width=40)[2].split() == ["pp64+tg16", "4", "12.3", "9.75"]


@pytest.mark.parametrize("width", [40, 60, 79, 80, 99, 100, 200])
def test_no_cell_is_cut(width: int) -> None:
    fast: dict[str, Any] = {"n_depth": 131_072, "stddev_ts": 1234.5, "predicted_ts": 99_999.9}
    wait = Latency(ttft_ms=12345.6, itl_p50_ms=111.55, itl_p90_ms=222.55, itl_p99_ms=9999.75, output_ts=41.0)
    one = record(scaled(123.0), engine="llama-bench", **fast)
    served = record(scaled(123.0), engine="server", n_prompt=512, n_streams=64, latency=wait, **fast)
    lines = shown(one, served, width=width)
    text = " ".join(lines)
    assert "…" not in text
    assert "llama-bench" in text
    assert all(word in text for word in ("pp512+tg128", "d131072", "9999.75"))
    assert all(len(line) <= width for line in lines)


def test_peak_of_memory_beside_the_plan() -> None:
    peak = PeakMemory(device="CPU", peak_bytes=3 * 2**30, planned_bytes=4 * 2**30)
    unknown = PeakMemory(device="CUDA0", peak_bytes=None, planned_bytes=7)
    assert "peak RAM, embedded: 3.0 GiB, planned 4.0 GiB with the whole context" in notes(
        [record(memory=(unknown, peak))]
    )


def test_speeds_have_three_digits() -> None:
    assert [speed(ts) for ts in (7.934, 61.24, 1543.2)] == ["7.93", "61.2", "1543"]
