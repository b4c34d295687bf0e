"""`gpt-oss doctor`: one screen, one JSON document, one file to give away."""

from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import pytest

from launcher.cli.doctor_view import lines_of
from launcher.doctor.types import Check
from tests.cli.sandbox import Sandbox

NAMES = {
    *("cpu", "memory", "swap", "engine", "gpu", "toolkits", "known bad", "disk space", "disk speed", "folders"),
    *("hub", "token", "port", "clock"),
}


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def test_a_machine_is_examined_and_a_report_is_written(sandbox: Sandbox) -> None:
    file = sandbox.root / "doctor.md"
    env = {"HF_TOKEN": "hf_abcdefghijklmnopqrstuvwxyz"}
    done = sandbox.run("doctor", "--offline", "--json", "--report", file, env=env)
    document = json.loads(done.out)
    assert document["schema"] == 1
    assert done.code == (0 if document["ok"] else 1)
    assert {check["name"] for check in document["checks"]} >= NAMES
    assert document["counts"]["fail"] == sum(check["status"] == "fail" for check in document["checks"])
    token = next(check for check in document["checks"] if check["name"] == "token")
    assert token["data"] == {"present": True, "from": "HF_TOKEN", "accepted": None}
    report = file.read_text()
    assert f"wrote {file}" in done.err
    for text in (report, done.out):
        assert "hf_abc" not in text
    assert str(sandbox.root) not in report
    assert socket.gethostname() not in report
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in report
    assert list(sandbox.root.glob("**/.gpt-oss-doctor*")) == []


def test_a_hub_out_of_reach_fails_where_no_model_is_here(sandbox: Sandbox) -> None:
    done = sandbox.run("doctor")
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("fail  hub")]
    assert "no connection to 127.0.0.1" in line
    assert "Connection refused" in line
    assert done.out.splitlines()[-1].endswith("something has to be mended")


def test_settings_that_cannot_be_read_are_a_line_of_their_own(sandbox: Sandbox) -> None:
    (sandbox.config / "settings.toml").write_text("modle = 7\n")
    done = sandbox.run("doctor", "--offline")
    assert done.code == 1
    assert done.out.startswith("fail  settings")
    assert "run: gpt-oss config edit" in done.out
    assert "\nok    engine" in done.out


def test_a_report_of_another_kind_is_refused(sandbox: Sandbox) -> None:
    done = sandbox.run("doctor", "--offline", "--report", "doctor.pdf")
    assert done.code == 2
    assert "ends in .md, .txt or .json" in done.error


CHECKS = (
    Check(name="cpu", status="ok", what="eight cores"),
    Check(name="gpu", status="fail", what="a GPU is not used, " * 6, why="it is so", remedy="make " + "x" * 90),
    Check(name="gpu", status="warn", what="another\x1b[31m one", data={"sources": ["https://example.org/" + "x" * 60]}),
)


def test_lines_are_folded_and_commands_are_not() -> None:
    lines = lines_of(CHECKS, 60, colours=False)
    assert lines[0] == "ok    cpu  eight cores"
    commands = [line for line in lines if "run: " in line]
    assert commands == ["           run: make " + "x" * 90]
    assert all(len(line) <= 60 for line in lines if "run: " not in line and "see: " not in line)
    assert not any("\x1b" in line for line in lines)
    assert lines[-3].startswith("warn       another")
    assert lines[-2] == "           see: https://example.org/" + "x" * 60
    assert lines[-1] == "1 ok, 1 warn, 1 fail: something has to be mended"


def test_piped_lines_are_whole() -> None:
    lines = lines_of(CHECKS, None, colours=False)
    assert len(lines) == 7
    coloured = lines_of(CHECKS, None, colours=True)
    assert "\x1b[31mfail\x1b[0m" in coloured[1]
