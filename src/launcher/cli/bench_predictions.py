"""What a bench does with predictions: the planner's for each test, calibration by the run, `--predict-check`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.bench.cases import bench_params
from launcher.bench.predictions import DEFAULT_BOUND, Miss, Subject, judge, sort_records
from launcher.bench.types import BenchRecord, BenchTest
from launcher.cli.output import say
from launcher.errors import LauncherError, UsageError
from launcher.planner import throughput
from launcher.planner.types import Calibration, SpeedKind, Work

if TYPE_CHECKING:
    from launcher.bench.holes import Hollow
    from launcher.flow import Prepared, World

_SHOWN = 4
"""Tests of the one line that says what was corrected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictor:
    """The planner's predictions for one plan, in llama-bench's tests."""

    subject: throughput.Subject
    scales: dict[SpeedKind, float]
    """What the plan itself says beside the model of speed: ratios that tuning measured."""

    def ts(self, test: BenchTest, calibration: Calibration | None = None) -> float | None:
        """Tokens per second; or as a calibration by runs of this plan has them, which hold what tuning gained."""
        subject = self.subject if calibration is None else replace(self.subject, calibration=calibration)
        found = throughput.run_ts(subject, n_prompt=test.n_prompt, n_gen=test.n_gen, n_depth=test.n_depth)
        scale = self.scales["pp" if test.n_prompt else "tg"] if calibration is None else 1.0
        return None if found is None else found * scale

    def work(self, test: BenchTest) -> Work:
        """Of a whole prompt, or of the token half way through."""
        if test.n_prompt:
            return self.subject.prompt(test.n_prompt, test.n_depth)
        return self.subject.decode(test.n_depth + test.n_gen / 2)


def predictor_of(prepared: Prepared, world: World) -> Predictor:
    """The figures that the plan rests on, for any test."""
    plan, state = prepared.plan, world.state_dir
    subject = throughput.Subject(
        hardware=prepared.hardware,
        spec=plan.spec,
        weights=prepared.weights,
        params=bench_params(plan.load_params),
        rates=world.rates(prepared.hardware, state),
        streamed_bytes=plan.memory[-1].streamed_bytes,
        calibration=world.calibration(prepared.hardware, state),
    )
    plain = Predictor(subject=subject, scales={"pp": 1.0, "tg": 1.0})
    if not plan.throughput:
        return plain
    said, costs = plan.throughput[0], subject.costs()
    token_s = subject.seconds("tg", subject.decode(0), costs)
    return replace(
        plain,
        scales={
            "pp": _scale(said.pp_ts, plain.ts(BenchTest(n_prompt=throughput.PROMPT_N))),
            "tg": _scale(said.tg_ts, 1 / token_s if token_s else None),
        },
    )


def _scale(said: float | None, found: float | None) -> float:
    return said / found if said and found else 1.0


def calibrate(records: Sequence[BenchRecord], predictor: Predictor, files: Sequence[Path], world: World) -> None:
    """Keep what was measured for later plans, and say what that corrects in one line."""
    from launcher.bench.holes import find_hollow
    from launcher.hardware.calibration import keep_runs

    found = sort_records(records, _subject(predictor, find_hollow(files)))
    unused = "; ".join(found.left_out)
    if not found.runs:
        if unused:
            say(f"calibration is left as it was: {unused}")
        return
    hardware, state = predictor.subject.hardware, world.state_dir
    if state is None:
        return
    try:
        keep_runs(hardware, found.runs, state_dir=state)
    except OSError as error:
        say(f"the calibration in {state} cannot be written: {error.strerror or error}")
        return
    now = world.calibration(hardware, state)
    # A device that no table knows has its rates by these very runs.
    later = replace(predictor, subject=replace(predictor.subject, rates=world.rates(hardware, state)))
    said = []
    for test in dict.fromkeys(record.test for record in records if record.engine != "server"):
        before, after = predictor.ts(test), later.ts(test, now)
        if after is not None:
            said.append(f"{test.name} {'unknown' if before is None else _speed(before)} -> {_speed(after)}")
    more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    n = len(found.runs)
    but = f" (not: {unused})" if unused else ""
    tests = f"{n} {'test' if n == 1 else 'tests'}{but}"
    if not said:  # prompts alone, and small models, tell nothing of a device's memory
        say(f"kept {tests}: the speed of these devices is known once decoding of a larger model has been measured")
        return
    say(
        f"calibrated by {tests}: {', '.join(said[:_SHOWN])}{more} tok/s; "
        "later plans rest on it (gpt-oss bench calibration)"
    )


def _subject(predictor: Predictor, hollow: Hollow | None) -> Subject:
    subject = predictor.subject
    unfit = None
    if subject.streamed_bytes:
        unfit = "read weights from disk"
    elif hollow is not None:
        unfit = f"ran on zeros: {hollow.name} has holes"
    return Subject(
        recipe=throughput.recipe_of(subject.spec, subject.weights),
        settings=lambda kind: throughput.settings_of(subject.params, kind),
        work=predictor.work,
        unfit=unfit,
    )


def _speed(ts: float) -> str:
    from launcher.cli.bench_view import speed

    return speed(ts)


def parse_bound(text: str | None) -> float | None:
    """`15` or `15%` as a share; None where nothing was asked.

    Raises:
        UsageError: no percentage above 0.
    """
    if text is None:
        return None
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        percent = math.nan
    if not 0 < percent <= 1000:
        raise UsageError(
            f"--predict-check takes a bound in per cent, such as {DEFAULT_BOUND:.0%}, not {text!r}",
            hint="gpt-oss bench --help",
        )
    return percent / 100


def check_predictions(records: Sequence[BenchRecord], bound: float) -> None:
    """Say how far the predictions are off.

    Raises:
        LauncherError: one is past the bound, or there is none.
    """
    found = judge(records)
    bad = [miss for miss in found.misses if abs(miss.error) > bound]
    unknown = tuple(f"{name}: the planner predicts nothing" for name in found.unpredicted)
    if bad:
        worst, *others = bad
        spread = ("Its samples spread too far to tell: something else ran beside it.",) if worst.noisy else ()
        raise LauncherError(
            f"{worst.name} was predicted at {_speed(worst.predicted_ts)} tok/s and measured at "
            f"{_speed(worst.measured_ts)}: {worst.error:+.1%}, past the bound of {bound * 100:g} %",
            hint="gpt-oss bench calibration",
            details=(*spread, *(_said(miss) for miss in others), *unknown),
        )
    if not found.misses or unknown:
        raise LauncherError(
            "--predict-check: what has no prediction cannot be checked", hint="gpt-oss hardware", details=unknown
        )
    worst = found.misses[0]
    say(f"predictions hold: {worst.name} is the farthest off, by {worst.error:+.1%} (bound: {bound * 100:g} %)")


def _said(miss: Miss) -> str:
    measured = f"measured {_speed(miss.measured_ts)} tok/s ({miss.error:+.1%})"
    return f"{miss.name}: predicted {_speed(miss.predicted_ts)}, {measured}"
