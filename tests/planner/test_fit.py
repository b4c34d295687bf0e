"""Costs fitted to measured runs: they find what made the runs, stay near the prior, and forgive what was disturbed."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.planner import costs
from launcher.planner.fit import MOST, explains, fit, seconds_of
from launcher.planner.throughput import Subject, recipe_of, run_ts, settings_of
from launcher.planner.types import HOST, Calibration, Estimate, LoadParams, MeasuredRun, Rate, SpeedKind
from tests.builders import cpu, machine
from tests.planner.builders import SPEC_20B, SPEC_120B, dense_model, load_params, weights_of

RATES = {
    HOST: Rate(bandwidth=Estimate(value=200e9, basis="RAM")),
    "disk": Rate(bandwidth=Estimate(value=3e9, basis="-")),
}
HERE = machine(processor=cpu(n_physical=8))
SHIPPED = costs.unit_costs(HERE, RATES)
MODELS: dict[str, tuple[ModelSpec, ModelWeights]] = {
    "20b": (SPEC_20B, weights_of("gpt-oss-20b")),
    "20b-F16": (SPEC_20B, weights_of("gpt-oss-20b", "F16")),
    "120b": (SPEC_120B, weights_of("gpt-oss-120b")),
}
TRUTH = {costs.DRAW: 1.3, costs.DECODE: 1.6, costs.DECODE_PLAIN: 1.5, costs.PRODUCT: 0.6, costs.PRODUCT_PLAIN: 0.7}


def subject(model: str, params: LoadParams | None = None, calibration: Calibration | None = None) -> Subject:
    spec, weights = MODELS[model]
    chosen = params or load_params(n_threads=2, n_threads_batch=2)
    return Subject(hardware=HERE, spec=spec, weights=weights, params=chosen, rates=RATES, calibration=calibration)


def true_run(
    model: str,
    kind: SpeedKind,
    n: int = 128,
    depth: int = 0,
    *,
    truth: dict[str, float] | None = None,
    slower: float = 1.0,
    **changes: Any,
) -> MeasuredRun:
    """A run on a machine where each term costs so many times what is shipped."""
    params = load_params(**{"n_threads": 2, "n_threads_batch": 2, **changes})
    asked = subject(model, params)
    work = asked.prompt(n, depth) if kind == "pp" else asked.decode(depth + n / 2)
    there = {term: cost * (TRUTH if truth is None else truth).get(term, 1.0) for term, cost in SHIPPED.items()}
    seconds = seconds_of(work, there)
    assert seconds is not None
    n_tokens = n if kind == "pp" else 1
    return MeasuredRun(
        kind=kind,
        recipe=recipe_of(asked.spec, asked.weights),
        settings=settings_of(params, kind),
        test=f"{kind}{n} @ d{depth}",
        engine="embedded",
        model=model,
        date="2026-11-25",
        n_tokens=n_tokens,
        ts=n_tokens / (seconds * slower),
        predicted_ts=None,
        work=work,
    )


def runs_of(*models: str, **more: Any) -> list[MeasuredRun]:
    tests: tuple[tuple[SpeedKind, int, int], ...] = (("pp", 128, 0), ("pp", 512, 4096), ("tg", 16, 0), ("tg", 16, 4096))
    return [true_run(model, kind, n, depth, **more) for model in models for kind, n, depth in tests]


def off(model: str, calibration: Calibration | None, *, kind: SpeedKind = "tg", **more: Any) -> float:
    """Error of the prediction for a test that was not among the runs."""
    n, depth = (64, 1024)
    params = load_params(
        **{"n_threads": 2, "n_threads_batch": 2, **{k: v for k, v in more.items() if k not in {"truth", "slower"}}}
    )
    asked = subject(model, params, calibration)
    found = run_ts(asked, n_prompt=n if kind == "pp" else 0, n_gen=n if kind == "tg" else 0, n_depth=depth)
    assert found is not None
    return found / true_run(model, kind, n, depth, **more).ts - 1


def test_many_runs_find_what_made_them_and_carry_to_another_model() -> None:
    found = fit(runs_of("20b", "20b-F16"), SHIPPED)
    assert found is not None
    for kind in ("pp", "tg"):
        assert abs(off("120b", found, kind=kind)) < abs(off("120b", None, kind=kind)) / 2
        assert abs(off("20b", found, kind=kind)) < 0.03
    assert (found.n_runs, found.last_date) == (8, "2026-11-25")


def test_one_run_corrects_its_own_file_far_more_than_others() -> None:
    alone = fit([true_run("20b", "tg", truth={}, slower=1.5)], SHIPPED)
    plain = off("20b", None, truth={}, slower=1.5)
    assert plain == pytest.approx(0.5, abs=0.01)
    assert abs(off("20b", alone, truth={}, slower=1.5)) < 0.04
    others = off("120b", alone, truth={})
    assert -0.35 < others < -0.1, "pulled, but not all the way"
    both = fit([*runs_of("20b", truth={}, slower=1.5), *runs_of("20b-F16", truth={}, slower=1.5)], SHIPPED)
    assert off("120b", both, truth={}) < others, "two files that agree are followed farther"


def test_no_more_terms_are_free_than_tests_can_tell() -> None:
    for n in (1, 2, 4):
        found = fit(runs_of("20b")[:n], SHIPPED)
        assert found is not None
        assert len(found.costs) <= n
    again = fit([true_run("20b", "tg")] * 9, SHIPPED)
    assert again is not None
    assert len(again.costs) == 1, "the same test nine times tells one thing"


def test_a_disturbed_run_is_outvoted() -> None:
    steady = runs_of("20b") * 2
    disturbed = true_run("20b", "tg", 16, slower=4.0)
    found, calm = fit([*steady, disturbed], SHIPPED), fit(steady, SHIPPED)
    assert abs(off("20b", found)) < 0.05
    assert abs(off("20b", calm)) < 0.03


def test_a_file_that_is_slow_by_itself_keeps_that_to_itself() -> None:
    found = fit(
        [*runs_of("20b", truth={}), *runs_of("120b", truth={}), *runs_of("20b-F16", truth={}, slower=1.4)], SHIPPED
    )
    assert abs(off("20b-F16", found, truth={}, slower=1.4)) < 0.04
    four: dict[str, Any] = {"n_threads": 4, "n_threads_batch": 4}
    assert abs(off("20b-F16", found, truth={}, slower=1.4, **four)) < 0.12, "it is slow with other settings as well"
    assert abs(off("20b", found, truth={})) < 0.04


def test_threads_are_told_apart() -> None:
    # RAM gives 200 GB/s: two threads are bound by themselves, sixteen by RAM, which alone is slow here.
    slow_ram = {costs.RAM: 2.0}
    many: dict[str, Any] = {"n_threads": 16, "n_threads_batch": 16}
    found = fit([*runs_of("20b", truth=slow_ram), *runs_of("20b", truth=slow_ram, **many)], SHIPPED)
    assert found is not None
    assert found.factor(costs.RAM) > 1.5
    assert found.factor(costs.DECODE) == pytest.approx(1.0, abs=0.25), "the file's own effect takes a part of it"
    for params in (dict[str, Any](), many):
        assert abs(off("20b", found, truth=slow_ram, **params)) < 0.05
    # What was left of the runs with two threads is not claimed of eight.
    two = fit(runs_of("20b", truth={}, slower=1.5), SHIPPED)
    assert two is not None
    own = two.residual(runs_of("20b")[0].recipe, settings_of(load_params(n_threads=2), "tg"), "tg")
    other = two.residual(runs_of("20b")[0].recipe, settings_of(load_params(n_threads=8), "tg"), "tg")
    assert own is not None
    assert other is not None
    assert (own.settings is None, other.settings is None) == (False, True)


def test_what_cannot_be_explained_is_left_out() -> None:
    run = true_run("20b", "tg")
    unknown = replace(run, work=((((("CUDA7 memory", 1e9)),),),))
    assert not explains(unknown.work, SHIPPED)
    assert fit([unknown, replace(run, ts=0.0), replace(run, work=())], SHIPPED) is None
    assert fit([], SHIPPED) is None
    assert fit([run, unknown], SHIPPED) == fit([run], SHIPPED)


def test_a_broken_run_has_its_bounds() -> None:
    found = fit([true_run("20b", "tg", slower=1e6)] * 5, SHIPPED)
    assert found is not None
    assert all(math.exp(-MOST) <= cost.factor <= math.exp(MOST) for cost in found.costs)
    assert all(left.factor <= math.exp(MOST) for left in found.residuals)


def test_the_disk_is_never_calibrated() -> None:
    run = true_run("20b", "tg")
    streamed = replace(run, work=(*run.work, (((costs.DISK, 3e9),),)))
    found = fit([streamed] * 3, SHIPPED)
    assert found is not None
    assert found.factor(costs.DISK) == 1.0


def test_the_answer_is_the_same_every_time_and_in_any_order() -> None:
    runs = runs_of("20b", "120b", "20b-F16")
    first = fit(runs, SHIPPED)
    assert first == fit(runs, SHIPPED)
    shuffled = random.Random(1).sample(runs, len(runs))
    other = fit(shuffled, SHIPPED)
    assert first is not None
    assert other is not None
    for cost in first.costs:
        assert other.factor(cost.term) == pytest.approx(cost.factor, rel=1e-3)


def test_figures_have_the_units_that_people_know() -> None:
    found = {figure.term: figure for figure in costs.figures(SHIPPED, fit(runs_of("20b"), SHIPPED))}
    assert found[costs.DRAW].unit == "B/s"
    assert found[costs.DRAW].shipped == pytest.approx(costs.HOST_BYTES_PER_S_PER_THREAD)
    assert found[costs.BLOCK].shipped == pytest.approx(costs.HOST_BLOCK_S)
    product = found[costs.PRODUCT]
    assert product.fitted > 1.2 * product.shipped, "products cost 0.6 of what is shipped: the rate is higher"
    assert product.n_runs > 0
    assert found[costs.HOP].n_runs == 0
    assert found[costs.HOP].fitted == found[costs.HOP].shipped


def test_a_dense_model_without_known_layouts_is_fitted_too() -> None:
    spec, weights = dense_model()
    MODELS["dense"] = (spec, weights)
    found = fit([true_run("dense", "tg")], SHIPPED)
    assert found is not None
