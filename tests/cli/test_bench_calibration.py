"""Runs that calibrate later plans, predictions that are held to a bound, and what is kept of both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.bench.types import BenchRecord, BenchTest
from launcher.cli.bench_calibration_view import as_json, print_calibration
from launcher.cli.bench_group import with_bound
from launcher.cli.bench_predictions import Predictor, calibrate, check_predictions, parse_bound, predictor_of
from launcher.errors import LauncherError, UsageError
from launcher.flow import Prepared, World
from launcher.hardware.calibration import forget_runs, keep_runs, kept_runs
from launcher.hardware.detect import detect
from launcher.hardware.types import Hardware
from launcher.planner import costs
from launcher.planner.fit import fit
from launcher.planner.measured_rates import with_measured
from launcher.planner.types import Calibration, Rate
from tests.bench.samples import STEADY, record, scaled
from tests.builders import cpu_machine, gpu_machine
from tests.cli.sandbox import Sandbox
from tests.hardware.test_calibration import run
from tests.planner.builders import RATES, files_of, make_plan

HERE = cpu_machine(ram_gib=32)


def fitted(hardware: Hardware, state_dir: Path | None) -> Calibration | None:
    """As the flow does it, with rates of the test."""
    runs = () if state_dir is None else kept_runs(hardware, state_dir=state_dir)
    return fit(runs, costs.unit_costs(hardware, RATES))


def rates(_: Hardware, __: Path | None) -> dict[str, Rate]:
    return RATES


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(cache_dir=tmp_path, state_dir=tmp_path / "state", rates=rates, calibration=fitted)


def prepared(world: World) -> Prepared:
    files = files_of("gpt-oss-20b", "MXFP4")
    plan = make_plan(HERE, files=files)
    assert world.state_dir is not None
    known = fitted(HERE, world.state_dir)
    if known is not None:
        from launcher.planner.choose import plan as choose
        from launcher.planner.types import PlanRequest

        plan = choose(HERE, files, PlanRequest(), rates=RATES, calibration=known)
    return Prepared(hardware=HERE, plan=plan, weights=files.weights[plan.file.name])


def records(predictor: Predictor, faster: float) -> list[BenchRecord]:
    """A prompt and a decode that went so many times as fast as predicted."""
    found = []
    tests: tuple[dict[str, Any], ...] = ({"n_prompt": 512, "n_gen": 0}, {"n_gen": 64})
    for test in tests:
        plain = record(**test)
        ts = predictor.ts(plain.test)
        assert ts is not None
        found.append(record(scaled(faster * ts / 100), predicted_ts=ts, test_time="2026-11-25T13:00:00Z", **test))
    return found


def test_a_run_corrects_later_plans_and_says_so_in_a_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = predictor_of(prepared(world), world)
    runs = records(before, 0.5)
    calibrate(runs, before, [], world)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("calibrated by 2 tests: pp512 ")
    assert line.endswith("tok/s; later plans rest on it (gpt-oss bench calibration)")
    plan = prepared(world).plan
    assert plan.throughput[0].basis.startswith(
        "calibrated by 2 runs measured here, the last on 2026-11-25, all of this file; CPU "
    )
    after = predictor_of(prepared(world), world)
    for one in runs:
        ts = after.ts(one.test)
        assert ts is not None
        assert ts == pytest.approx(one.samples_ts[0], rel=0.06)
        old = before.ts(one.test)
        assert one.predicted_ts == old, "the record keeps the prediction as it was"


def test_a_device_that_no_table_knows_is_predicted_after_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It once said that later plans rest on the runs, and they went on saying that the speed is not known."""
    here = gpu_machine(description="A GPU of tomorrow")

    def known(hardware: Hardware, state_dir: Path | None) -> dict[str, Rate]:
        runs = () if state_dir is None else kept_runs(hardware, state_dir=state_dir)
        return with_measured({**RATES, "CUDA0": Rate()}, hardware, runs)

    def fit_here(hardware: Hardware, state_dir: Path | None) -> Calibration | None:
        runs = () if state_dir is None else kept_runs(hardware, state_dir=state_dir)
        return fit(runs, costs.unit_costs(hardware, known(hardware, state_dir)))

    world = World(cache_dir=tmp_path, state_dir=tmp_path / "state", rates=known, calibration=fit_here)
    files = files_of("gpt-oss-20b", "MXFP4")
    plan = make_plan(here, files=files, rates=known(here, None))
    assert plan.tg_ts is None
    ready = Prepared(hardware=here, plan=plan, weights=files.weights[plan.file.name])
    calibrate([record(scaled(0.9), n_gen=64)], predictor_of(ready, world), [], world)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("calibrated by 1 test: tg64 unknown -> ")
    after = predictor_of(ready, world).ts(BenchTest(n_gen=64))
    assert after == pytest.approx(90, rel=0.05)
    forget_runs(state_dir=tmp_path / "state")
    calibrate([record(scaled(9.0), n_prompt=512, n_gen=0)], predictor_of(ready, world), [], world)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "kept 1 test: the speed of these devices is known once decoding of a larger model has been measured"


