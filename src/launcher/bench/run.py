"""Repetitions go round the engines and tests, so that a machine that drifts favours none of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from launcher.bench.session import Case, OpenSession, Sample, Session
from launcher.bench.types import EngineName
from launcher.errors import EngineCrashError, EngineError


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What comes next: told before every repetition."""

    case: Case
    repetition: int
    """From 1."""
    n_done: int
    n_steps: int
    left_s: float | None
    """Seconds that the rest takes, by how long each case took so far; None before anything was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A case that an engine could not measure, and why. Its later repetitions are left out."""

    case: Case
    message: str
    details: tuple[str, ...] = ()
    crash: str | None = None
    """`Segmentation fault`, where the engine's process crashed."""


@dataclass(slots=True)
class Outcome:
    """What was measured; fuller with every step, so that an interrupted run keeps all of it."""

    samples: dict[Case, list[Sample]] = field(default_factory=dict)
    began: dict[Case, str] = field(default_factory=dict)
    """RFC 3339: when the first repetition of each case began."""
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Time, as a seam for tests."""

    seconds: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def order_of(cases: Sequence[Case], repetition: int) -> Iterator[Case]:
    """The cases of one round: test by test, the engines of each in turn, each round another engine first."""
    by_test: dict[tuple[object, ...], list[Case]] = {}
    for case in cases:
        key: tuple[object, ...] = (case.test, case.n_streams) if case.engine == "server" else (case.test,)
        by_test.setdefault(key, []).append(case)
    for group in by_test.values():
        turn = repetition % len(group)
        yield from group[turn:] + group[:turn]


def run(
    cases: Sequence[Case],
    engines: Mapping[EngineName, OpenSession],
    *,
    repetitions: int,
    together: bool,
    tell: Callable[[Step], None] = lambda _: None,
    clock: Clock | None = None,
) -> Outcome:
    """Measure every case `repetitions` times. Never raises for an engine's failure, nor for Ctrl-C: both are told.

    Args:
        cases: what to measure, in the order of the report.
        engines: how each engine is opened.
        repetitions: of each case.
        together: whether several engines may hold the model at the same time; else one makes way for the next.
        tell: called before each repetition.
        clock: of this machine, where none is given.
    """
    runner = _Run(cases, engines, repetitions, together=together, tell=tell, clock=clock or Clock())
    with runner.open:
        try:
            runner.all()
        except KeyboardInterrupt:
            runner.outcome.interrupted = True
    return runner.outcome


class _Run:
    """State of a run: what is open, what failed, how long each case takes."""

    def __init__(
        self,
        cases: Sequence[Case],
        engines: Mapping[EngineName, OpenSession],
        repetitions: int,
        *,
        together: bool,
        tell: Callable[[Step], None],
        clock: Clock,
    ) -> None:
        self._cases = list(cases)
        self._engines = engines
        self._repetitions = repetitions
        self._together = together
        self._tell = tell
        self._clock = clock
        self._sessions: dict[EngineName, tuple[Session, ExitStack]] = {}
        self._took_s: dict[Case, float] = {}
        self._n_done = 0
        self.open = _Closing(self._close)
        self.outcome = Outcome()

    def all(self) -> None:
        """Round after round."""
        for repetition in range(self._repetitions):
            for case in order_of(self._cases, repetition):
                if case in self._cases:  # it may have failed in this very round
                    self._one(case, repetition)

    def _one(self, case: Case, repetition: int) -> None:
        n_left = sum(self._repetitions - len(self.outcome.samples.get(other, ())) for other in self._cases)
        self._tell(
            Step(
                case=case,
                repetition=repetition + 1,
                n_done=self._n_done,
                n_steps=self._n_done + n_left,
                left_s=self._left_s(),
            )
        )
        self.outcome.began.setdefault(case, self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"))
        start = self._clock.seconds()
        loading = True
        try:
            session = self._session(case.engine)
            loading = False
            sample = session.measure(case)
        except EngineError as error:
            self._failed(case, error, every_test=loading)
            return
        self._took_s[case] = self._clock.seconds() - start
        self.outcome.samples.setdefault(case, []).append(sample)
        self._n_done += 1

    def _session(self, engine: EngineName) -> Session:
        if engine not in self._sessions:
            if not self._together:
                self._close()
            stack = ExitStack()
            self._sessions[engine] = (stack.enter_context(self._engines[engine]()), stack)
        return self._sessions[engine][0]

    def _failed(self, case: Case, error: EngineError, *, every_test: bool) -> None:
        """Leave out what failed: the case, or all of an engine that cannot even load; others go on."""
        crash = error.how if isinstance(error, EngineCrashError) else None
        self.outcome.failures.append(Failure(case=case, message=error.message, details=error.details, crash=crash))
        self._cases = [c for c in self._cases if c != case and not (every_test and c.engine == case.engine)]
        opened = self._sessions.pop(case.engine, None)
        if opened is not None:
            opened[1].close()

    def _left_s(self) -> float | None:
        if not self._took_s:
            return None
        usual = sum(self._took_s.values()) / len(self._took_s)
        return sum(
            self._took_s.get(case, usual) * (self._repetitions - len(self.outcome.samples.get(case, ())))
            for case in self._cases
        )

    def _close(self) -> None:
        while self._sessions:
            _, (_, stack) = self._sessions.popitem()
            stack.close()


class _Closing:
    """Closes what is open when its block ends."""

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close

    def __enter__(self) -> None:
        """Nothing is open yet."""

    def __exit__(self, *_: object) -> Literal[False]:
        self._close()
        return False
