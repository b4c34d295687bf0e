"""Fit the costs of the model of speed to runs that were measured on this machine. Pure, and always the same answer.

Robust least squares on the logarithm of time, with the shipped constants as a prior: a few runs stay near them, many
are followed. The unknowns are the logarithms of each cost over its shipped value; beside them every file has an effect
of its own for prompts and for decoding, which is integrated out, so that a file which is slow by itself (its type of
quantization) moves the costs less than several files that agree. What is left of a file is its residual.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.planner.costs import LEFT_ALONE, spread
from launcher.planner.types import Calibration, FittedCost, MeasuredRun, Residual, SpeedKind, Work

RUN_SPREAD = 0.05  # of one run: what repeats on a quiet machine, and what the model's shape leaves open
FILE_SPREAD = 0.25  # between files of which the terms do not tell: types of quantization, widths
SETTINGS_SPREAD = 0.10  # of one file between settings, beyond what the terms tell
LEAST_SHARE = 0.05  # of some run's time: a term that costs less everywhere cannot be told
MOST = math.log(10)  # a factor beyond is a broken run, not a property of the machine
_ROUNDS = 40
_STEP = 0.7  # of the logarithm in a round: alternatives change places on the way
_CALMER = 10
_DONE = 1e-5


def fit(runs: Sequence[MeasuredRun], shipped: Mapping[str, float]) -> Calibration | None:
    """The costs that explain `runs` best; None where none of them can be explained by what is known.

    Args:
        runs: the oldest first.
        shipped: seconds per unit of each term (`costs.unit_costs`).
    """
    known = [run for run in runs if run.ts > 0 and run.n_tokens > 0 and (seconds_of(run.work, shipped) or 0.0) > 0]
    if not known:
        return None
    terms = _free_terms(known, shipped)
    logs = dict.fromkeys(terms, 0.0)
    for n in range(_ROUNDS):
        # Ever smaller: where two ways take the same time, whole steps would go from one to the other and back.
        change = [by / (1 + n / _CALMER) for by in _step(_Look(known, shipped, logs), terms, logs)]
        for term, by in zip(terms, change, strict=True):
            logs[term] = min(max(logs[term] + min(max(by, -_STEP), _STEP), -MOST), MOST)
        if all(abs(by) < _DONE for by in change):
            break
    look = _Look(known, shipped, logs)
    dates = {
        term: [run.date for run, row in zip(known, look.shares, strict=True) if row.get(term, 0.0) >= LEAST_SHARE]
        for term in terms
    }
    return Calibration(
        n_runs=len(known),
        last_date=max(run.date for run in known),
        costs=tuple(
            FittedCost(
                term=term, factor=math.exp(logs[term]), n_runs=len(dates[term]), last_date=max(dates[term], default="")
            )
            for term in terms
        ),
        residuals=_residuals(look),
    )


def explains(work: Work, shipped: Mapping[str, float]) -> bool:
    """Whether every term of a run has a cost, and any of it takes time."""
    costs = [cost for step in work for way in step for cost in way]
    return bool(costs) and all(term in shipped for term, _ in costs)


def seconds_of(work: Work, costs: Mapping[str, float]) -> float | None:
    """How long the work takes; None where the cost of a term is not known."""
    if not explains(work, costs):
        return None
    return sum(max(sum(costs[term] * amount for term, amount in way) for way in step) for step in work)


def shares_of(work: Work, costs: Mapping[str, float]) -> dict[str, float]:
    """Seconds by term, of the ways that count."""
    found: defaultdict[str, float] = defaultdict(float)
    for step in work:
        ways = [[(term, costs[term] * amount) for term, amount in way] for way in step]
        for term, seconds in max(ways, key=lambda way: sum(seconds for _, seconds in way)):
            found[term] += seconds
    return dict(found)


@dataclass(slots=True)
class _Group:
    """Runs of one file and kind."""

    members: list[int]
    weight: float = 0.0
    effect: float = 0.0


class _Look:
    """The runs as the costs of a round explain them."""

    def __init__(self, runs: Sequence[MeasuredRun], shipped: Mapping[str, float], logs: Mapping[str, float]) -> None:
        costs = {term: cost * math.exp(logs.get(term, 0.0)) for term, cost in shipped.items()}
        self.runs = runs
        self.shares: list[dict[str, float]] = []
        self.errors: list[float] = []
        """Logarithm of measured over explained time."""
        for run in runs:
            parts = shares_of(run.work, costs)
            total = sum(parts.values())
            self.shares.append({term: seconds / total for term, seconds in parts.items()})
            self.errors.append(math.log(run.n_tokens / run.ts / total))
        self.groups = self._grouped()
        self.weights = [1.0] * len(runs)
        for group in self.groups.values():
            self._weigh(group)

    def _grouped(self) -> dict[tuple[str, str], _Group]:
        groups: dict[tuple[str, str], _Group] = {}
        for i, run in enumerate(self.runs):
            groups.setdefault((run.recipe, run.kind), _Group(members=[])).members.append(i)
        return groups

    def _weigh(self, group: _Group) -> None:
        """Runs far from the others of their file count less (Cauchy's weights), around their median."""
        ordered = sorted(self.errors[i] for i in group.members)
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        for i in group.members:
            off = (self.errors[i] - middle) / (3 * RUN_SPREAD)
            self.weights[i] = 1 / RUN_SPREAD**2 / (1 + off * off)
        group.weight = sum(self.weights[i] for i in group.members) + 1 / FILE_SPREAD**2
        group.effect = sum(self.weights[i] * self.errors[i] for i in group.members) / group.weight


def _free_terms(runs: Sequence[MeasuredRun], shipped: Mapping[str, float]) -> list[str]:
    """Terms that the runs can tell: at most as many as there are different tests, those that take the most time."""
    total: defaultdict[str, float] = defaultdict(float)
    most: defaultdict[str, float] = defaultdict(float)
    for run in runs:
        parts = shares_of(run.work, shipped)
        whole = sum(parts.values())
        for step in run.work:
            # What a step might wait for as well: with other costs it may be what counts.
            for term in {term for way in step for term, _ in way}:
                most[term] = max(
                    most[term], sum(shipped[term] * n for way in step for t, n in way if t == term) / whole
                )
        for term, seconds in parts.items():
            total[term] += seconds / whole
    telling = [term for term in shipped if most[term] >= LEAST_SHARE and term not in LEFT_ALONE]
    n_tests = len({(run.recipe, run.settings, run.test) for run in runs})
    kept = sorted(telling, key=lambda term: -total[term])[:n_tests]
    return [term for term in telling if term in kept]


def _step(look: _Look, terms: Sequence[str], logs: Mapping[str, float]) -> list[float]:
    """One round of Gauss and Newton: the normal equations with the prior, the effects of files eliminated."""
    n = len(terms)
    matrix = [[0.0] * n for _ in range(n)]
    right = [0.0] * n
    for i, term in enumerate(terms):
        tight = 1 / spread(term) ** 2
        matrix[i][i] += tight
        right[i] -= tight * logs[term]
    for group in look.groups.values():
        pulled = [0.0] * n
        error = 0.0
        for k in group.members:
            weight, off = look.weights[k], look.errors[k]
            row = [(i, look.shares[k].get(term, 0.0)) for i, term in enumerate(terms) if term in look.shares[k]]
            error += weight * off
            for i, a in row:
                pulled[i] += weight * a
                right[i] += weight * a * off
                for j, b in row:
                    matrix[i][j] += weight * a * b
        for i in range(n):
            right[i] -= pulled[i] * error / group.weight
            for j in range(n):
                matrix[i][j] -= pulled[i] * pulled[j] / group.weight
    return _solved(matrix, right)


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """By Cholesky: the prior makes the matrix positive definite."""
    n = len(right)
    low = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(low[i][k] * low[j][k] for k in range(j))
            low[i][j] = math.sqrt(max(rest, 1e-12)) if i == j else rest / low[j][j]
    forth = [0.0] * n
    for i in range(n):
        forth[i] = (right[i] - sum(low[i][k] * forth[k] for k in range(i))) / low[i][i]
    back = [0.0] * n
    for i in reversed(range(n)):
        back[i] = (forth[i] - sum(low[k][i] * back[k] for k in range(i + 1, n))) / low[i][i]
    return back


def _residuals(look: _Look) -> tuple[Residual, ...]:
    """What is left of each file, and of each of its settings."""
    found = []
    for (recipe, _), group in look.groups.items():
        kind = look.runs[group.members[0]].kind

        def left(
            settings: str | None, effect: float, n: int, *, recipe: str = recipe, kind: SpeedKind = kind
        ) -> Residual:
            factor = math.exp(min(max(effect, -MOST), MOST))
            return Residual(recipe=recipe, settings=settings, kind=kind, factor=factor, n_runs=n)

        found.append(left(None, group.effect, len(group.members)))
        for settings in dict.fromkeys(look.runs[i].settings for i in group.members):
            members = [i for i in group.members if look.runs[i].settings == settings]
            weight = sum(look.weights[i] for i in members) + 1 / SETTINGS_SPREAD**2
            more = sum(look.weights[i] * (look.errors[i] - group.effect) for i in members) / weight
            found.append(_residual(recipe, kind, settings, group.effect + more, len(members)))
    return tuple(found)


def _residual(recipe: str, kind: SpeedKind, settings: str | None, effect: float, n_runs: int) -> Residual:
    factor = math.exp(min(max(effect, -MOST), MOST))
    return Residual(recipe=recipe, settings=settings, kind=kind, factor=factor, n_runs=n_runs)