def test_a_calibration_changes_speeds_and_nothing_else(world: World) -> None:
    before = prepared(world)
    first = predictor_of(before, world)
    for faster in (0.05, 20.0):
        assert world.state_dir is not None
        forget_runs(state_dir=world.state_dir)
        calibrate(records(first, faster), first, [], world)
        after = prepared(world).plan
        assert after.fits
        assert (after.load_params, after.memory, after.file) == (
            before.plan.load_params,
            before.plan.memory,
            before.plan.file,
        )
        assert after.tg_ts != before.plan.tg_ts


@pytest.mark.parametrize(
    ("samples", "hollow", "told"), [(STEADY[:2], False, "had 2 repetitions"), (STEADY, True, "has holes")]
)
def test_what_does_not_calibrate_is_said(
    samples: tuple[float, ...], told: str, world: World, capsys: pytest.CaptureFixture[str], *, hollow: bool
) -> None:
    assert world.state_dir is not None
    file = world.cache_dir / "model.gguf"
    with file.open("wb") as stream:
        stream.truncate(50_000_000 if hollow else 0)
    predictor = predictor_of(prepared(world), world)
    calibrate([record(samples)], predictor, [file], world)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("calibration is left as it was: tg128 ")
    assert told in line
    assert kept_runs(HERE, state_dir=world.state_dir) == ()


