"""Runs that are compared with each other: in turn where one load serves both, else in blocks; never past the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from launcher.bench.probe import Timing, same_load
from launcher.bench.types import BenchTest
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from launcher.tune.race import turn_log
from launcher.tune.types import Speeds, Touches

FIRST_TEST = BenchTest(n_prompt=128, n_gen=8)
"""What the plan's own speed is learnt from, before it is known how large tests may be."""
_REPEATS, _REPEATS_PART = 4, 0.02
"""How often the plan is run again to see how much speeds vary here, and the part of the budget that it may cost."""
_SPARE = 1.1
"""Tests take about as long as the plan's, and some longer."""


class Measures(Protocol):
    """`measure.Meter`, or a test's."""

    def measure(self, params: LoadParams, test: BenchTest, n_streams: int = 1) -> Timing:
        """One repetition. Raises EngineError."""
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What comes next: told before every measurement."""

    what: str
    spent_s: float
    budget_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The test that compares settings, and what they can change in it."""

    test: BenchTest
    touches: Touches


@dataclass(slots=True)
class Logs:
    """Logarithms of how much faster one setting was than another, pair by pair."""

    prompt: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    turn: list[float] = field(default_factory=list)


class CrashError(Exception):
    """The engine refused a setting, or died of it."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.message)
        self.error = error


class Pairs:
    """Measures and compares, and knows how much of the budget is left."""

    def __init__(
        self,
        meter: Measures,
        *,
        n_streams: int,
        budget_s: float,
        clock: Callable[[], float],
        tell: Callable[[Step], None],
    ) -> None:
        self._meter = meter
        self._n_streams = n_streams
        self.budget_s = budget_s
        self._clock = clock
        self._tell = tell
        self._start = clock()
        self._loaded: LoadParams | None = None
        self.load_s = 0.0
        self.speeds = Speeds()
        self.decode_share = 0.5
        """Of a typical turn's time."""

    @property
    def spent_s(self) -> float:
        """Since the search began."""
        return self._clock() - self._start

    @property
    def left_s(self) -> float:
        """Of the budget; below 0 past it."""
        return self.budget_s - self.spent_s

    def learn(self, plan: LoadParams) -> Logs:
        """How fast the plan is, how long a load takes, and where that costs next to nothing how far runs of it differ.

        Raises:
            EngineError: the plan itself cannot be run.
        """
        begun = self._clock()
        self.say("loading")
        first = self._meter.measure(plan, FIRST_TEST, self._n_streams)
        self._loaded = plan
        self.load_s = max(0.0, self._clock() - begun - (1.5 * first.prompt_ns + first.gen_ns) / 1e9)
        runs = [first, self._one(plan, FIRST_TEST, "the plan")]
        self.speeds = self._fastest(runs)
        alike = Logs()
        for _ in range(min(_REPEATS, affordable(_REPEATS_PART * self.budget_s, self.cost_s(FIRST_TEST)))):
            runs.append(self._one(plan, FIRST_TEST, "the plan"))
            self.add(alike, runs[-2], runs[-1], "both")
        self.speeds = self._fastest(runs)
        return alike

    def _fastest(self, runs: Sequence[Timing]) -> Speeds:
        """Of the plan: what something else on the machine takes away is not the plan's."""
        prompt_ns, gen_ns = min(run.prompt_ns for run in runs), min(run.gen_ns for run in runs)
        return self.speeds_of(FIRST_TEST, Timing(start_ns=0, prompt_ns=prompt_ns, gen_ns=gen_ns))

    def speeds_of(self, test: BenchTest, timing: Timing) -> Speeds:
        """Tokens per second; of several sequences all that were decoded."""
        n_gen = test.n_gen * self._n_streams
        return Speeds(
            pp_ts=1e9 * test.n_prompt / timing.prompt_ns if timing.prompt_ns else None,
            tg_ts=1e9 * n_gen / timing.gen_ns if timing.gen_ns else None,
        )

    def cost_s(self, test: BenchTest) -> float:
        """What one repetition takes, loads aside."""
        n_gen = test.n_gen * self._n_streams
        return _SPARE * (test.n_prompt / (self.speeds.pp_ts or 1.0) + n_gen / (self.speeds.tg_ts or 1.0))

    def pair_s(self, base: LoadParams, other: LoadParams, test: BenchTest) -> float:
        """What a pair takes; of two loads, its part of six pairs in blocks."""
        return 2 * self.cost_s(test) + (0.0 if same_load(base, other) else 0.5 * self.load_s)

    @staticmethod
    def needs_load(base: LoadParams, other: LoadParams) -> bool:
        """Whether going from one to the other loads the model again."""
        return not same_load(base, other)

    def say(self, what: str) -> None:
        """Tell of something that is no measurement."""
        self._tell(Step(what=what, spent_s=self.spent_s, budget_s=self.budget_s))

    def load_cost_s(self, params: LoadParams) -> float:
        """What it takes until these settings are loaded."""
        return 0.0 if self._loaded is not None and same_load(self._loaded, params) else self.load_s

    def measure(self, params: LoadParams, test: BenchTest, what: str, *, is_base: bool = False) -> Timing:
        """One repetition.

        Raises:
            CrashError: of a setting that is tried.
            EngineError: of what it is compared with, twice in a row.
        """
        try:
            return self._one(params, test, what)
        except EngineError as error:
            self._loaded = None
            if not is_base:
                raise CrashError(error) from error
        # It ran before: something else took its memory, or the last setting left the device in disorder.
        return self._one(params, test, what)

    def _one(self, params: LoadParams, test: BenchTest, what: str) -> Timing:
        self.say(what)
        timing = self._meter.measure(params, test, self._n_streams)
        self._loaded = params
        return timing

    def add(self, logs: Logs, base: Timing, other: Timing, touches: Touches) -> None:
        """Append one pair."""
        prompt = 0.0 if touches == "decode" else math.log(base.prompt_ns / other.prompt_ns)
        decode = 0.0 if touches == "prompt" else math.log(base.gen_ns / other.gen_ns)
        if touches != "decode":
            logs.prompt.append(prompt)
        if touches != "prompt":
            logs.decode.append(decode)
        logs.turn.append(turn_log(1 - self.decode_share, prompt, decode))

    def compare(self, base: LoadParams, other: LoadParams, job: Job, n: int, *, logs: Logs, what: str) -> None:
        """Append `n` pairs, each with another one first.

        Where each has a load of its own they are run in blocks, A B B A, beginning with the one that is loaded.

        Raises:
            CrashError: of `other`.
            EngineError: of `base`.
        """

        def bases(count: int) -> list[Timing]:
            return [self.measure(base, job.test, what, is_base=True) for _ in range(count)]

        def others(count: int) -> list[Timing]:
            return [self.measure(other, job.test, what) for _ in range(count)]

        if not same_load(base, other):
            before = (n + 1) // 2
            if self._loaded is not None and same_load(self._loaded, other):
                early, ones = others(before), bases(n)
                twos = early + others(n - before)
            else:
                early, twos = bases(before), others(n)
                ones = early + bases(n - before)
            for one, two in zip(ones, twos, strict=True):
                self.add(logs, one, two, job.touches)
            return
        for _ in range(n):
            if len(logs.turn) % 2 == 0:
                (one,), (two,) = bases(1), others(1)
            else:
                (two,), (one,) = others(1), bases(1)
            self.add(logs, one, two, job.touches)

    def release(self) -> None:
        """Free the engine's memory for somebody else."""
        self._loaded = None
        self._meter.close()


def affordable(left_s: float, pair_s: float) -> int:
    """Pairs that there is time for."""
    return max(0, int(left_s / pair_s)) if pair_s > 0 else 1000


def together(touches: Sequence[Touches]) -> Touches:
    """What several settings can change together."""
    found = set(touches)
    return next(iter(touches)) if len(found) == 1 else "both"
