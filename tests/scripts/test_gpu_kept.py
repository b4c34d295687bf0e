"""What scripts/gpu_check.py keeps, how it goes on, and what its time has no room for."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from gpu_stages import build, command
from gpu_stages.kept import RESULTS, Budget, Kept, StageTimeError, each, hard_limit
from gpu_stages.lab import MACHINE as MACHINE_STAGE
from gpu_stages.lab import LabError, keep_machine
from gpu_stages.records import STAGES, BuildRow, ServeRow, StageRow
from gpu_stages.report import STAGE, folder_name, record_of, tables

from tests.scripts.gpu import MACHINE, Clock


@dataclass(frozen=True)
class Named:
    key: str


def stage_row(took_s: float = 1.0) -> StageRow:
    return StageRow(took_s=took_s, n_left=0, why=None)


def quiet(_text: str) -> None:
    pass


def test_rows_are_there_again_and_the_last_of_a_key_counts(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "out" / RESULTS)
    kept.add("speed", "a", stage_row(1))
    kept.add("speed", "b", stage_row(2))
    kept.add("speed", "a", stage_row(3))
    again = Kept(tmp_path / "out" / RESULTS)
    assert [row.took_s for row in again.rows("speed", StageRow)] == [3, 2]
    assert again.get("speed", "a", StageRow) == stage_row(3)
    assert again.get("memory", "a", StageRow) is None
    assert again.has("speed", "b")
    assert not again.has("memory", "b")


def test_half_a_line_of_a_killed_run_is_no_row_and_spoils_none(tmp_path: Path) -> None:
    path = tmp_path / RESULTS
    kept = Kept(path)
    kept.add("speed", "a", stage_row())
    with path.open("a", encoding="utf-8") as file:
        file.write('{"schema": 1, "stage": "speed", "key": "b", "ro')
    again = Kept(path)
    assert not again.has("speed", "b")
    again.add("speed", "c", stage_row())
    assert [json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()] == ["a", "c"]
    path.write_text('{"half', encoding="utf-8")
    assert Kept(path).rows("speed", StageRow) == ()
    assert path.read_text(encoding="utf-8") == ""


def test_results_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_text('{"schema": 2, "stage": "speed", "key": "a", "row": {}}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="another version"):
        Kept(tmp_path / RESULTS)


class Measuring:
    """Takes so long for each case."""

    def __init__(self, clock: Clock, took_s: dict[str, float]) -> None:
        self.clock = clock
        self.took_s = took_s
        self.measured: list[str] = []

    def __call__(self, case: Named) -> StageRow:
        self.measured.append(case.key)
        self.clock.now_s += self.took_s[case.key]
        return stage_row(self.took_s[case.key])


CASES = [Named(key) for key in "abcd"]


def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    kept, clock = Kept(tmp_path / RESULTS), Clock()
    kept.add("speed", "b", stage_row())
    measure = Measuring(clock, dict.fromkeys("abcd", 1.0))
    assert each("speed", CASES, measure, kept=kept, budget=Budget(limit_s=60, clock=clock), tell=quiet) == 0
    assert measure.measured == ["a", "c", "d"]
    assert each("speed", CASES, measure, kept=kept, budget=Budget(limit_s=0, clock=clock), tell=quiet) == 0


def test_no_case_begins_that_would_not_end_in_time(tmp_path: Path) -> None:
    """The longest so far is what another may take: 20 s do not fit into the 15 that are left after two."""
    kept, clock = Kept(tmp_path / RESULTS), Clock()
    kept.add("speed", "d", stage_row())
    measure = Measuring(clock, {"a": 20.0, "b": 10.0, "c": 1.0})
    assert each("speed", CASES, measure, kept=kept, budget=Budget(limit_s=45, clock=clock), tell=quiet) == 1
    assert measure.measured == ["a", "b"]
    # Another run has all its time again.
    assert each("speed", CASES, measure, kept=kept, budget=Budget(limit_s=40, clock=clock), tell=quiet) == 0
    assert measure.measured == ["a", "b", "c"]


def test_a_case_that_fails_leaves_the_earlier_ones_kept(tmp_path: Path) -> None:
    kept, clock = Kept(tmp_path / RESULTS), Clock()
    measure = Measuring(clock, {"a": 1.0})
    with pytest.raises(KeyError):
        each("speed", CASES, measure, kept=kept, budget=Budget(limit_s=40, clock=clock), tell=quiet)
    assert Kept(tmp_path / RESULTS).has("speed", "a")


def test_a_hard_limit_ends_what_waits_and_leaves_the_signal_as_it_was() -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no alarm")
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(StageTimeError, match="stopped after 30 s"), hard_limit(30):
        signal.raise_signal(signal.SIGALRM)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_results_are_of_one_machine(tmp_path: Path) -> None:
    kept = Kept(tmp_path / RESULTS)
    keep_machine(kept, MACHINE)
    keep_machine(kept, replace(MACHINE, date="2026-11-26"))
    assert kept.get(MACHINE_STAGE, MACHINE_STAGE, type(MACHINE)) == MACHINE
    for other in (
        replace(MACHINE, driver="590"),
        replace(MACHINE, gpus=(replace(MACHINE.gpus[0], description="NVIDIA H200"),)),
        replace(MACHINE, llama_cpp_commit="1234567"),
        replace(MACHINE, rehearsal=True),
    ):
        with pytest.raises(LabError, match="another machine or engine"):
            keep_machine(kept, other)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[..., int]], int]:
    """Runs the command with one stage that a test makes up."""
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"GPT_OSS_{kind}_DIR", str(tmp_path / kind))

    def go(made_up: Callable[..., int], *more: str) -> int:
        monkeypatch.setattr(command, "_run", made_up)
        return command.run(["--stage", "speed", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "w"), *more])

    return go


@pytest.mark.parametrize(
    ("ends", "code", "row"),
    [
        (0, 0, (0, None)),
        (3, 1, (3, None)),
        (LabError("no GPU"), 1, (0, "no GPU")),
        (StageTimeError("stopped after 5 s"), 1, (0, "stopped after 5 s")),
        (KeyboardInterrupt(), 130, (0, "interrupted")),
    ],
    ids=["done", "no-room", "refused", "late", "ctrl-c"],
)
def test_how_a_stage_ended_is_kept(
    stage: Any, tmp_path: Path, ends: int | BaseException, code: int, row: tuple[int, str | None]
) -> None:
    def made_up(*_: object) -> int:
        if isinstance(ends, BaseException):
            raise ends
        return ends

    assert stage(made_up) == code
    found = Kept(tmp_path / "out" / RESULTS).get(STAGE, "speed", StageRow)
    assert found is not None
    assert (found.n_left, found.why) == row


def test_a_fault_is_no_end_of_a_stage(stage: Any, tmp_path: Path) -> None:
    def made_up(*_: object) -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        stage(made_up)
    found = Kept(tmp_path / "out" / RESULTS).get(STAGE, "speed", StageRow)
    assert found is not None
    assert found.why == "KeyError: 'x'"


def test_a_stage_has_its_own_time_or_the_one_that_is_asked_for(stage: Any) -> None:
    seen: list[float] = []

    def made_up(_name: str, _args: object, _kept: object, _work: object, budget: Budget) -> int:
        seen.append(budget.limit_s)
        assert sys.platform == "win32" or signal.getitimer(signal.ITIMER_REAL)[0] > 0
        return 0

    stage(made_up)
    stage(made_up, "--limit", "7")
    assert seen == [command.LIMITS_S["speed"], 7]


def test_what_the_launcher_keeps_goes_to_the_work_folder(stage: Any, tmp_path: Path) -> None:
    def made_up(*_: object) -> int:
        assert os.environ["GPT_OSS_DATA_DIR"] == str(tmp_path / "w/data")
        return 0

    assert stage(made_up) == 0


def test_stages_fit_their_lease() -> None:
    """None lasts ten minutes, and all of them together 35."""
    assert max(command.LIMITS_S.values()) < 600
    assert sum(command.LIMITS_S.values()) < 35 * 60
    assert set(command.LIMITS_S) == {*STAGES, "report"}


def serve_row(n_streams: int) -> ServeRow:
    return ServeRow(
        file="20b", n_streams=n_streams, n_prompt=128, n_gen=128, output_ts=(100.0, 300.0, 200.0), ttft_ms=12.0,
        itl_p50_ms=5.0, itl_p90_ms=6.0, itl_p99_ms=7.0,
    )  # fmt: skip


def test_the_report_is_written_as_data_and_as_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Kept(tmp_path / RESULTS)
    keep_machine(kept, MACHINE)
    kept.add("serve", "x", serve_row(8))
    kept.add(STAGE, "speed", StageRow(took_s=300, n_left=2, why=None))
    kept.add(STAGE, "serve", stage_row())
    kept.add(STAGE, "build", StageRow(took_s=590, n_left=0, why="stopped after 590 s"))
    assert command.run(["--stage", "report", "--out", str(tmp_path), "--work", str(tmp_path / "w")]) == 0
    folder = tmp_path / "nvidia-h100-80gb-hbm3"
    table = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert table["schema"] == 1
    assert table["machine"]["driver"] == "580.159.04"
    assert table["unfinished"] == [
        "build: stopped after 590 s.",
        "files never ended.",
        "memory never ended.",
        "speed: its time had no room for 2 cases.",
        "offload never ended.",
    ]
    text = (folder / "tables.md").read_text(encoding="utf-8")
    assert "| 20b | 8 | 128 + 128 | 200 | 12 | 5.0 | 6.0 | 7.0 |" in text
    assert "rehearsal" not in text
    assert text in capsys.readouterr().out


def test_a_rehearsal_says_so(tmp_path: Path) -> None:
    kept = Kept(tmp_path / RESULTS)
    keep_machine(kept, replace(MACHINE, rehearsal=True))
    assert "It says nothing of GPUs." in tables(record_of(kept))


def test_nothing_measured_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["--stage", "report", "--out", str(tmp_path), "--work", str(tmp_path / "w")]) == 1
    assert "nothing was measured yet" in capsys.readouterr().out


def test_a_command_without_stages_says_what_it_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run([]) == 1
    assert "--stage and --out are needed" in capsys.readouterr().err


def test_folders_are_named_after_gpus() -> None:
    assert folder_name(replace(MACHINE, gpus=())) == "no-gpu"
    other = replace(MACHINE.gpus[0], description=" AMD Radeon (TM) Pro W7900/")
    assert folder_name(replace(MACHINE, gpus=(other,))) == "amd-radeon-tm-pro-w7900"


def test_the_engine_of_the_stages_is_the_one_that_was_built(tmp_path: Path) -> None:
    kept = Kept(tmp_path / RESULTS)
    assert build.name_of(kept) is None
    row = BuildRow(
        name="cuda-0.3.36", version=None, commit=None, options=(), n_bytes=0, took_s=0, site=None, self_test=None
    )
    kept.add("build", row.name, row)
    assert build.name_of(kept) == "cuda-0.3.36"