def test_a_folder_that_cannot_be_written_costs_the_calibration_alone(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = predictor_of(prepared(world), world)
    (tmp_path / "state").write_text("no folder")
    calibrate([record(STEADY)], predictor, [], world)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the calibration in ")
    assert "cannot be written" in line


def test_settings_that_were_tuned_are_predicted_as_the_plan_says(world: World) -> None:
    plain = prepared(world)
    first = plain.plan.throughput[0]
    faster = replace(first, pp_ts=2 * (first.pp_ts or 0.0), tg_ts=3 * (first.tg_ts or 0.0))
    tuned = replace(plain, plan=replace(plain.plan, throughput=(faster, *plain.plan.throughput[1:])))
    one, other = predictor_of(plain, world), predictor_of(tuned, world)
    for test, ratio in ((record(n_prompt=64, n_gen=0).test, 2), (record(n_gen=8).test, 3)):
        ts = one.ts(test)
        assert ts is not None
        assert other.ts(test) == pytest.approx(ratio * ts)
        measured = Calibration(n_runs=1, last_date="2026-11-25", costs=(), residuals=())
        assert other.ts(test, measured) == ts, "runs of tuned settings hold the gain themselves"


def test_predictions_within_the_bound_hold(capsys: pytest.CaptureFixture[str]) -> None:
    check_predictions([record(STEADY, predicted_ts=109.0), record(STEADY, predicted_ts=95.0)], 0.1)
    assert capsys.readouterr().err == "predictions hold: embedded tg128 is the farthest off, by +9.0% (bound: 10 %)\n"


@pytest.mark.parametrize(
    ("rows", "message", "detail"),
    [
        (
            [{"predicted_ts": 110.0}, {"predicted_ts": 120.0, "n_depth": 64}],
            "embedded tg128 @ d64 was predicted at 120 tok/s and measured at 100: +20.0%, past the bound of 5 %",
            "embedded tg128: predicted 110, measured 100 tok/s (+10.0%)",
        ),
        ([{"predicted_ts": 100.0}, {}], "what has no prediction cannot be checked", "the planner predicts nothing"),
        ([], "what has no prediction cannot be checked", None),
        ([{"predicted_ts": 80.0}], "predicted at 80.0 tok/s and measured at 100: -20.0%", None),
    ],
)
def test_predictions_past_the_bound_fail(rows: list[dict[str, Any]], message: str, detail: str | None) -> None:
    with pytest.raises(LauncherError) as caught:
        check_predictions([record(STEADY, **row) for row in rows], 0.05)
    assert message in caught.value.message
    assert caught.value.code == 1
    assert detail is None or any(detail in line for line in caught.value.details)


def test_a_bound_may_be_left_out_and_must_be_one() -> None:
    assert with_bound(["--predict-check", "-p", "16"]) == ["--predict-check=15", "-p", "16"]
    assert with_bound(["-n", "4", "--predict-check"]) == ["-n", "4", "--predict-check=15"]
    assert with_bound(["--predict-check", "20", "--demo"]) == ["--predict-check", "20", "--demo"]
    assert with_bound(["--predict-check=3", "calibration"]) == ["--predict-check=3", "calibration"]
    assert parse_bound(None) is None
    assert (parse_bound("15"), parse_bound(" 2.5%")) == (0.15, 0.025)
    for wrong in ("", "many", "0", "-3", "nan", "inf"):
        with pytest.raises(UsageError, match="bound in per cent"):
            parse_bound(wrong)


def test_the_view_has_costs_and_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(10.0, predicted_ts=12.0), run(11.0, model="other", recipe="b")]
    shipped = costs.unit_costs(HERE, RATES)
    found = fit(runs, shipped)
    assert found is not None
    shown = costs.figures(shipped, found)
    print_calibration(runs, found, shown)
    out = capsys.readouterr().out
    assert "CPU memory" in out
    assert "39 GB/s" in out
    assert "+20%" in out
    assert "link" not in out, "no run tells of it"
    data = as_json(runs, found, shown)
    assert data["n_runs"] == 2
    assert [row["predicted_ts"] for row in data["runs"]] == [12.0, None]
    assert len(data["costs"]) == len(shipped)


def test_as_it_is_typed(sandbox: Sandbox) -> None:
    small = ("bench", "--demo", "-p", "0", "-n", "2", "-r", "1")
    state = sandbox.root / "state"
    done = sandbox.run(*small, "-o", "jsonl", "--predict-check", "0.001")
    assert done.code == 1
    assert "embedded tg2 was predicted at" in done.error
    assert done.out, "what was measured is printed before it is judged"
    assert "calibration is left as it was: tg2 had 1 repetition" in done.err
    done = sandbox.run(*small, "--no-calibrate", "--predict-check=1000")
    assert "calibration" not in done.err
    assert sandbox.run("bench", "calibration").err.startswith("no run of this machine and engine is kept")
    keep_runs(detect(), [run(18.0, work=(((("Vulkan0 memory", 1e6),),),))], state_dir=state)
    told = sandbox.run("bench", "calibration").err
    assert told.startswith(
        "the 1 run that is kept does not tell how fast these devices are: decoding of a larger model"
    )
    assert sandbox.run("bench", "calibration", "--forget").code == 0
    keep_runs(detect(), [run(100.0, work=(((("CPU block", 24.0),),),))], state_dir=state)
    done = sandbox.run("bench", "calibration", "--json")
    assert [row["test"] for row in json.loads(done.out)["runs"]] == ["tg16"]
    planned = json.loads(sandbox.run("plan", "--model", demo(), "--json").out)
    assert "calibrated by 1 run measured here, the last on 2026-11-25" in planned["throughput"][0]["basis"]
    done = sandbox.run("bench", "calibration", "--forget", "--json")
    assert json.loads(done.out) == {"schema": 1, "forgotten": True}
    assert "no run is kept" in sandbox.run("bench", "calibration", "--forget").err


def demo() -> str:
    from launcher.demo import demo_model_path

    return str(demo_model_path())
