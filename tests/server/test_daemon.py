"""A supervisor in the background that does not come up: its launcher is told why."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import EngineError
from launcher.server.daemon import start_detached
from launcher.server.supervise import Job
from tests.server.test_supervise import Told, new_record


def job(root: Path, *, state_dir: Path) -> Job:
    record = new_record(root / "logs" / "server.log")
    return Job(command=(str(root / "nowhere" / "llama-server"),), record=record, state_dir=state_dir)


def test_a_failure_is_told_as_if_it_were_in_the_foreground(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"before it was ready|cannot be started"):
        start_detached(job(tmp_path, state_dir=tmp_path / "state"), Told())
    assert not list((tmp_path / "state").rglob("*.json"))


# Its stderr went nowhere: "ended without a word" was all that anyone could find out.
def test_what_nobody_foresaw_is_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(EngineError, match="without a word") as caught:
        start_detached(job(tmp_path, state_dir=tmp_path / "state"), Told())
    assert caught.value.hint == "gpt-oss logs --port 8080"
    assert "Traceback" in (tmp_path / "logs" / "server.log").read_text()
