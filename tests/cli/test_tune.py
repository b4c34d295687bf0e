"""`gpt-oss tune` as it is typed: a real search on the demo, what is kept of it, Ctrl-C, and what cannot be tuned."""

from __future__ import annotations

import io
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from launcher.catalogue.types import FilePart, ModelFile
from launcher.cli.tune_session import Ask, keep, run_tune
from launcher.cli.tune_view import confirmation_line, end_lines, print_result, print_space, space_json
from launcher.demo import demo_model_path
from launcher.errors import UsageError
from launcher.hardware.tuned import load_tuned
from launcher.planner.types import Changes
from launcher.records import from_jsonable
from launcher.tune.keep import load_result
from launcher.tune.result import About, result_of
from launcher.tune.sizes import sizes_for, told_apart, typical
from launcher.tune.space import KEPT
from launcher.tune.types import Speeds, TuneResult
from tests.cli.sandbox import Sandbox
from tests.planner.builders import files_of
from tests.systems import POSIX
from tests.tune.landscape import MACHINE, PLAN, World, whole_space
from tests.tune.test_search import hilly


def record(text: str) -> TuneResult:
    document: dict[str, Any] = json.loads(text)
    assert document.pop("schema") == 1
    return from_jsonable(TuneResult, document)


def test_a_search_on_the_demo_is_kept_and_explained(sandbox: Sandbox) -> None:
    done = sandbox.run("tune", "--demo", "--budget", "1s", "--json")
    assert done.code == 0, done
    found = record(done.out)
    assert found.model == demo_model_path().name
    assert found.plan_speeds.tg_ts is not None
    assert {trial.label for trial in found.trials} >= {"flash_attn off", "repack off"}
    assert found.took_s < 20, "the budget and one test, on a busy machine"
    assert "\x1b" not in done.out + done.err
    assert "at most" in done.err
    again = sandbox.run("tune", "--demo", "--explain", "--json")
    assert record(again.out) == found
    told = sandbox.run("tune", "--demo", "--explain").out
    assert "512 tokens in, 256 out" in told
    assert "flash_attn off" in told
    # What is measured is never the tuned plan, and what is planned afterwards says whether it is.
    plan = json.loads(sandbox.run("plan", "--model", demo_model_path(), "--json").out)
    assert (plan["tuned"] is None) == (found.adopted is None)


@POSIX
def test_ctrl_c_keeps_what_was_measured(sandbox: Sandbox) -> None:
    with sandbox.start("tune", "--demo", "--budget", "10m", "--json") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(b"flash_attn,"):
                break
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    found = record(out.decode())
    assert found.interrupted
    assert found.adopted is None
    assert record(sandbox.run("tune", "--demo", "--explain", "--json").out) == found


def test_a_dry_run_shows_the_space_and_loads_nothing(sandbox: Sandbox) -> None:
    done = sandbox.run("tune", "--demo", "--dry-run", "--json")
    assert done.code == 0, done
    found = json.loads(done.out)
    assert found["budget_s"] == 300
    assert {axis["name"]: axis["offered_only"] for axis in found["axes"]}["cache"] is True
    # The sandbox pins the threads.
    assert any(line == "n_threads: pinned by the command line or the settings." for line in found["left_out"])
    assert not (sandbox.root / "state" / "tune-results.json").exists()


def test_a_dry_run_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    turn = typical("chat", PLAN)
    tests = sizes_for(turn, Speeds(pp_ts=30.0, tg_ts=10.0), 300, PLAN)
    print_space(space_json(told_apart(whole_space(), PLAN, tests), turn, tests, 300))
    told = capsys.readouterr().out
    assert "settings beside the plan's, in at most 5 min 0 s:" in told
    assert "  repack: repack off (loads the model again)" in told
    assert "  cache: type_k q8_0, type_v q8_0 (measured, never taken)" in told
    assert "not tried: n_ubatch 1024" in told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"purpose": "speed"}, "--for takes chat, serve, long-context, not 'speed'"),
        ({"explain": True, "forget": True}, "--explain and --forget are two things"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"purpose": "chat", "explain": False, "forget": False, **asked}
    with pytest.raises(UsageError, match=told):
        run_tune({}, Ask(**given, budget="5m", dry_run=False, as_json=False, demo=True, refresh=False))


