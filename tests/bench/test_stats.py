"""Statistics of samples, held against llama-bench's own output and against chance."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.bench import stats

LLAMA_BENCH = json.loads((Path(__file__).parent / "data" / "llama_bench.json").read_text())
"""Real output of `llama-bench -p 64 -n 8 -d 0,64 -r 5 -o json`."""
SAMPLES = st.lists(st.floats(min_value=0.01, max_value=1e6), min_size=1, max_size=30)


@pytest.mark.parametrize("result", LLAMA_BENCH)
def test_mean_and_stddev_are_llama_benchs(result: dict[str, float | list[int]]) -> None:
    samples_ns = result["samples_ns"]
    assert isinstance(samples_ns, list)
    n_tokens = float(str(result["n_prompt"])) + float(str(result["n_gen"]))
    samples_ts = [1e9 * n_tokens / ns for ns in samples_ns]
    assert stats.mean(samples_ts) == pytest.approx(result["avg_ts"], abs=1e-6)
    assert stats.stddev(samples_ts) == pytest.approx(result["stddev_ts"], abs=1e-5)
    # These are whole numbers there, cut down at every step, before squares are taken from one another.
    assert stats.mean(samples_ns) == pytest.approx(result["avg_ns"], abs=1)
    assert stats.stddev(samples_ns) == pytest.approx(result["stddev_ns"], rel=1e-2)


def test_few_samples_are_answered_as_llama_bench_answers() -> None:
    assert stats.mean([]) == 0
    assert stats.stddev([]) == 0
    assert stats.stddev([7.0]) == 0


def test_alike_samples_have_no_deviation_that_is_not_a_number() -> None:
    assert stats.stddev([0.1 + 1e9] * 7) == pytest.approx(0, abs=1e-6)


def test_percentiles_lie_straight_between_neighbours() -> None:
    samples = [40.0, 10.0, 30.0, 20.0]
    assert stats.median(samples) == 25
    assert stats.percentile(samples, 0) == 10
    assert stats.percentile(samples, 100) == 40
    assert stats.percentile(samples, 90) == pytest.approx(37)  # numpy.percentile([10, 20, 30, 40], 90)
    assert stats.percentile([5.0], 99) == 5
    assert stats.median([3.0, 1.0, 2.0]) == 2


@given(SAMPLES, st.floats(min_value=0, max_value=100))
def test_a_percentile_is_within_the_samples(samples: list[float], percent: float) -> None:
    found = stats.percentile(samples, percent)
    # Two products and a sum may round by a digit.
    assert min(samples) * (1 - 1e-12) <= found <= max(samples) * (1 + 1e-12)


@pytest.mark.parametrize(("samples", "percent"), [([], 50), ([1.0], -1), ([1.0], 100.5), ([1.0], math.nan)])
def test_percentiles_that_are_none_are_refused(samples: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match=r"no samples|not a percentage"):
        stats.percentile(samples, percent)


def test_noise_is_told_by_the_spread_over_the_mean() -> None:
    assert stats.coefficient_of_variation([90.0, 100.0, 110.0]) == pytest.approx(0.1)
    assert stats.is_noisy([90.0, 100.0, 110.0]) is True
    assert stats.is_noisy([99.0, 100.0, 101.0]) is False
    assert stats.is_noisy([96.0, 100.0, 104.0], bound=0.03) is True
    assert stats.is_noisy([100.0]) is None
    assert stats.coefficient_of_variation([0.0, 0.0]) is None


def test_a_median_spreads_by_what_most_samples_do() -> None:
    assert stats.median_spread([100.0, 98.0, 103.0, 10.0, 100.0]) == pytest.approx(1.4826 * 0.02)
    assert stats.median_spread([100.0, 60.0, 140.0]) == pytest.approx(1.4826 * 0.4)
    assert stats.median_spread([100.0]) is None
    assert stats.median_spread([0.0, 0.0]) is None


def test_a_summary_holds_all_of_it() -> None:
    found = stats.summarise([90.0, 100.0, 110.0])
    assert (found.n, found.mean, found.median, found.stddev) == (3, 100, 100, 10)
    assert found.p90 == pytest.approx(108)
    assert found.noisy


# Ratios


@pytest.mark.parametrize(
    ("n", "k", "coverage"),
    [(2, 1, 0.5), (5, 1, 0.9375), (6, 1, 0.96875), (8, 1, 0.9921875), (9, 2, 0.9609375), (15, 4, 0.96484375)],
)
def test_pairs_have_the_exact_interval_of_the_sign_test(n: int, k: int, coverage: float) -> None:
    a = [100.0 + i for i in range(n)]
    b = [value * (1 + (i + 1) / 100) for i, value in enumerate(a)]
    found = stats.paired_ratio(a, b)
    assert found.low == pytest.approx(1 + k / 100)
    assert found.high == pytest.approx(1 + (n + 1 - k) / 100)
    assert found.confidence == coverage
    assert found.ratio == pytest.approx(1 + (n + 1) / 200)


def test_pairs_see_through_a_machine_that_drifts() -> None:
    a = [100.0, 80.0, 60.0, 50.0, 40.0, 30.0]
    b = [value * 1.02 for value in a]
    assert stats.is_real(a, b, paired=True)
    assert not stats.is_real(a, b)


@pytest.mark.parametrize("paired", [True, False])
def test_four_samples_never_make_a_difference_real(paired: bool) -> None:
    assert not stats.is_real([100.0] * 4, [200.0] * 4, paired=paired)
    assert stats.is_real([100.0] * 5, [200.0] * 5, paired=paired)
    assert stats.is_real([200.0] * 5, [100.0] * 5, paired=paired)


def test_unequal_numbers_count_by_the_smaller() -> None:
    assert not stats.is_real([100.0] * 4, [200.0] * 20)
    assert not stats.is_real([100.0] * 20, [200.0] * 4)


@pytest.mark.parametrize("interval", [stats.unpaired_ratio([10.0], [20.0]), stats.paired_ratio([10.0], [20.0])])
def test_one_sample_has_a_ratio_and_no_interval(interval: stats.Interval) -> None:
    assert interval.ratio == 2
    assert interval.low is interval.high is interval.confidence is None
    assert not interval.excludes_one


def test_the_same_samples_give_the_same_interval() -> None:
    a, b = [100.0, 101, 99, 103, 98], [104.0, 102, 106, 99, 103]
    assert stats.unpaired_ratio(a, b) == stats.unpaired_ratio(a, b)


def test_a_bootstrap_interval_holds_what_it_says() -> None:
    found = stats.unpaired_ratio([100.0, 101, 99, 100, 100], [110.0, 111, 109, 110, 110])
    assert found.ratio == pytest.approx(1.1)
    assert found.low is not None
    assert found.high is not None
    assert 1.07 < found.low < 1.1 < found.high < 1.13
    assert (found.method, found.n_a, found.n_b, found.confidence) == ("bootstrap", 5, 5, 0.95)


def test_chance_is_seldom_called_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_N_RESAMPLES", 200)
    random = Random(7)
    runs = [[random.lognormvariate(3, 0.03) for _ in range(10)] for _ in range(200)]
    wrong = sum(stats.is_real(run[:5], run[5:]) for run in runs)
    wrong_pairs = sum(stats.is_real(run[:5], run[5:], paired=True) for run in runs)
    assert wrong <= 20  # 5 % of 200, and twice as much for luck
    assert wrong_pairs <= 25


def test_a_difference_past_the_spread_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_N_RESAMPLES", 200)
    random = Random(7)
    runs = [[random.lognormvariate(3, 0.01) for _ in range(10)] for _ in range(100)]
    assert sum(stats.is_real(run[:5], [1.05 * sample for sample in run[5:]]) for run in runs) >= 95


@pytest.mark.parametrize(
    ("a", "b"), [([], [1.0]), ([1.0], []), ([0.0], [1.0]), ([1.0], [-1.0]), ([math.nan], [1.0]), ([math.inf], [1.0])]
)
def test_samples_that_have_no_ratio_are_refused(a: list[float], b: list[float]) -> None:
    for ratio in (stats.paired_ratio, stats.unpaired_ratio):
        with pytest.raises(ValueError, match="samples"):
            ratio(a, b)


def test_pairs_are_equally_many() -> None:
    with pytest.raises(ValueError, match="3 and 2 samples are no pairs"):
        stats.paired_ratio([1.0, 1.0, 1.0], [1.0, 1.0])
