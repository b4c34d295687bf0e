"""The real llm on the scripted model: it answers. Run by scripts/test-live, which installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.sandbox import executable
from tests.live.clients import LLM_TASK, PARIS, WayOut, client, n_requests, run
from tests.server.conftest import Served

pytestmark = pytest.mark.live


def test_it_finds_the_model_that_connect_has_written(scripted: Served, way_out: WayOut, folder: Path) -> None:
    assert scripted.sandbox.run("connect", "llm", "--write").code == 0
    model = scripted.record["model"]
    done = run(scripted, way_out, folder, client("llm"), "-m", model, LLM_TASK)
    assert done.code == 0, done
    assert done.out == f"{PARIS}\n"
    whole = run(scripted, way_out, folder, client("llm"), "-m", model, "--no-stream", LLM_TASK)
    assert (whole.code, whole.out) == (0, f"{PARIS}\n"), whole
    assert n_requests(scripted) == 2
    assert way_out.asked == []


def test_launched_on_the_running_server_it_answers(scripted: Served, way_out: WayOut, folder: Path) -> None:
    client("llm")
    done = run(scripted, way_out, folder, executable(), "launch", "llm", "--", LLM_TASK)
    assert (done.code, done.out) == (0, f"{PARIS}\n"), done
    assert n_requests(scripted) == 1
    assert way_out.asked == []
