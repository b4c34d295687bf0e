"""Rates of a GPU that no table knows, from runs that were measured with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.hardware.types import Hardware
from launcher.planner import costs
from launcher.planner.fit import seconds_of
from launcher.planner.measured_rates import with_measured
from launcher.planner.throughput import Subject, recipe_of, run_ts, settings_of
from launcher.planner.types import HOST, Estimate, LoadParams, MeasuredRun, Rate, SpeedKind
from tests.builders import gpu_machine
from tests.planner.builders import SPEC_20B, gpu_params, weights_of

HERE = gpu_machine(description="A GPU of tomorrow")
RAM = {HOST: Rate(bandwidth=Estimate(value=60e9, basis="RAM")), "disk": Rate()}
UNKNOWN = {**RAM, "CUDA0": Rate()}
TRUE = {
    **RAM,
    "CUDA0": Rate(bandwidth=Estimate(value=500e9, basis="true"), flops=Estimate(value=50e12, basis="true")),
}
WEIGHTS = weights_of("gpt-oss-20b")


def subject(rates: dict[str, Rate], params: LoadParams, hardware: Hardware = HERE) -> Subject:
    return Subject(hardware=hardware, spec=SPEC_20B, weights=WEIGHTS, params=params, rates=rates, calibration=None)


def measured(kind: SpeedKind, *, date: str = "2026-11-25", slower: float = 1.0, n_cpu_moe: int = 0) -> MeasuredRun:
    """A run on a machine that is as fast as its rates say."""
    params = gpu_params(25, n_cpu_moe)
    asked = subject(TRUE, params)
    work = asked.prompt(512, 0) if kind == "pp" else asked.decode(64)
    took_s = seconds_of(work, costs.unit_costs(HERE, TRUE))
    assert took_s is not None
    n_tokens = 512 if kind == "pp" else 1
    return MeasuredRun(
        kind=kind, recipe=recipe_of(SPEC_20B, WEIGHTS), settings=settings_of(params, kind), test="x", engine="embedded",
        model="gpt-oss-20b", date=date, n_tokens=n_tokens, ts=n_tokens / took_s / slower, predicted_ts=None, work=work,
    )  # fmt: skip


def test_decoding_tells_of_memory_and_prompts_of_products() -> None:
    found = with_measured(UNKNOWN, HERE, [measured("pp"), measured("tg")])["CUDA0"]
    assert found.bandwidth is not None
    assert found.flops is not None
    assert found.bandwidth.value == pytest.approx(500e9, rel=0.01)
    assert found.flops.value == pytest.approx(50e12, rel=0.01)
    assert found.bandwidth.basis == "measured here: 400 GB/s (gpt-oss bench, 2026-11-25)"
    assert found.flops.basis == "measured here: 20 TFLOPS (gpt-oss bench, 2026-11-25)"


def test_with_them_other_files_are_predicted_too() -> None:
    params = gpu_params(25, 12)
    assert run_ts(subject(UNKNOWN, params), n_prompt=0, n_gen=64, n_depth=0) is None
    rates = with_measured(UNKNOWN, HERE, [measured("tg")])
    there = run_ts(subject(TRUE, params), n_prompt=0, n_gen=64, n_depth=0)
    assert there is not None
    assert run_ts(subject(rates, params), n_prompt=0, n_gen=64, n_depth=0) == pytest.approx(there, rel=0.02)


def test_of_several_runs_the_fastest_counts() -> None:
    """Small models are slow by what their kernels take to launch."""
    runs = [measured("tg", slower=3.0), measured("tg", date="2026-11-24"), measured("tg", slower=2.0)]
    found = with_measured(UNKNOWN, HERE, runs)["CUDA0"].bandwidth
    assert found is not None
    assert found.value == pytest.approx(500e9, rel=0.01)
    assert found.basis.endswith("2026-11-24)")


def test_runs_that_tell_little_of_the_device_do_not_count() -> None:
    """A small model is slow by its kernels: it once foretold 0.2 tok/s for one that did 3."""
    on_the_host = measured("tg", slower=0.5, n_cpu_moe=24)
    assert with_measured(UNKNOWN, HERE, [on_the_host])["CUDA0"] == Rate()
    small = [
        replace(run, work=tuple(tuple(tuple((t, n / 1000) for t, n in way) for way in step) for step in run.work))
        for run in (measured("tg"), measured("pp"))
    ]
    assert with_measured(UNKNOWN, HERE, small)["CUDA0"] == Rate()


def test_what_is_known_stays() -> None:
    assert with_measured(TRUE, HERE, [measured("tg", slower=9.0), measured("pp", slower=9.0)]) == TRUE


def test_runs_of_the_cpu_and_prompts_alone_tell_nothing_of_memory() -> None:
    cpu = gpu_params(0, devices=(), offload_kqv=False)
    work = subject(TRUE, cpu).decode(64)
    of_the_cpu = MeasuredRun(
        kind="tg", recipe="r", settings="s", test="x", engine="embedded", model="m", date="2026-11-25", n_tokens=1,
        ts=9.0, predicted_ts=None, work=work,
    )  # fmt: skip
    assert with_measured(UNKNOWN, HERE, [of_the_cpu])["CUDA0"] == Rate()
    assert with_measured(UNKNOWN, HERE, [measured("pp")])["CUDA0"].bandwidth is None
