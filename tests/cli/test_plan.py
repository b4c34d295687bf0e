"""`gpt-oss plan` as it is typed: for people, for programs, for machines that are not here; bad values are told."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from launcher.demo import demo_model_path
from launcher.hardware.profiles import list_profiles
from launcher.hardware.saved import hardware_to_json
from tests.builders import cpu_machine
from tests.cli.sandbox import Done, Sandbox, assert_runnable


def saved_machine(folder: Path, ram_gib: float) -> Path:
    path = folder / f"machine-{ram_gib:g}.json"
    path.write_text(json.dumps(hardware_to_json(cpu_machine(ram_gib=ram_gib))))
    return path


def printed(done: Done, code: int = 0) -> dict[str, Any]:
    assert done.code == code, done
    found: dict[str, Any] = json.loads(done.out)
    assert found["schema"] == 1
    return found


def test_for_a_saved_machine_as_json_and_for_a_person(sandbox: Sandbox) -> None:
    machine = saved_machine(sandbox.root, 64)
    plan = printed(sandbox.run("plan", "--hardware", machine, "--json"))
    assert plan["fits"] is True
    assert plan["spec"]["id"] == "gpt-oss-20b"
    assert plan["load_params"]["n_ctx"] == 131_072
    assert [row["device"] for row in plan["memory"]] == ["CPU"]
    assert any("shipped with the launcher" in note for note in plan["notes"]), "the hub is out of reach, and it is said"
    shown = sandbox.run("plan", "--hardware", machine)
    assert shown.code == 0
    assert shown.out.startswith("Plan for machine-64: gpt-oss-20b ")
    assert "\x1b" not in shown.out
    assert shown.err.startswith("no connection to "), "talk, and no more than that"
    assert shown.err.count("\n") == 1
    assert not (sandbox.root / "state" / "ram-bandwidth.json").exists(), "another machine's RAM cannot be measured here"


def test_the_command_at_the_end_can_be_copied(sandbox: Sandbox) -> None:
    model = sandbox.root / "with a space" / "tiny.gguf"
    model.parent.mkdir()
    model.symlink_to(demo_model_path())
    plan = printed(sandbox.run("plan", "--model", model, "--json"))
    shown = sandbox.run("plan", "--model", model).out.splitlines()
    assert shlex.split(shown[-1]) == plan["argv"]
    assert plan["argv"][0] == "llama-server"
    assert str(model) in plan["argv"]


def test_a_file_here_is_named_by_its_path(sandbox: Sandbox) -> None:
    plan = printed(sandbox.run("plan", "--model", demo_model_path(), "--json"))
    assert plan["model"]["local_path"] == str(demo_model_path())
    assert plan["weights_basis"] == "header"
    assert plan["load_params"]["n_threads"] == 1


def test_what_does_not_fit_is_the_same_json_with_the_error_beside_it(sandbox: Sandbox) -> None:
    machine = saved_machine(sandbox.root, 16)
    done = sandbox.run("plan", "--model", "120b", "--hardware", machine, "--json")
    plan = printed(done, 3)
    fitting = printed(sandbox.run("plan", "--model", "20b", "--hardware", machine, "--json"))
    assert plan["fits"] is False
    assert plan.keys() == fitting.keys()
    assert not all(row["fits"] for row in plan["memory"])
    assert "does not fit" in done.error
    assert_runnable(done.hint)


def test_what_if_says_what_an_upgrade_buys(sandbox: Sandbox) -> None:
    machine = ("--hardware", saved_machine(sandbox.root, 32), "--offline")
    shown = sandbox.run("plan", "--what-if", *machine)
    assert shown.code == 0
    lines = shown.out.partition("What if\n")[2].splitlines()
    plan = printed(sandbox.run("plan", "--what-if", "--json", *machine))
    assert lines == [f"  {upgrade['change']}: {upgrade['gain']}" for upgrade in plan["what_if"]]
    assert any(line.startswith("  +64 GB RAM: gpt-oss-120b at about ") for line in lines)


def test_what_if_where_nothing_fits_says_what_would(sandbox: Sandbox) -> None:
    machine = ("--hardware", saved_machine(sandbox.root, 8), "--offline")
    shown = sandbox.run("plan", "--what-if", *machine)
    assert shown.code == 3
    assert "+8 GB RAM: gpt-oss-20b" in shown.out
    assert "does not fit" in shown.error
    plan = printed(sandbox.run("plan", "--what-if", "--json", *machine), 3)
    assert plan["what_if"][0]["model"] == "gpt-oss-20b"


def test_every_profile_in_one_table(sandbox: Sandbox) -> None:
    slugs = [profile.slug for profile in list_profiles()]
    found = printed(sandbox.run("plan", "--hardware", "all", "--offline", "--json"))["profiles"]
    assert [row["profile"] for row in found] == slugs
    assert {row["fits"] for row in found} == {True, False}
    assert all((row["refused"] is None) == row["fits"] for row in found)
    shown = sandbox.run("plan", "--hardware", "all", "--offline").out.splitlines()
    assert [line.split()[0] for line in shown[1 : len(slugs) + 1]] == slugs
    assert any("short of " in line and line.startswith("laptop-8gb") for line in shown)


def test_every_profile_with_a_pin_that_some_cannot_keep(sandbox: Sandbox) -> None:
    done = sandbox.run("plan", "--hardware", "all", "--offline", "--device", "CUDA1")
    assert done.code == 0
    assert "laptop-16gb: --device CUDA1: " in done.out
    rows = printed(sandbox.run("plan", "--hardware", "all", "--offline", "--device", "CUDA1", "--json"))["profiles"]
    assert {row["refused"] is None for row in rows} == {True, False}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("--tensor-split a,b", "--tensor-split takes numbers separated by commas, not 'a,b'"),
        ("--tensor-split 1,nan", "not '1,nan'"),
        ("--tensor-split 0,0 --hardware 2x-rtx-3090-64gb", "--tensor-split"),
        ("--tensor-split 1,-1 --hardware 2x-rtx-3090-64gb", "--tensor-split"),
        ("--device CUDA0, --hardware rtx-4090-64gb", "--device takes names separated by commas"),
        ("--device CUDA5 --hardware rtx-4090-64gb", "CUDA5"),
        ("--device none --n-gpu-layers 10 --hardware rtx-4090-64gb", "--n-gpu-layers"),
        ("--min-tps 0", "--min-tps 0"),
        ("--min-tps -3", "--min-tps"),
        ("--batch-size 64 --ubatch-size 128", "--ubatch-size 128"),
        ("--cache-type-k q9_9", "--cache-type-k"),
        ("--parallel 1000", "--parallel"),
        ("--hardware rtx-4090-65gb", "no profile is called"),
        ("--hardware all --what-if", "--what-if"),
    ],
)
def test_a_value_that_cannot_be_is_told(sandbox: Sandbox, typed: str, says: str) -> None:
    done = sandbox.refused("plan", "--model", "20b", "--offline", *typed.split())
    assert done.code == 2, done
    assert says in done.error


@pytest.mark.parametrize(
    "typed", ["--parallel 0", "--batch-size 0", "--batch-size -4", "--ubatch-size x", "--min-tps x"]
)
def test_a_value_of_another_type_or_out_of_range_is_usage(sandbox: Sandbox, typed: str) -> None:
    done = sandbox.run("plan", "--offline", *typed.split())
    assert done.code == 2
    assert typed.split(maxsplit=1)[0] in done.err


def test_options_reach_the_plan(sandbox: Sandbox) -> None:
    typed = "--parallel 2 --no-kv-unified --batch-size 1024 --ubatch-size 256 --swa-full -ctk q5_1 -ctv iq4_nl"
    split = "--device CUDA0,CUDA1 --tensor-split 3,1 --ctx-size 16384 --model 20b"
    machine = ("--hardware", "2x-rtx-3090-64gb", "--offline", "--json")
    params = printed(sandbox.run("plan", *typed.split(), *split.split(), *machine))["load_params"]
    assert (params["n_parallel"], params["kv_unified"], params["swa_full"]) == (2, False, True)
    assert (params["n_batch"], params["n_ubatch"], params["n_ctx"]) == (1024, 256, 16384)
    assert (params["type_k"], params["type_v"]) == ("q5_1", "iq4_nl")
    assert params["devices"] == ["CUDA0", "CUDA1"]
    assert params["tensor_split"][0] > 2 * params["tensor_split"][1]


def test_min_tps_and_streamed_reach_the_plan(sandbox: Sandbox) -> None:
    machine = ("--hardware", saved_machine(sandbox.root, 32), "--offline", "--json")
    slow = sandbox.run("plan", "--min-tps", "500", *machine)
    assert printed(slow, 3)["fits"] is False
    assert "500 tok/s" in slow.error
    streamed = printed(sandbox.run("plan", "--model", "120b", "--streamed", *machine))
    assert streamed["tier"] == "streamed"
    assert streamed["memory"][-1]["streamed_bytes"] > 0
