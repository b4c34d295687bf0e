"""`gpt-oss plan --verify`: llama.cpp's own statement beside the plan."""

from __future__ import annotations

import json
import sys

import pytest

from launcher.demo import demo_model_path
from tests.cli.sandbox import Sandbox

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="llama.cpp's breakdown is read on Linux")


def test_llama_cpp_agrees_with_the_plan_of_a_file_here(sandbox: Sandbox) -> None:
    done = sandbox.run("plan", "--model", demo_model_path(), "--verify", "--json")
    assert done.code == 0, done
    found = json.loads(done.out)["verification"]
    assert (found["ok"], found["stood_in"]) == (True, False)
    assert [(row["device"], row["part"]) for row in found["rows"]] == [
        ("CPU", "model"),
        ("CPU", "context"),
        ("CPU", "compute"),
    ]
    shown = sandbox.run("plan", "--model", demo_model_path(), "--verify")
    assert "llama.cpp agrees with this plan." in shown.out


def test_loopback_servers_stand_for_gpus_that_are_not_here(sandbox: Sandbox) -> None:
    done = sandbox.run("plan", "--model", demo_model_path(), "--hardware", "2x-rtx-3090-64gb", "--verify", "--json")
    assert done.code == 0, done
    found = json.loads(done.out)["verification"]
    assert (found["ok"], found["stood_in"]) == (True, True)
    assert {row["device"] for row in found["rows"]} == {"CUDA0", "CPU"}


def test_without_a_hub_a_file_that_is_not_here_is_named_with_the_command_that_asks_again(sandbox: Sandbox) -> None:
    done = sandbox.refused("plan", "--model", "20b", "--verify", "--offline")
    assert "is not on this disk, and its header cannot be read without the hub" in done.error
    assert "--model" in done.hint, "the bug: the hint was for another model"
