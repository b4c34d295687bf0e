"""What was tuned here is in every plan of a command, in what its engine is told, and can be left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.catalogue.types import FilePart, ModelFile
from launcher.cli.context import prepare_plan
from launcher.demo import demo_model_path
from launcher.hardware.detect import detect
from launcher.hardware.ram_probe import measured_ram
from launcher.hardware.tuned import save_tuned
from launcher.planner.types import Changes, Tuned
from launcher.settings import Settings
from tests.cli.sandbox import Done, Sandbox

CHANGES = Changes(n_ubatch=64, flash_attn=False, op_offload=False, load_mode="none")
TOLD = ("--ubatch-size 64", "--flash-attn off", "--no-op-offload", "--load-mode none")


def tune_demo(state: Path) -> None:
    """As if the demo model had been tuned for chats, on this machine."""
    path = demo_model_path()
    file = ModelFile(
        model="demo",
        quant="MXFP4",
        repo=None,
        revision=None,
        parts=(FilePart(path=path.name, size_bytes=path.stat().st_size, sha256=None),),
        dense_bpw=None,
    )
    won = Tuned(purpose="chat", changes=CHANGES, pp_ratio=1.12, tg_ratio=1.06, date="2026-11-25")
    save_tuned(detect(), file, won, state_dir=state)


@pytest.fixture
def tuned(sandbox: Sandbox) -> Sandbox:
    """A home in which the demo model was tuned."""
    state = Path(sandbox.env["GPT_OSS_STATE_DIR"])
    tune_demo(state)
    measured_ram(detect(), state_dir=state, probe=lambda n_threads: 2e10)  # kept, so that no command takes a second
    return sandbox


def answer(done: Done) -> Any:
    assert done.code == 0, done
    return json.loads(done.out)


def test_a_plan_has_it_unless_it_is_left_out(tuned: Sandbox) -> None:
    words = ("plan", "--model", demo_model_path())
    plan = answer(tuned.run(*words, "--json"))
    assert plan["load_params"]["n_ubatch"] == 64
    assert (plan["tuned"]["purpose"], plan["tuned"]["date"]) == ("chat", "2026-11-25")
    assert all(word in " ".join(plan["argv"]) for word in TOLD)
    shown = tuned.run(*words)
    assert "tok/s, tuned for chat on 2026-11-25\n" in shown.out
    assert "• Tuned for chat on 2026-11-25: n_ubatch 64, flash_attn off, load_mode none, op_offload off;" in shown.out
    plain = answer(tuned.run(*words, "--json", env={"GPT_OSS_TUNED": "false"}))
    assert plain["tuned"] is None
    before = {"n_ubatch": 512, "flash_attn": True, "op_offload": True, "load_mode": "mmap"}
    assert plain["load_params"] == plan["load_params"] | before
    assert plain.keys() == plan.keys()


def test_a_server_is_told_of_it(tuned: Sandbox) -> None:
    words = ("serve", "--dry-run", "--json", "--model", demo_model_path())
    told = " ".join(answer(tuned.run(*words))["argv"])
    assert all(word in told for word in TOLD)
    plain = " ".join(answer(tuned.run(*words, "--no-tuned"))["argv"])
    assert not any(word in plain for word in TOLD)


def test_a_chat_runs_with_it_and_says_so(tuned: Sandbox) -> None:
    words = ("chat", "--model", demo_model_path(), "--temp", "0", "-n", "4", "--no-history", "hi")
    done = tuned.run(*words)
    assert done.code == 0, done
    assert "tuned for chat on 2026-11-25" in done.err


def test_a_bench_measures_it_and_keeps_it_in_its_record(tuned: Sandbox) -> None:
    words = ("bench", "--demo", "-p", "16", "-n", "0", "-r", "1", "--engine", "embedded,llama-bench", "-o", "json")
    rows = answer(tuned.run(*words))
    assert [row["engine"] for row in rows] == ["embedded", "llama-bench"]
    for row in rows:
        assert (row["n_ubatch"], row["flash_attn"], row["no_op_offload"], row["load_mode"]) == (64, 0, 1, "none"), row
        assert row["plan"]["tuned"]["tg_ratio"] == 1.06


def test_the_demo_has_it_without_a_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"GPT_OSS_{folder}_DIR", str(tmp_path / folder))
    tune_demo(tmp_path / "STATE")
    before = {path.name for path in (tmp_path / "STATE").iterdir()}
    settings = Settings(model=str(demo_model_path()), offline=True)
    plan = prepare_plan(settings, measure=False, purpose="chat").plan
    assert plan.load_params.n_ubatch == 64
    after = {path.name for path in (tmp_path / "STATE").iterdir()}
    assert after - {"engine-answers"} == before, "what the engine says of itself is no measurement"
    assert prepare_plan(replace(settings, tuned=False), measure=False, purpose="chat").plan.tuned is None
    assert prepare_plan(settings, measure=False).plan.tuned is None, "a plan that is tuned around has none"
