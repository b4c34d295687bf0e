"""scripts/gpu_check.py from end to end without a GPU. Slow: a minute or two; run by scripts/test-slow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 900

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="llama.cpp's breakdown is read on Linux"),
]


def rehearse(tmp_path: Path, stage: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/gpu_check.py"), "--stage", stage, "--stand-in"]
    command += ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def parts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """llama.cpp's breakdown without weights of the host."""
    return [{**row, "model_bytes": None if row["device"] == "CPU" else row["model_bytes"]} for row in rows]


def test_a_rehearsal_measures_everything_once(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "all")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "out/loopback-server"
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert record["machine"]["rehearsal"] is True
    assert record["build"]["self_test"] == "passed"
    assert record["unfinished"] == []
    assert len(record["memory"]) > 25
    for row in record["memory"]:
        assert row["refused"] is None
        # What it states without allocating is what it allocates; mapped weights count with what lies between them.
        assert parts(row["stated"]) == parts(row["allocated"]), row["params"]
    whole = [row for row in record["memory"] if row["file"] == "1-layer" and row["params"]["n_gpu_layers"] == 2]
    for row in whole:
        (held,) = row["devices"]
        planned = row["planned"][0]
        assert (
            abs(planned["model_bytes"] - (held["loaded_bytes"] - held["before_bytes"])) < 0.1 * planned["model_bytes"]
        )
    assert {row["test"]["n_depth"] for row in record["speed"]} == {0, 256}
    assert all(row["refused"] is None and row["predicted_ts"] for row in record["speed"] + record["offload"])
    assert [row["n_streams"] for row in record["serve"]] == [1, 2, 4] * 2
    results = (tmp_path / "out/results.jsonl").read_text(encoding="utf-8").splitlines()

    again = rehearse(tmp_path, "memory")
    assert again.returncode == 0, again.stdout + again.stderr
    more = (tmp_path / "out/results.jsonl").read_text(encoding="utf-8").splitlines()[len(results) :]
    assert [json.loads(line)["stage"] for line in more] == ["stage"]
