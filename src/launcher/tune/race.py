"""What paired runs say of a setting: when it is dropped, when it leads, when it is confirmed. Pure.

Speeds are compared as logarithms of ratios of runs that followed each other, so that a machine which drifts favours
nobody. Two questions are asked with different care. A race only has to find what is worth a closer look: it assumes
normal noise, whose size it learns from all pairs so far. What is kept for later plans has to be shown by fresh pairs,
whose interval assumes nothing of the noise (`bench.stats.paired_ratio`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from launcher.bench.stats import MIN_SAMPLES, Interval, median, paired_ratio
from launcher.tune.types import Ratio

MIN_PAIRS = MIN_SAMPLES
"""Fewer pairs show nothing."""
PRIOR_SD = 0.02
"""Spread of a ratio of two runs before any was seen: what an idle machine shows in tests of a second or two."""
PRIOR_N = 2
"""How many differences the prior counts for."""
DROPPED = 2.0
"""A setting is dropped once it is so many standard errors behind."""
LEADS = 0.75
"""And is worth a confirmation once so many ahead: a confirmation that fails costs time, and nothing else."""
WORTH = 0.005
"""Gains under half a per cent are nobody's to notice."""
FIRST, MOST = 6, 12
"""Pairs of a confirmation: of six alike, one in 64 has all above 1; where at most two of six are not, twelve are run,
of which the interval leaves out two on either side (one in 52)."""


@dataclass(slots=True)
class Noise:
    """How far ratios of one kind of test spread on this machine, learnt as they come."""

    squares: float = 0.0
    n: int = 0

    def learn(self, log: float) -> None:
        """A ratio of two runs of the same settings."""
        self.squares += log**2
        self.n += 1

    @property
    def sd(self) -> float:
        """Standard deviation of one ratio's logarithm, between the prior and what was seen."""
        return math.sqrt((PRIOR_N * PRIOR_SD**2 + self.squares) / (PRIOR_N + self.n))


@dataclass(slots=True)
class Runner:
    """A setting in a race."""

    logs: list[float] = field(default_factory=list)
    """Of how much faster it was than what leads, pair by pair."""

    def add(self, log: float, noise: Noise) -> None:
        """One pair more; what it tells of the noise goes there as well."""
        n = len(self.logs)
        if n:
            # The recursive sum of squares: each new difference from the mean so far is one degree of freedom.
            noise.squares += (log - self.mean) ** 2 * n / (n + 1)
            noise.n += 1
        self.logs.append(log)

    @property
    def mean(self) -> float:
        """Mean logarithm."""
        return math.fsum(self.logs) / len(self.logs)

    def error(self, noise: Noise) -> float:
        """Standard error of the mean."""
        return noise.sd / math.sqrt(len(self.logs))

    def lost(self, noise: Noise) -> bool:
        """Whether it is surely no faster."""
        return bool(self.logs) and self.mean + DROPPED * self.error(noise) < WORTH

    def leads(self, noise: Noise) -> bool:
        """Whether it is worth a confirmation."""
        return bool(self.logs) and self.mean >= WORTH and self.mean > LEADS * self.error(noise)


def best(runners: Sequence[Runner], noise: Noise) -> Runner | None:
    """The one that leads by the most; None where none leads."""
    return max((runner for runner in runners if runner.leads(noise)), key=lambda runner: runner.mean, default=None)


def settled(runners: Sequence[Runner], noise: Noise) -> bool:
    """Whether more rounds would decide nothing: one is left, and it is clearly ahead, in more than a single run."""
    if len(runners) != 1 or len(runners[0].logs) < 2:
        return False
    return runners[0].mean > 3 * runners[0].error(noise) + WORTH


def turn_log(prompt_share: float, prompt: float, decode: float) -> float:
    """Logarithm of how much faster a turn is whose prompt takes that share of its time, from those of both halves."""
    return -math.log(prompt_share * math.exp(-prompt) + (1 - prompt_share) * math.exp(-decode))


def ratio_of(logs: Sequence[float]) -> Ratio | None:
    """Median and interval of ratios; None of no pairs."""
    if not logs:
        return None
    interval = _interval(logs)
    return Ratio(ratio=interval.ratio, low=interval.low, high=interval.high)


def _interval(logs: Sequence[float]) -> Interval:
    return paired_ratio([1.0] * len(logs), [math.exp(log) for log in logs])


def is_faster(logs: Sequence[float]) -> bool:
    """Whether the pairs show it: at least `MIN_PAIRS`, the whole interval above 1, and a gain worth its while."""
    if len(logs) < MIN_PAIRS:
        return False
    interval = _interval(logs)
    return interval.is_real and (interval.low or 0.0) > 1 and median(logs) >= WORTH


def is_slower(logs: Sequence[float]) -> bool:
    """Whether the pairs show the contrary."""
    return is_faster([-log for log in logs])


def n_more(logs: Sequence[float], n_affordable: int) -> int:
    """Pairs that a confirmation still needs; 0 once it is decided.

    A stop before the end is only ever a refusal: stopping at the first moment that looks good would adopt noise.

    Args:
        logs: of the pairs so far.
        n_affordable: pairs that the budget still has room for.
    """
    n, behind = len(logs), sum(log <= 0 for log in logs)
    if n < FIRST:
        # Behind three times it will not be shown by twelve either; behind once, not by six.
        most = MOST if n + n_affordable >= MOST else FIRST
        if behind > (2 if most == MOST else 0):
            return 0
        # Five are enough where six are not to be had.
        wanted = FIRST if n + n_affordable >= FIRST else MIN_PAIRS
        return max(0, wanted - n) if n + n_affordable >= MIN_PAIRS else 0
    if n >= MOST or behind == 0 or behind > 2 or n + n_affordable < MOST:
        return 0
    return MOST - n if n >= FIRST else 0
