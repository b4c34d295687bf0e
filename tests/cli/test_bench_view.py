"""Bench records as a person sees them, on wide and narrow terminals."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from launcher.bench.types import Latency, PeakMemory
from launcher.cli.bench_view import notes, per_token, print_records, speed
from tests.bench.samples import ENERGY, STEADY, record, scaled

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
    energetic = [record(scaled(123.0), **item) for item in ({**fast, **ENERGY, "engine": "llama-bench"},)]
    lines = shown(one, served, *energetic, width=width)
    text = " ".join(lines)
    assert "…" not in text
    assert ("J/tok" in text) == (width >= 60)
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


def test_a_peak_of_a_device_says_whether_it_is_the_engines_own() -> None:
    own = PeakMemory(device="CUDA0", peak_bytes=3 * 2**30, planned_bytes=4 * 2**30)
    grown = PeakMemory(device="ROCm0", peak_bytes=2**30, planned_bytes=2**31, whole_device=True)
    lines = notes([record(memory=(own,)), record(memory=(grown,), n_gen=8)])
    assert "peak CUDA0, embedded: 3.0 GiB, planned 4.0 GiB with the whole context" in lines
    assert "peak ROCm0, embedded: 1.0 GiB more than before it came, planned 2.0 GiB with the whole context" in lines


@pytest.mark.parametrize("width", [60, 80, 90, 120])
def test_energy_has_a_column_where_it_is_known(width: int) -> None:
    one, unknown = record(STEADY, stddev_ts=0.79, **ENERGY), record(STEADY, n_prompt=64, n_gen=0)
    lines = shown(one, unknown, width=width)
    assert lines[0].split()[-1] == "J/tok"
    assert ("sd" in lines[0].split()) == (width >= 90)
    assert lines[2].split()[-1] == "1.50"
    assert lines[3].split()[-1] == "100", "nothing in its place"
    text = " ".join(lines)
    assert "energy of package-0, CUDA0 while the clock ran, idle power included; none of tests" in text
    assert "J/tok" not in " ".join(shown(record(STEADY), width=width))
    assert not any("energy" in line for line in notes([record(STEADY)]))


@pytest.mark.parametrize("width", [60, 100, 110])
def test_streams_have_energy_too(width: int) -> None:
    wait = Latency(ttft_ms=12.34, itl_p50_ms=1.5, itl_p90_ms=2.5, itl_p99_ms=9.75, output_ts=41.0)
    lines = shown(record(STEADY, engine="server", n_streams=4, latency=wait, **ENERGY), width=width)
    assert (lines[0].split()[-1], lines[2].split()[-1]) == ("J/tok", "1.50")
    assert ("p90" in lines[0]) == (width >= 110)


def test_joules_have_three_digits() -> None:
    assert [per_token(joules) for joules in (0.03501, 0.8714, 1.499, 31.25, 310.4, None)] == [
        *("0.0350", "0.871", "1.50", "31.2", "310", ""),
    ]
