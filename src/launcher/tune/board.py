"""What a search knows while it runs: what leads, what was tried, what tests tell settings apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from launcher.planner.types import Changes, LoadParams
from launcher.tune.changes import given, merged, with_changes
from launcher.tune.pairs import Job, Logs, Pairs, together
from launcher.tune.race import MIN_PAIRS, Noise, Runner, ratio_of
from launcher.tune.space import runs
from launcher.tune.types import Axis, Confirmation, Option, Outcome, Sizes, Speeds, Touches, Trial

_NUMERIC = ("flash_attn", "type_k", "type_v", "repack", "op_offload")
"""Changes that touch numbers: other kernels, other sums."""
_BATCHES = frozenset({"n_ubatch", "n_batch"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a quality check said."""

    passes: bool
    text: str
    """One clause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """The quality guard, as a seam."""

    check: Callable[[LoadParams, LoadParams], Verdict]
    """Reference and candidate. Raises EngineError where one of them cannot be run."""
    takes_s: Callable[[Speeds, float], float]
    """How long it takes at these speeds of the plan, given how long a load takes."""


@dataclass(slots=True)
class Entrant:
    """An option that is tried."""

    option: Option
    params: LoadParams
    logs: Logs = field(default_factory=Logs)
    runner: Runner = field(default_factory=Runner)


@dataclass(frozen=True, kw_only=True, slots=True)
class Won:
    """An option that led its race, and is to be confirmed."""

    option: Option
    axis: Axis


@dataclass(slots=True)
class Board:
    """State of one search."""

    plan: LoadParams
    sizes: Sizes
    pairs: Pairs
    judge: Judge
    fits: Callable[[LoadParams], bool]
    """Whether the plan would still fit with these parameters."""
    noise: dict[Touches, Noise] = field(default_factory=lambda: {"prompt": Noise(), "decode": Noise(), "both": Noise()})
    won: list[Won] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    confirmations: list[Confirmation] = field(default_factory=list)
    adopted: Changes = field(default_factory=Changes)

    @property
    def base(self) -> LoadParams:
        """The plan with what is adopted."""
        return with_changes(self.plan, self.adopted)

    @property
    def lead(self) -> Changes:
        """What is adopted, and what leads beside it."""
        return merged(self.adopted, changes_of(self.won))

    def job(self, axes: Sequence[Axis]) -> Job:
        """What tells settings of these axes apart."""
        touches = together([axis.touches for axis in axes])
        sizes = self.sizes
        if touches == "decode":
            return Job(test=sizes.decode, touches=touches)
        named = {name for axis in axes for option in axis.options for name in given(option.changes)}
        batches = not named.isdisjoint(_BATCHES)
        test = sizes.batches if batches and sizes.batches is not None else sizes.prompt
        n_gen = 0 if touches == "prompt" else sizes.decode.n_gen
        return Job(test=replace(test, n_gen=n_gen), touches=touches)

    def reserve_s(self, axis: Axis) -> float:
        """What it will take to confirm what leads with a setting of this axis, and to have it judged."""
        test = self.job([*(won.axis for won in self.won), axis]).test
        options = (*(won.option for won in self.won), *axis.options)
        judged = max(self.judge_s(option.changes) for option in options)
        return MIN_PAIRS * self.pairs.pair_s(self.base, self.base, test) + judged

    def judge_s(self, changes: Changes) -> float:
        """What it takes to have these changes judged; 0 where there is nothing to judge."""
        return self.judge.takes_s(self.pairs.speeds, self.pairs.load_s) if is_numeric(changes) else 0.0

    def entrants(self, axis: Axis) -> list[Entrant]:
        """The options of an axis beside what leads: those that differ from it, that llama.cpp takes, and that fit."""
        base = with_changes(self.plan, self.lead)
        found = []
        for option in axis.options:
            entrant = Entrant(option=option, params=with_changes(base, option.changes))
            if entrant.params == base or not runs(entrant.params):
                continue
            if self.fits(entrant.params):
                found.append(entrant)
            else:
                self.record(axis, entrant, "unfinished", "would not fit beside what leads")
        return found

    def record(self, axis: Axis, entrant: Entrant, outcome: Outcome, why: str) -> None:
        """Keep what became of an option."""
        logs = entrant.logs
        trial = Trial(
            axis=axis.name,
            label=entrant.option.label,
            changes=entrant.option.changes,
            outcome=outcome,
            why=why,
            n_pairs=len(logs.turn),
            prompt=ratio_of(logs.prompt),
            decode=ratio_of(logs.decode),
            turn=ratio_of(logs.turn),
        )
        self.trials.append(trial)

    def rename(self, won: Sequence[Won], outcome: Outcome, why: str) -> None:
        """What led its race came to another end."""
        labels = {(one.axis.name, one.option.label) for one in won}
        self.trials[:] = [
            replace(trial, outcome=outcome, why=why) if (trial.axis, trial.label) in labels else trial
            for trial in self.trials
        ]


def changes_of(won: Sequence[Won]) -> Changes:
    """All that they change."""
    changes = Changes()
    for one in won:
        changes = merged(changes, one.option.changes)
    return changes


def is_numeric(changes: Changes) -> bool:
    """Whether these changes touch numbers, and so answers."""
    return any(name in _NUMERIC for name in given(changes))
