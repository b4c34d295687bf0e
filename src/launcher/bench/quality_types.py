"""What a quality check reads, and what it found: two settings of one model, position by position."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from launcher.planner.types import LoadParams

SCHEMA: Final = 1

Basis = Literal["same arithmetic", "other precision"]
"""`same arithmetic`: file, cache types and devices are the same, so that little more than the order of sums differs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A question with its answer, as a chat has them; without a question plain text."""

    question: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The text of a check, and how much of it is read how."""

    passages: tuple[Passage, ...]
    n_tokens: int = 1024
    """At most so many; of a longer text every passage is cut by the same share. With windows there is no limit."""
    n_decode: int = 64
    """Of these, the last ones are decoded one by one, as an answer is: engines have other kernels for that."""
    n_window: int | None = None
    """Windows of so many tokens, the second half of each compared, as llama-perplexity does it; None: one window."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """How the two settings predict the token after one position. None where a logit was no number."""

    kld: float | None
    """Kullback-Leibler divergence of the candidate from the reference, nats."""
    top_margin: float | None
    """By how much the reference holds its likeliest token for likelier than the candidate's, nats; 0 for the same."""
    reference_nll: float | None
    """Minus log of the probability that the reference gave to the token that does follow, nats."""
    candidate_nll: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityBounds:
    """Up to where a candidate passes. Where they come from is in this room's README."""

    basis: Basis
    mean_kld: float
    """Nats, at most."""
    p99_kld: float
    """Nats, at most: what a mean over all positions hides."""
    clear_flips: float
    """At most, as a share. Which of several equals is the likeliest any reordered sum decides: that breaks nothing."""
    ln_ppl_ratio: float
    """At most; what a check of so few positions cannot tell from it passes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One side of a comparison."""

    model: Path
    load_params: LoadParams


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityReport:
    """How far a candidate's predictions are from the reference's. Divergences in nats; None where none is a number."""

    reference: Setting
    candidate: Setting
    bounds: QualityBounds
    n_tokens: int
    """Positions that were compared."""
    n_nan: int
    """Positions where a logit of either was no number; the figures are of the others."""
    mean_kld: float | None
    mean_kld_error: float | None
    """Standard error of the mean."""
    median_kld: float | None
    p99_kld: float | None
    max_kld: float | None
    top1_agreement: float | None
    """Share of the positions where both hold the same token for the likeliest."""
    top1_low: float | None
    """Its interval of 95 % (Wilson's)."""
    top1_high: float | None
    clear_flips: float | None
    """Share of the positions where the reference holds the candidate's likeliest token for less than half as likely as
    its own."""
    reference_ppl: float | None
    """Perplexity: e to the mean of what the text surprised it, in nats."""
    candidate_ppl: float | None
    ln_ppl_ratio: float | None
    """Log of the candidate's perplexity over the reference's, above 0 where it predicts the text worse."""
    ln_ppl_ratio_error: float | None
    """Its standard error, the two being paired."""
    past: tuple[str, ...]
    """Fields of `bounds` that the candidate is past; `n_nan` where a logit is no number."""
    failures: tuple[str, ...]
    """The same in one clause each."""
    passes: bool
    schema: Literal[1] = SCHEMA
