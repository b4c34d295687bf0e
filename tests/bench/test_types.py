"""Names and numbers are llama-bench's, checked on what the real program printed."""

from __future__ import annotations

import pytest

from launcher.bench.types import BenchResult, BenchTest
from tests.bench.measured import real_rows


@pytest.mark.parametrize(
    ("test", "name"),
    [
        (BenchTest(n_prompt=512), "pp512"),
        (BenchTest(n_gen=128, n_depth=4096), "tg128 @ d4096"),
        (BenchTest(n_prompt=64, n_gen=16), "pp64+tg16"),
    ],
)
def test_a_test_is_called_as_llama_bench_calls_it(test: BenchTest, name: str) -> None:
    assert test.name == name
    assert test.n_ctx == test.n_prompt + test.n_gen + test.n_depth


@pytest.mark.parametrize("row", real_rows(), ids=lambda row: f"pp{row['n_prompt']}-tg{row['n_gen']}")
def test_mean_and_deviation_are_llama_benchs(row: dict[str, object]) -> None:
    test = BenchTest(n_prompt=int(str(row["n_prompt"])), n_gen=int(str(row["n_gen"])))
    samples = row["samples_ns"]
    assert isinstance(samples, list)
    result = BenchResult.of("llama-bench", test, samples)
    assert result.avg_ns == row["avg_ns"]
    assert result.stddev_ns == row["stddev_ns"]
    assert f"{result.avg_ts:.6f}" == f"{row['avg_ts']:.6f}"
    assert result.stddev_ts == pytest.approx(row["stddev_ts"], rel=1e-6)


def test_long_samples_keep_their_deviation() -> None:
    """Squares of ten seconds in nanoseconds do not fit 64 bits, where llama-bench's deviation goes wrong."""
    result = BenchResult.of("embedded", BenchTest(n_gen=10), [10_000_000_000, 12_000_000_000])
    assert result.stddev_ns == pytest.approx(1_414_213_562, abs=2)


def test_one_sample_has_no_deviation() -> None:
    result = BenchResult.of("embedded", BenchTest(n_gen=10), [2_000_000_000])
    assert (result.avg_ts, result.stddev_ts, result.stddev_ns) == (5.0, 0.0, 0)
