"""Which measured runs are kept, for which machine, and how many."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.hardware.calibration import (
    FILE_NAME,
    KEPT_OF_A_TEST,
    KEPT_RUNS,
    bounded,
    forget_runs,
    keep_runs,
    kept_runs,
)
from launcher.planner.types import MeasuredRun
from tests.builders import cpu_machine


def run(ts: float = 10.0, **changes: Any) -> MeasuredRun:
    plain = MeasuredRun(
        kind="tg",
        recipe="a file",
        settings="2 threads",
        test="tg16",
        engine="embedded",
        model="tiny",
        date="2026-11-25",
        n_tokens=1,
        ts=ts,
        predicted_ts=None,
        work=((((("CPU draw", 1e9),)), (("CPU memory", 2e9),)), ((("CPU block", 24.0),),)),
    )
    return replace(plain, **changes)


def test_runs_come_back_as_they_were_kept(tmp_path: Path) -> None:
    here = cpu_machine(ram_gib=32)
    assert kept_runs(here, state_dir=tmp_path) == ()
    first = keep_runs(here, [run(5), run(6, test="pp512")], state_dir=tmp_path / "new")
    second = keep_runs(here, [run(7, predicted_ts=8.0)], state_dir=tmp_path / "new")
    assert second == (*first, run(7, predicted_ts=8.0))
    assert kept_runs(here, state_dir=tmp_path / "new") == second
    assert json.loads((tmp_path / "new" / FILE_NAME).read_text())["schema"] == 2


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"schema": 1}', '{"schema": 2}', '{"schema": 2, "machine": {}, "runs": []}']
)
def test_another_format_or_a_damaged_file_is_forgotten_silently(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    here = cpu_machine()
    assert kept_runs(here, state_dir=tmp_path) == ()
    assert keep_runs(here, [run()], state_dir=tmp_path) == (run(),)


def test_runs_of_another_machine_or_build_say_nothing_of_this_one(tmp_path: Path) -> None:
    here = cpu_machine(ram_gib=32)
    keep_runs(here, [run()], state_dir=tmp_path)
    built_anew = replace(here, engine=replace(here.engine, llama_cpp_commit="f00d"))
    for other in (cpu_machine(ram_gib=64), built_anew):
        assert kept_runs(other, state_dir=tmp_path) == ()
    assert keep_runs(built_anew, [run(3)], state_dir=tmp_path) == (run(3),)
    assert kept_runs(here, state_dir=tmp_path) == ()


def test_what_is_measured_with_one_build_forgets_nothing_of_another(tmp_path: Path) -> None:
    own = cpu_machine()
    other = replace(own, engine=replace(own.engine, name="cuda-0.3.36"))
    keep_runs(own, [run(3)], state_dir=tmp_path)
    keep_runs(other, [run(7)], state_dir=tmp_path)
    assert kept_runs(own, state_dir=tmp_path) == (run(3),)
    assert kept_runs(other, state_dir=tmp_path) == (run(7),)
    assert forget_runs(state_dir=tmp_path)
    assert kept_runs(own, state_dir=tmp_path) == kept_runs(other, state_dir=tmp_path) == ()


def test_the_last_runs_of_each_test_are_kept() -> None:
    many = [run(n, test=test) for n in range(1, 9) for test in ("tg16", "pp512")]
    kept = bounded(many)
    assert len(kept) == 2 * KEPT_OF_A_TEST
    assert [one.ts for one in kept if one.test == "tg16"] == [6, 7, 8], "the oldest first"
    different = [run(test="a"), run(settings="4 threads"), run(engine="llama-bench"), run(recipe="another")]
    assert bounded(different * 2) == tuple(different * 2)
    assert len(bounded([run(recipe=str(n)) for n in range(KEPT_RUNS + 9)])) == KEPT_RUNS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ts", float("nan")),
        ("ts", float("inf")),
        ("ts", -1.0),
        ("n_tokens", 0),
        ("predicted_ts", float("nan")),
        ("date", "\x1b[2J"),
        ("work", []),
        ("work", [[[["CPU draw", float("inf")]]]]),
        ("work", [[[["CPU draw", -5.0]]]]),
    ],
)
def test_figures_that_nobody_measured_are_passed_over(tmp_path: Path, name: str, value: Any) -> None:
    here = cpu_machine()
    keep_runs(here, [run(1), run(2)], state_dir=tmp_path)
    kept = json.loads((tmp_path / FILE_NAME).read_text())
    kept["runs"][0][name] = value
    (tmp_path / FILE_NAME).write_text(json.dumps(kept))
    # What JSON cannot say spoils the whole file.
    lasting = () if any(word in json.dumps(value) for word in ("NaN", "Infinity")) else (run(2),)
    assert kept_runs(here, state_dir=tmp_path) == lasting


def test_a_pipe_in_place_of_the_file_holds_nobody_up(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("named pipes have no path on Windows")
    os.mkfifo(tmp_path / FILE_NAME)
    assert kept_runs(cpu_machine(), state_dir=tmp_path) == ()
    assert keep_runs(cpu_machine(), [run()], state_dir=tmp_path) == (run(),)


def test_a_speed_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="above 0"):
        keep_runs(cpu_machine(), [run(0)], state_dir=tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


def test_forgetting(tmp_path: Path) -> None:
    assert not forget_runs(state_dir=tmp_path)
    keep_runs(cpu_machine(), [run()], state_dir=tmp_path)
    assert forget_runs(state_dir=tmp_path)
    assert kept_runs(cpu_machine(), state_dir=tmp_path) == ()
