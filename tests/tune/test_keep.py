"""What is kept for `--explain`, budgets as they are typed, files that are not there."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import LauncherError, UsageError
from launcher.tune.budget import seconds_of
from launcher.tune.holes import refuse_holes
from launcher.tune.keep import load_result, save_result
from launcher.tune.result import About, result_of
from launcher.tune.sizes import typical
from launcher.tune.types import TuneResult
from tests.builders import cpu_machine
from tests.tune.landscape import MACHINE, PLAN, World

FILE = "tune-results.json"


def result(**changes: object) -> TuneResult:
    search = World(noise=0.005).search(budget_s=120)
    about = About(model="m.gguf", size_bytes=7, date="2026-11-25", engine="abc")
    found = result_of(search, PLAN, about, workload=typical("chat", PLAN), budget_s=120)
    return replace(found, **changes)  # type: ignore[arg-type]


def test_the_last_tune_is_kept_for_each_machine_file_and_purpose(tmp_path: Path) -> None:
    first = result()
    save_result(MACHINE, result(date="2026-11-01"), state_dir=tmp_path)
    save_result(MACHINE, first, state_dir=tmp_path)
    serve = result(workload=typical("serve", PLAN))
    save_result(MACHINE, serve, state_dir=tmp_path)
    save_result(cpu_machine(n_physical=4), result(date="2020-01-01"), state_dir=tmp_path)
    assert load_result(MACHINE, "m.gguf", 7, purpose="chat", state_dir=tmp_path) == first
    assert load_result(MACHINE, "m.gguf", 7, purpose="serve", state_dir=tmp_path) == serve
    assert load_result(MACHINE, "m.gguf", 7, purpose="long-context", state_dir=tmp_path) is None
    assert load_result(MACHINE, "m.gguf", 8, purpose="chat", state_dir=tmp_path) is None
    assert len(json.loads((tmp_path / FILE).read_text())["results"]) == 3


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", '{"schema": 9, "results": []}', '{"schema": 1, "results": [3]}']
)
def test_a_damaged_file_holds_nothing_and_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert load_result(MACHINE, "m.gguf", 7, purpose="chat", state_dir=tmp_path) is None
    save_result(MACHINE, result(), state_dir=tmp_path)
    assert load_result(MACHINE, "m.gguf", 7, purpose="chat", state_dir=tmp_path) is not None


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(LauncherError, match="cannot be kept"):
        save_result(MACHINE, result(), state_dir=tmp_path / "state")


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300), ("90s", 90), ("1.5h", 5400), ("2", 120), (" 5 M ", 300)])
def test_budgets_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0.5s", "25h", "5 minutes", "nan", "1e9s", "5m5m"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--budget takes a time"):
        seconds_of(text)


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows does not tell the blocks of a file")
    whole, holes = tmp_path / "whole.gguf", tmp_path / "holes.gguf"
    whole.write_bytes(b"x" * 100_000)
    with holes.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(10_000_000)
    refuse_holes([whole, tmp_path / "not there"])
    if holes.stat().st_blocks * 512 > 5_000_000:
        pytest.skip("this file system has no holes")
    with pytest.raises(UsageError, match=r"holes\.gguf is a sparse file"):
        refuse_holes([whole, holes])