def test_what_was_never_tuned_cannot_be_explained(sandbox: Sandbox) -> None:
    assert "was not tuned for chat on this machine" in sandbox.refused("tune", "--demo", "--explain").error


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems may fill the hole")
def test_a_sparse_file_is_refused(sandbox: Sandbox) -> None:
    holes = sandbox.root / "holes.gguf"
    holes.write_bytes(demo_model_path().read_bytes())
    with holes.open("r+b") as file:
        file.truncate(64 << 20)
    done = sandbox.refused("tune", "--model", holes)
    assert done.code == 2
    assert "holes.gguf is a sparse file: of its 64 MiB only" in done.error


# What is kept

FILE: ModelFile = replace(
    files_of("gpt-oss-20b", "MXFP4").files[0], parts=(FilePart(path="m.gguf", size_bytes=7, sha256=None),)
)


def searched(world: World, **changes: Any) -> TuneResult:
    search = world.search()
    about = About(model="m.gguf", size_bytes=7, date="2026-11-25", engine=None)
    found = result_of(search, PLAN, about, workload=typical("chat", PLAN), budget_s=450)
    return replace(found, **changes)


def test_a_winner_is_kept_for_later_plans_until_it_no_longer_wins(tmp_path: Path) -> None:
    won = searched(World(landscape=hilly, noise=0.005))
    keep(MACHINE, FILE, won, tmp_path)
    tuned = load_tuned(MACHINE, FILE, purpose="chat", state_dir=tmp_path)
    assert tuned is not None
    assert tuned.changes == won.adopted == Changes(flash_attn=False, n_ubatch=256)
    nothing = searched(World(noise=0.005))
    keep(MACHINE, FILE, replace(nothing, interrupted=True), tmp_path)
    assert load_tuned(MACHINE, FILE, purpose="chat", state_dir=tmp_path) == tuned, (
        "a search that was stopped says nothing"
    )
    again = replace(nothing.trials[0], axis=KEPT, outcome="unfinished")
    keep(MACHINE, FILE, replace(nothing, trials=(again,)), tmp_path)
    assert load_tuned(MACHINE, FILE, purpose="chat", state_dir=tmp_path) == tuned, "the budget had no room for it"
    keep(MACHINE, FILE, replace(nothing, trials=(replace(again, outcome="slower"),)), tmp_path)
    assert load_tuned(MACHINE, FILE, purpose="chat", state_dir=tmp_path) is None


def test_a_search_that_was_stopped_at_once_takes_no_earlier_one_away(tmp_path: Path) -> None:
    whole = searched(World(landscape=hilly, noise=0.005))
    keep(MACHINE, FILE, whole, tmp_path)
    keep(MACHINE, FILE, searched(World(interrupt_at=1)), tmp_path)
    assert load_result(MACHINE, "m.gguf", 7, purpose="chat", state_dir=tmp_path) == whole


def test_a_noisy_machine_is_told() -> None:
    quiet = searched(World(noise=0.005))
    assert quiet.noise is not None
    assert quiet.noise < 0.03
    assert not any("something else ran" in line for line in end_lines(quiet))
    noisy = searched(World(noise=0.15))
    assert any("something else ran beside it" in line for line in end_lines(noisy))


@pytest.mark.parametrize("width", [40, 71, 80, 120])
def test_a_table_for_every_width(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    found = searched(World(landscape=hilly, noise=0.005))
    print_result(found, console=console)
    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    assert "flash_attn off" in text
    assert "kept" in text
    assert "…" not in text, "nothing is cut"
    assert "later plans use" in text
    assert confirmation_line(found.confirmations[0]).startswith("confirmed over the plan by")
