"""Measured records beside the planner's predictions: which of them calibrate it, and how far off they are. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launcher.bench.stats import NOISY_CV, median, median_spread
from launcher.bench.types import BenchRecord, BenchTest
from launcher.planner.types import MeasuredRun, SpeedKind, Work

LEAST_SAMPLES = 3
"""Repetitions that tell how far a test spreads."""
DEFAULT_BOUND = 0.15
"""How far a prediction may be off on a machine that was calibrated with the same file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What was measured, in the planner's terms."""

    recipe: str
    settings: Callable[[SpeedKind], str]
    work: Callable[[BenchTest], Work]
    """Of a whole prompt, or of one token that is decoded."""
    unfit: str | None = None
    """Why no run of it calibrates: one clause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sorted:
    """Records that calibrate, and why others do not."""

    runs: tuple[MeasuredRun, ...]
    left_out: tuple[str, ...]
    """`pp512, tg128 spread by 12 %`, one for each reason; with the engine where there are several."""


def sort_records(records: Sequence[BenchRecord], subject: Subject) -> Sorted:
    """The runs that tell of the machine: single streams, of one kind, steady, of a file and a plan that are whole."""
    runs: list[MeasuredRun] = []
    left_out: dict[str, list[str]] = {}
    several = len({record.engine for record in records} - {"server"}) > 1
    for record in records:
        if record.engine == "server":
            continue  # what its slots and its HTTP cost is no property of the model
        reason = subject.unfit or _unsteady(record)
        if reason is None and record.n_prompt and record.n_gen:
            reason = "measured two kinds at once"
        if reason is None:
            runs.append(_run(record, subject))
        else:
            left_out.setdefault(reason, []).append(f"{record.engine} " * several + record.test.name)
    told = (f"{', '.join(dict.fromkeys(names))} {reason}" for reason, names in left_out.items())
    return Sorted(runs=tuple(runs), left_out=tuple(told))


def _unsteady(record: BenchRecord) -> str | None:
    n = len(record.samples_ts)
    if n < LEAST_SAMPLES:
        told = "1 repetition" if n == 1 else f"{n} repetitions"
        return f"had {told}, and {LEAST_SAMPLES} tell how far it spreads"
    return None if is_steady(record.samples_ts) else f"spread by {median_spread(record.samples_ts) or 0.0:.0%}"


def is_steady(samples_ts: Sequence[float]) -> bool:
    """Whether the median tells: what disturbs a sample here and there does not move it."""
    spread = median_spread(samples_ts)
    return spread is not None and spread <= NOISY_CV


def _run(record: BenchRecord, subject: Subject) -> MeasuredRun:
    kind: SpeedKind = "pp" if record.n_prompt else "tg"
    return MeasuredRun(
        kind=kind,
        recipe=subject.recipe,
        settings=subject.settings(kind),
        test=record.test.name,
        engine=record.engine,
        model=record.model,
        date=record.test_time[:10],
        n_tokens=record.n_prompt or 1,
        ts=median(record.samples_ts),
        predicted_ts=record.predicted_ts,
        work=subject.work(record.test),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Miss:
    """A prediction beside what was measured."""

    name: str
    """`embedded pp512`."""
    predicted_ts: float
    measured_ts: float
    """The median."""
    noisy: bool
    """Whether the samples spread too far to tell."""

    @property
    def error(self) -> float:
        """By how much of the measured speed the prediction is too high; below 0 it is too low."""
        return self.predicted_ts / self.measured_ts - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """All predictions of a run."""

    misses: tuple[Miss, ...]
    """The worst first."""
    unpredicted: tuple[str, ...]
    """Tests without a prediction."""


def judge(records: Sequence[BenchRecord]) -> Judgement:
    """How far the predictions that were made before the run are off."""
    misses, unpredicted = [], []
    for record in records:
        streams = f", {record.n_streams} streams" if record.n_streams > 1 else ""
        name = f"{record.engine} {record.test.name}{streams}"
        if record.predicted_ts is None or not record.samples_ts:
            unpredicted.append(name)
        else:
            measured = median(record.samples_ts)
            noisy = len(record.samples_ts) > 1 and not is_steady(record.samples_ts)
            misses.append(Miss(name=name, predicted_ts=record.predicted_ts, measured_ts=measured, noisy=noisy))
    worst_first = sorted(misses, key=lambda miss: -abs(miss.error))
    return Judgement(misses=tuple(worst_first), unpredicted=tuple(unpredicted))
