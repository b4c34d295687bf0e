"""The real Codex CLI on the scripted model: it writes a file. Run by scripts/test-live, which installs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.sandbox import executable
from tests.live.clients import CODEX_TASK, WayOut, client, n_requests, run, serve_scripted
from tests.server.conftest import Served

pytestmark = pytest.mark.live

# The script's one command is harmless, and a container cannot always hold another sandbox.
EXEC = ("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json", CODEX_TASK)
# Codex fetches a list of plugins whenever it starts, whoever its provider is.
NO_PLUGINS = ("--config", "features.plugins=false")


def items(out: str) -> list[dict[str, str]]:
    """What Codex did, in order."""
    events = [json.loads(line) for line in out.splitlines()]
    return [event["item"] for event in events if event["type"] == "item.completed"]


def assert_done(out: str, folder: Path) -> None:
    """The file is there, and each step is told as what it was."""
    assert (folder / "hello.txt").read_text() == "hi"
    done = items(out)
    (command,) = [item for item in done if item["type"] == "command_execution"]
    assert "printf hi > hello.txt" in command["command"]
    assert command["status"] == "completed"
    assert [item["text"] for item in done if item["type"] == "agent_message"] == ["I have written hello.txt."]
    assert "<|" not in out


def test_launched_on_the_running_server_it_writes_a_file(scripted: Served, way_out: WayOut, folder: Path) -> None:
    client("codex")
    done = run(scripted, way_out, folder, executable(), "launch", "codex", "--", *NO_PLUGINS, *EXEC)
    assert done.code == 0, done
    assert_done(done.out, folder)
    assert n_requests(scripted) == 2, "the task, and the result of its command"
    assert way_out.asked == []


def test_it_finds_the_settings_that_connect_has_written(scripted: Served, way_out: WayOut, folder: Path) -> None:
    assert scripted.sandbox.run("connect", "codex", "--write").code == 0
    command = (client("codex"), "--profile", "gpt-oss", *NO_PLUGINS, *EXEC)
    # --strict-config: every word of ours is one that this version knows.
    done = run(scripted, way_out, folder, *command, "--strict-config")
    assert done.code == 0, done
    assert_done(done.out, folder)
    assert way_out.asked == []


def test_it_is_given_the_key(serve: Callable[..., Served], tmp_path: Path, way_out: WayOut, folder: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("sk-of-this-test\n")
    served = serve_scripted(serve, "--api-key-file", keys)
    done = run(served, way_out, folder, executable(), "launch", "codex", "--", *NO_PLUGINS, *EXEC)
    assert done.code == 0, done
    assert_done(done.out, folder)
