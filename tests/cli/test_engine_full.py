"""`gpt-oss engine test` while other programs hold a GPU's memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from launcher.builds import store
from launcher.cli.engine_selftest import run_self_tests
from tests.builds.copies import FAILED, PASSED, copy_build


def test_full_memory_takes_no_engine_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine that passed stays one that plans take; one that did not has nothing to lose."""
    monkeypatch.setenv("GPT_OSS_DATA_DIR", str(tmp_path))
    full = replace(FAILED, why="out of memory (loading the demo model on CUDA0)", full=True)
    monkeypatch.setattr("launcher.cli.engine_selftest.self_test", lambda _: full)
    copy_build(tmp_path, "cuda-0.3.36", self_test=PASSED)
    copy_build(tmp_path, "vulkan-0.3.36", self_test=None)
    with pytest.raises(typer.Exit) as caught:
        run_self_tests(("cuda-0.3.36", "vulkan-0.3.36"), as_json=False)
    assert caught.value.exit_code == 6
    said = capsys.readouterr()
    assert "cuda-0.3.36 passed before, and full memory says nothing of it: that result stands" in said.err
    assert "vulkan-0.3.36 passed" not in said.err
    assert store.find(tmp_path, "cuda-0.3.36").usable
    kept = store.find(tmp_path, "vulkan-0.3.36").record
    assert kept is not None
    assert kept.self_test == full
