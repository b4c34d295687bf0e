"""From compared positions to a report, and what passes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from launcher.bench.quality_types import Position, QualityBounds, QualityReport, Setting
from launcher.bench.stats import mean, median, percentile, stddev

SAME_ARITHMETIC = QualityBounds(
    basis="same arithmetic", mean_kld=0.02, p99_kld=0.25, clear_flips=0.02, ln_ppl_ratio=0.03
)
OTHER_PRECISION = QualityBounds(
    basis="other precision", mean_kld=0.05, p99_kld=0.5, clear_flips=0.04, ln_ppl_ratio=0.05
)
_Z = 1.959964
"""Of a normal distribution, 95 % lie within so many deviations."""
_CLEAR = math.log(2)
_LARGEST_LN = 700.0
"""Past this e to it is no float any more."""


def bounds_for(reference: Setting, candidate: Setting) -> QualityBounds:
    """Close bounds where nothing but the order of sums differs; else those of a good quantization."""

    def precision(side: Setting) -> tuple[object, ...]:
        params = side.load_params
        return side.model, params.type_k, params.type_v, params.devices

    return SAME_ARITHMETIC if precision(candidate) == precision(reference) else OTHER_PRECISION


def report_of(
    positions: Sequence[Position], reference: Setting, candidate: Setting, bounds: QualityBounds
) -> QualityReport:
    """The figures, and whether they hold the bounds.

    Raises:
        ValueError: there are no positions.
    """
    if not positions:
        raise ValueError("no positions")
    klds = [position.kld for position in positions if position.kld is not None]
    pairs = [
        (position.reference_nll, position.candidate_nll)
        for position in positions
        if position.reference_nll is not None and position.candidate_nll is not None
    ]
    ratios = [theirs - ours for ours, theirs in pairs]
    n = len(klds)
    margins = [position.top_margin for position in positions if position.top_margin is not None]
    n_same = sum(margin == 0 for margin in margins)
    flips = sum(margin > _CLEAR for margin in margins) / n if n else None
    low, high = wilson(n_same, n) if n else (None, None)
    failures = _failures(klds, flips, ratios, len(positions) - n, bounds)
    return QualityReport(
        reference=reference,
        candidate=candidate,
        bounds=bounds,
        n_tokens=len(positions),
        n_nan=len(positions) - n,
        mean_kld=mean(klds) if n else None,
        mean_kld_error=_error(klds),
        median_kld=median(klds) if n else None,
        p99_kld=percentile(klds, 99) if n else None,
        max_kld=max(klds) if n else None,
        top1_agreement=n_same / n if n else None,
        top1_low=low,
        top1_high=high,
        clear_flips=flips,
        reference_ppl=_ppl([ours for ours, _ in pairs]),
        candidate_ppl=_ppl([theirs for _, theirs in pairs]),
        ln_ppl_ratio=mean(ratios) if ratios else None,
        ln_ppl_ratio_error=_error(ratios),
        past=tuple(failures),
        failures=tuple(failures.values()),
        passes=not failures,
    )


def wilson(n_hits: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a share, 95 %: unlike the plain one it is right near 1, where good settings are."""
    share = n_hits / n
    shift = _Z * _Z / n
    middle = share + shift / 2
    half = _Z * math.sqrt(share * (1 - share) / n + shift / (4 * n))
    return max(0.0, (middle - half) / (1 + shift)), min(1.0, (middle + half) / (1 + shift))


def _failures(
    klds: Sequence[float], flips: float | None, ratios: Sequence[float], n_nan: int, bounds: QualityBounds
) -> dict[str, str]:
    """What is said of each bound that is not held."""
    found = {}
    if n_nan:
        found["n_nan"] = f"at {n_nan} positions a logit is no number"
    if not klds or flips is None:
        return found
    middle, high = mean(klds), percentile(klds, 99)
    if middle > bounds.mean_kld:
        found["mean_kld"] = f"the mean divergence is {middle:.3g} nats, over {bounds.mean_kld:g}"
    if high > bounds.p99_kld:
        found["p99_kld"] = (
            f"of every hundred positions one diverges by {high:.3g} nats or more, over {bounds.p99_kld:g}"
        )
    if flips > bounds.clear_flips:
        found["clear_flips"] = (
            f"another token is clearly the likeliest at {flips:.1%} of the positions, over {bounds.clear_flips:.0%}"
        )
    shift = mean(ratios) - _Z * (_error(ratios) or 0.0)
    if shift > bounds.ln_ppl_ratio:
        found["ln_ppl_ratio"] = (
            f"the text surprises it by {mean(ratios):.3g} nats a token more, over {bounds.ln_ppl_ratio:g}"
        )
    return found


def _error(samples: Sequence[float]) -> float | None:
    return stddev(samples) / math.sqrt(len(samples)) if samples else None


def _ppl(nlls: Sequence[float]) -> float | None:
    return math.exp(min(mean(nlls), _LARGEST_LN)) if nlls else None
