"""Asking llama.cpp what it would allocate: answers, refusals, and children that fail."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.catalogue.headers import file_from_path
from launcher.demo import demo_model_path
from launcher.engines.oracle import OracleAnswer, OracleRow, ask, parse_answer
from launcher.engines.stand_ins import stand_ins
from launcher.errors import EngineError
from launcher.planner.memory import split_context, split_weights
from launcher.planner.types import LoadParams
from tests.builders import X86_ISA
from tests.engines.demo import load_params
from tests.systems import KILL

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="llama.cpp's breakdown is read on Linux")


def params(**changes: Any) -> LoadParams:
    return load_params(load_mode="none", **changes)


def test_the_demo_model_takes_what_the_planner_says() -> None:
    known = file_from_path(demo_model_path(), isa=X86_ISA)
    cases = [params(n_ctx=1024), params(n_ctx=2048, type_k="q8_0", type_v="q8_0")]
    for case, answer in zip(cases, ask(demo_model_path(), cases), strict=True):
        (row,) = answer.rows
        assert row.device == "CPU"
        assert row.context_bytes == split_context(known.spec, case)[-1]
        # Tensors of a few bytes are padded to 32.
        assert row.model_bytes == pytest.approx(split_weights(known.spec, known.weights, case).host_bytes, rel=1e-3)
        assert row.compute_bytes > 0


def test_a_file_that_llama_cpp_refuses(tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + b"\x00" * 100)
    (answer,) = ask(junk, [params()])
    assert answer.refused is not None
    assert "junk.gguf" in answer.refused
    assert answer.rows == ()


def test_a_device_that_is_not_there_is_an_answer() -> None:
    (answer,) = ask(demo_model_path(), [params(devices=("CUDA7",), n_gpu_layers=2)])
    assert answer.refused == "this llama.cpp has no device CUDA7"


def child(folder: Path, body: str) -> str:
    """A stand-in for Python that does something else."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo boom >&2; kill -9 $$", "ended with status -9"),
        ("echo boom >&2; exit 3", "ended with status 3"),
        ("true", "left cases unanswered"),
        ("echo hello", "cannot be read"),
        ("sleep 60", "did not answer within 1 s"),
    ],
)
def test_a_child_that_fails_is_an_error(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        ask(demo_model_path(), [params()], python=child(tmp_path, f"exec 0<&-; {body}"), deadline_s=1)


def test_answers() -> None:
    row = OracleRow(device="CPU", model_bytes=1, context_bytes=2, compute_bytes=3)
    assert parse_answer('{"rows": {"CPU": [1, 2, 3]}}') == OracleAnswer(rows=(row,))
    assert parse_answer('{"refused": "why"}').refused == "why"
    with pytest.raises(EngineError):
        parse_answer('{"rows": {"CPU": [1, 2]}}')


def test_stand_ins_end_with_their_block() -> None:
    with stand_ins(2) as endpoints:
        ports = [int(endpoint.rpartition(":")[2]) for endpoint in endpoints]
        assert len(set(ports)) == 2
        for port in ports:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    for port in ports:
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()


_OWNER = """
import os, signal
from launcher.engines.stand_ins import stand_ins
with stand_ins(1) as endpoints:
    print(endpoints[0], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_stand_in_ends_with_an_owner_that_was_killed() -> None:
    owner = subprocess.run([sys.executable, "-c", _OWNER], capture_output=True, text=True, timeout=60, check=False)
    port = int(owner.stdout.rpartition(":")[2])
    assert owner.returncode == -KILL
    assert gone(port), "the bug: it stayed on its port for good"


def gone(port: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return True
        time.sleep(0.01)
    return False
