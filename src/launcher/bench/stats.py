"""What samples say, and whether two sets of them differ. Pure, and the same answer every time.

Means and deviations are llama-bench's (tools/llama-bench/llama-bench.cpp, `avg` and `stdev`), so that a table of ours
and one of its own agree to the last digit. Ratios come as intervals, because two means always differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

NOISY_CV = 0.05
"""Spread over mean past which samples are called noisy: the differences that people look for are smaller than that."""
CONFIDENCE = 0.95
"""What an interval of a ratio aims at."""
MIN_SAMPLES = 5
"""Fewer samples on a side never show that a difference is real: of four pairs that are alike, one run in eight has all
on one side."""

_NORMAL_MAD = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""
_N_RESAMPLES = 2000
_SEED = 20_080_901


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Samples in numbers. None is what so few samples do not tell."""

    n: int
    mean: float
    stddev: float
    """Sample deviation (n - 1); 0 of a single sample, as llama-bench has it."""
    median: float
    """The 50th percentile."""
    p90: float
    p99: float
    cv: float | None
    """Coefficient of variation, stddev over mean; None of fewer than two samples or a mean of 0."""
    noisy: bool | None
    """Whether `cv` is past `NOISY_CV`; None where it is unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Where the ratio b / a lies. `low` and `high` are None where the samples are too few for any bound."""

    ratio: float
    """Of pairs the median of their ratios, else the ratio of the medians."""
    low: float | None
    high: float | None
    confidence: float | None
    """How often such an interval holds the true ratio: exact of pairs, what was aimed at of a bootstrap."""
    method: Literal["pairs", "bootstrap"]
    n_a: int
    n_b: int

    @property
    def excludes_one(self) -> bool:
        """Whether all of it lies on one side of 1."""
        return self.low is not None and self.high is not None and (self.low > 1 or self.high < 1)

    @property
    def is_real(self) -> bool:
        """Whether a difference is shown: enough samples on both sides, and 1 is not in it."""
        return min(self.n_a, self.n_b) >= MIN_SAMPLES and self.excludes_one


def mean(samples: Sequence[float]) -> float:
    """llama-bench's `avg`: 0 of no samples."""
    return math.fsum(samples) / len(samples) if samples else 0.0


def stddev(samples: Sequence[float]) -> float:
    """llama-bench's `stdev`, over n - 1: 0 of fewer than two samples.

    The squares are summed around the mean. llama-bench's difference of two large numbers is the same value, but loses
    digits, and below zero its root is not a number.
    """
    if len(samples) < 2:
        return 0.0
    middle = mean(samples)
    return math.sqrt(math.fsum((sample - middle) ** 2 for sample in samples) / (len(samples) - 1))


