"""The real aider on the scripted model: it edits a file. Run by scripts/test-live, which installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.sandbox import executable
from tests.live.clients import AIDER_TASK, WayOut, client, n_requests, run
from tests.server.conftest import Served

pytestmark = pytest.mark.live

# Without a repository: that would be one more request, for the message of a commit.
ONCE = ("--yes-always", "--no-git", "--no-pretty", "--message", AIDER_TASK, "hello.py")
QUIET = ("--analytics-disable", "--no-check-update", "--no-show-release-notes")


@pytest.fixture
def program(folder: Path) -> Path:
    """What is to be edited."""
    path = folder / "hello.py"
    path.write_text('print("hello")\n')
    return path


def test_launched_on_the_running_server_it_edits_a_file(
    scripted: Served, way_out: WayOut, folder: Path, program: Path
) -> None:
    client("aider")
    done = run(scripted, way_out, folder, executable(), "launch", "aider", "--", *QUIET, *ONCE)
    assert done.code == 0, done
    assert program.read_text() == 'print("hi")\n'
    assert "Applied edit to hello.py" in done.out
    assert "<|" not in done.out
    assert n_requests(scripted) == 1
    # It knows no model's context by heart, and takes it from a file alone.
    assert {name.partition("/")[0] for name in way_out.asked} <= {"raw.githubusercontent.com:443"}


def test_with_the_settings_that_connect_has_written_it_asks_nobody_else(
    scripted: Served, way_out: WayOut, folder: Path, program: Path
) -> None:
    assert scripted.sandbox.run("connect", "aider", "--write").code == 0
    # Its library fetches a list of prices at every start; `gpt-oss launch` turns that off.
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = run(scripted, way_out, folder, client("aider"), *QUIET, *ONCE, env=offline)
    assert done.code == 0, done
    assert program.read_text() == 'print("hi")\n'
    assert n_requests(scripted) == 1
    assert way_out.asked == []
