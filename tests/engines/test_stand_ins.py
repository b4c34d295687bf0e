"""Loopback servers that stand for devices: their names, and that none is left behind, however the block ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.demo import demo_model_path
from launcher.engines.oracle import ask
from launcher.engines.stand_ins import stand_ins
from launcher.errors import EngineError
from tests.engines.demo import load_params

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks processes up in /proc")

PATIENCE_S = 20.0
HOLDING = """\
import time
from launcher.engines.stand_ins import stand_ins
with stand_ins(2) as endpoints:
    print(*endpoints, flush=True)
    time.sleep(600)
"""


def servers(endpoints: list[str]) -> list[int]:
    """Processes that serve one of these endpoints."""
    ports = {endpoint.rpartition(":")[2] for endpoint in endpoints}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended meanwhile
            continue
        if "ggml-rpc-server" in words[0] and ports & set(words):
            found.append(int(folder.name))
    return found


def wait_until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def test_none_is_none() -> None:
    with stand_ins(0) as endpoints:
        assert endpoints == []


def interrupted(endpoints: list[str]) -> None:
    assert len(servers(endpoints)) == 3
    raise KeyboardInterrupt


def test_an_exception_ends_them() -> None:
    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt), stand_ins(3) as endpoints:
        interrupted(seen := endpoints)
    assert len(seen) == 3
    assert servers(seen) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_they_end_with_a_launcher_that_is_killed(number: signal.Signals) -> None:
    """Regression guard: no `finally` runs then, and a server would listen for good."""
    with subprocess.Popen([sys.executable, "-c", HOLDING], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        endpoints = launcher.stdout.readline().split()
        assert len(servers(endpoints)) == 2
        os.kill(launcher.pid, number)
        launcher.wait(PATIENCE_S)
    assert wait_until(lambda: not servers(endpoints))


def test_the_rows_have_the_names_of_the_devices_they_stand_for() -> None:
    names = ("CUDA1", "CUDA0")
    case = load_params(devices=names, n_gpu_layers=5, split_mode="layer", tensor_split=(1.0, 4.0))
    (answer,) = ask(demo_model_path(), [case], n_stand_ins=2)
    assert {row.device for row in answer.rows} == {*names, "CPU"}
    # Layers are dealt out in the order of the names: the second has most of them, and the output.
    assert answer.row("CUDA0").model_bytes > answer.row("CUDA1").model_bytes > 0


def test_fewer_devices_than_stand_ins() -> None:
    cases = [
        load_params(devices=("CUDA0",), n_gpu_layers=5),
        load_params(devices=("CUDA0", "CUDA1"), n_gpu_layers=5, split_mode="layer", tensor_split=(2.0, 3.0)),
        load_params(),
    ]
    one, two, none = ask(demo_model_path(), cases, n_stand_ins=2)
    assert {row.device for row in one.rows} == {"CUDA0", "CPU"}
    assert {row.device for row in two.rows} == {"CUDA0", "CUDA1", "CPU"}
    assert {row.device for row in none.rows} == {"CPU"}


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_an_engine_without_the_program(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no ggml-rpc-server"), stand_ins(1, program=tmp_path / "ggml-rpc-server"):
        pass


@pytest.mark.parametrize("body", ["exit 1", "echo $$ >> pids; exec sleep 600"])
def test_one_that_does_not_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.chdir(tmp_path)
    program = script(tmp_path / "ggml-rpc-server", body)
    with pytest.raises(EngineError, match="did not start on port"), stand_ins(1, program=program, ready_s=0.5):
        pass
    pids = tmp_path / "pids"
    for pid in pids.read_text().split() if pids.exists() else ():
        assert not Path("/proc", pid).exists(), "it is not left running, nor unreaped"