def median(samples: Sequence[float]) -> float:
    """The middle sample, or the mean of the two in the middle.

    Raises:
        ValueError: there are no samples.
    """
    return percentile(samples, 50)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The value that `percent` of the samples do not pass, straight between the two nearest (numpy's default, type 7).

    Raises:
        ValueError: there are no samples, or `percent` is not within 0 to 100.
    """
    if not samples:
        raise ValueError("no samples")
    if not 0 <= percent <= 100:
        raise ValueError(f"not a percentage: {percent}")
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    share = place - below
    if share == 0:
        return float(ordered[below])
    # Not a + (b - a) * share: rounding could carry that past b.
    return ordered[below] * (1 - share) + ordered[below + 1] * share


def coefficient_of_variation(samples: Sequence[float]) -> float | None:
    """Stddev over mean; None of fewer than two samples, or of a mean that is 0."""
    middle = mean(samples)
    return stddev(samples) / abs(middle) if len(samples) >= 2 and middle else None


def median_spread(samples: Sequence[float]) -> float | None:
    """How far the samples lie from their median, over it: the median distance, scaled to a normal's deviation.

    A few disturbed samples of a steady test change it little, as they do the median itself. None of fewer than two
    samples, or of a median that is 0.
    """
    if len(samples) < 2 or not (middle := median(samples)):
        return None
    return _NORMAL_MAD * median([abs(sample - middle) for sample in samples]) / abs(middle)


def is_noisy(samples: Sequence[float], bound: float = NOISY_CV) -> bool | None:
    """Whether the samples spread too far to compare by their mean; None where they are too few to tell."""
    spread = coefficient_of_variation(samples)
    return None if spread is None else spread > bound


def summarise(samples: Sequence[float]) -> Summary:
    """All of it at once.

    Raises:
        ValueError: there are no samples.
    """
    return Summary(
        n=len(samples),
        mean=mean(samples),
        stddev=stddev(samples),
        median=median(samples),
        p90=percentile(samples, 90),
        p99=percentile(samples, 99),
        cv=coefficient_of_variation(samples),
        noisy=is_noisy(samples),
    )


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> Interval:
    """The median of b[i] / a[i] with its exact interval, of samples that were taken in turn.

    The interval runs between two of the ratios in order: the true median lies outside the k-th from either end with
    the chance that of n fair coins fewer than k fall on one side, whatever the ratios are distributed like. k is the
    largest that keeps `CONFIDENCE`; of five pairs none does, and the smallest to the largest ratio hold 93.75 %.

    Raises:
        ValueError: the two are not equally long, or hold none, or a sample is not above 0.
    """
    _check(a, b)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} samples are no pairs")
    ratios = sorted(second / first for first, second in zip(a, b, strict=True))
    n, middle = len(ratios), median(ratios)
    if n < 2:
        return Interval(ratio=middle, low=None, high=None, confidence=None, method="pairs", n_a=n, n_b=n)
    k = 1
    while 2 * (k + 1) <= n and _coverage(n, k + 1) >= CONFIDENCE:
        k += 1
    return Interval(
        ratio=middle, low=ratios[k - 1], high=ratios[n - k], confidence=_coverage(n, k), method="pairs", n_a=n, n_b=n
    )


def unpaired_ratio(a: Sequence[float], b: Sequence[float]) -> Interval:
    """The ratio of the medians, b over a, with the interval that resampling each side gives.

    The bootstrap is the percentile one, from a seed that never changes: the same samples, the same interval.

    Raises:
        ValueError: one of them holds none, or a sample is not above 0.
    """
    _check(a, b)
    ratio = median(b) / median(a)
    if min(len(a), len(b)) < 2:
        return Interval(ratio=ratio, low=None, high=None, confidence=None, method="bootstrap", n_a=len(a), n_b=len(b))
    random = Random(_SEED)  # noqa: S311  # nothing here is secret
    ratios = [median(random.choices(b, k=len(b))) / median(random.choices(a, k=len(a))) for _ in range(_N_RESAMPLES)]
    outside = (1 - CONFIDENCE) / 2 * 100
    return Interval(
        ratio=ratio,
        low=percentile(ratios, outside),
        high=percentile(ratios, 100 - outside),
        confidence=CONFIDENCE,
        method="bootstrap",
        n_a=len(a),
        n_b=len(b),
    )


def is_real(a: Sequence[float], b: Sequence[float], *, paired: bool = False) -> bool:
    """Whether b differs from a by more than chance: the interval of their ratio excludes 1.

    Never of fewer than `MIN_SAMPLES` on a side.

    Raises:
        ValueError: as the interval does.
    """
    return (paired_ratio(a, b) if paired else unpaired_ratio(a, b)).is_real


def _coverage(n: int, k: int) -> float:
    """The chance that the median lies between the k-th smallest and the k-th largest of n."""
    return 1 - 2 * sum(math.comb(n, i) for i in range(k)) / (1 << n)


def _check(a: Sequence[float], b: Sequence[float]) -> None:
    if not a or not b:
        raise ValueError("no samples")
    if not all(math.isfinite(sample) and sample > 0 for sample in (*a, *b)):
        raise ValueError("a ratio needs samples above 0")
