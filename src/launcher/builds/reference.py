"""What the demo model predicts, as a build that computes rightly told it, and how far another one is off. Pure.

The reference ships beside the demo model; `scripts/make_selftest_reference.py` makes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REFERENCE_FILE = "selftest-reference.json"
N_TOP = 40
"""Tokens of a prediction that are kept one by one; the others are one chance together."""
N_WORST = 4
"""Positions that the mean leaves out: where two experts are nearly as good, the order of sums decides, and one position
in twenty is off by hundredths of a nat in any sound build."""
MEAN_KL = 0.002
"""Nats, the mean of all positions but the worst. Sound arithmetic came to 0.0004 at most, wrong arithmetic of a whole
operation to 0.0012 and more, most of it to over 0.01: README.md beside this file has the table."""
MAX_KL = 1.0
"""Nats at any position; sound arithmetic came to 0.16 at most."""
DRIFT = 0.03
"""Nats by which predictions may be off to the same side everywhere. What rounding does to a token's chance goes up at
one position and down at the next, a bias that is missing pushes it one way: sound arithmetic came to 0.007, none of the
experts' up-biases to 0.084, though the divergence of both is small."""
N_TRIMMED = 6
"""Positions at either end that a token's drift leaves out, as N_WORST does for the mean."""
SAMPLED_EVERY = 10
"""Tokens of the vocabulary whose drift is looked at: all of them come from the same 128 values, and say the same."""
_LEAST = 1e-10
"""The least chance of all others together that is told apart from none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Chances of the token that follows one position."""

    ids: tuple[int, ...]
    """The likeliest tokens, in order."""
    logs: tuple[float, ...]
    """Natural logarithms of their chances."""
    rest: float
    """That of all others together."""
    sampled: tuple[float, ...]
    """Natural logarithms of the chances of every tenth token of the vocabulary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferencePrompt:
    """One text and what follows some of its tokens."""

    text: str
    tokens: tuple[int, ...]
    """As the model's vocabulary splits it."""
    scored: tuple[int, ...]
    """Positions that are compared, in order."""
    predictions: tuple[Prediction, ...]
    """Of each of those."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """`selftest-reference.json` (`schema: 1`)."""

    version: str
    """llama-cpp-python's, of the build that computed it."""
    commit: str
    """llama.cpp's."""
    n_vocab: int
    prompts: tuple[ReferencePrompt, ...]
    continued: tuple[int, ...]
    """Tokens that follow the first prompt, the likeliest each time."""
    defaults: Mapping[str, float]
    """Plain fields of llama.cpp's default parameters, `llama_context_params.n_batch`: bindings that are laid out
    otherwise than the library read other values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How far the predictions of one case are off."""

    max_kl: float | None
    """None where a logit is no number."""
    mean_kl: float | None
    """Without the worst positions."""
    n_same_top: int
    """Positions with the same likeliest token."""
    n_positions: int
    drift: float | None
    """How far chances are off to the same side at all positions, in nats; None where a logit is no number."""

    @property
    def sound(self) -> bool:
        """Whether it is no more than the order of sums makes."""
        if self.max_kl is None or self.mean_kl is None or self.drift is None:
            return False
        return self.max_kl < MAX_KL and self.mean_kl < MEAN_KL and self.drift < DRIFT


def predicted(logits: Sequence[float], n_top: int = N_TOP) -> Prediction:
    """A prediction from logits."""
    logs = log_softmax(logits)
    ids = sorted(range(len(logs)), key=lambda token: -logs[token])[:n_top]
    kept = [logs[token] for token in ids]
    return Prediction(
        ids=tuple(ids),
        logs=tuple(round(log, 5) for log in kept),
        rest=round(_rest(kept), 5),
        sampled=tuple(round(log, 2) for log in logs[::SAMPLED_EVERY]),
    )


def _rest(kept: Sequence[float]) -> float:
    return math.log(max(_LEAST, 1 - math.fsum(map(math.exp, kept))))


def log_softmax(logits: Sequence[float]) -> list[float]:
    """Logarithms of the chances."""
    top = max(logits)
    total = top + math.log(math.fsum([math.exp(logit - top) for logit in logits]))
    return [logit - total for logit in logits]


def difference(predictions: Sequence[Prediction], rows: Sequence[Sequence[float]]) -> Difference:
    """Logits held against the reference's predictions of the same positions."""
    divergences = [divergence(prediction, row) for prediction, row in zip(predictions, rows, strict=True)]
    n_same = sum(
        each is not None and max(range(len(row)), key=row.__getitem__) == prediction.ids[0]
        for each, prediction, row in zip(divergences, predictions, rows, strict=True)
    )
    known = sorted(each for each in divergences if each is not None)
    whole = len(known) == len(divergences) and len(known) > max(N_WORST, 2 * N_TRIMMED)
    most = known[:-N_WORST]
    return Difference(
        max_kl=known[-1] if whole else None,
        mean_kl=math.fsum(most) / len(most) if whole else None,
        n_same_top=n_same,
        n_positions=len(divergences),
        drift=drift(predictions, rows) if whole else None,
    )


def drift(predictions: Sequence[Prediction], rows: Sequence[Sequence[float]]) -> float:
    """How far chances are off to the same side at all positions: the root mean square over tokens, in nats."""
    logs = [log_softmax(row)[::SAMPLED_EVERY] for row in rows]
    means = []
    for token in range(len(logs[0])):
        off = sorted(ours[token] - each.sampled[token] for ours, each in zip(logs, predictions, strict=True))
        kept = off[N_TRIMMED:-N_TRIMMED]
        means.append(math.fsum(kept) / len(kept))
    return math.sqrt(math.fsum(mean * mean for mean in means) / len(means))


def divergence(prediction: Prediction, logits: Sequence[float]) -> float | None:
    """Kullback-Leibler divergence in nats, of the likeliest tokens and the rest as one; None where one is no number.

    Never more than that of the whole vocabulary, since what is put together can only become more alike.
    """
    if not all(map(math.isfinite, logits)):
        return None
    logs = log_softmax(logits)
    theirs = [logs[token] for token in prediction.ids]
    pairs = [*zip(prediction.logs, theirs, strict=True), (prediction.rest, _rest(theirs))]
    # Rounding goes below by 1e-5.
    return max(0.0, math.fsum(math.exp(one) * (one - other) for one, other in pairs))
