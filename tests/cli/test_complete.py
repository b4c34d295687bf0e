"""Names that the shell completes, asked as bash asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.cli import complete
from tests.builds.copies import copy_build
from tests.cli.sandbox import Sandbox


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that can be used, one that is damaged, and one that was begun."""
    for name in ("DATA", "CACHE"):
        monkeypatch.setenv(f"GPT_OSS_{name}_DIR", str(tmp_path / name.lower()))
    copy_build(tmp_path / "data", "cuda-0.3.36")
    (tmp_path / "data" / "engines" / "rocm-0.3.36").mkdir()
    (tmp_path / "cache" / "engines" / "vulkan-0.3.36").mkdir(parents=True)
    (tmp_path / "cache" / "engines" / "tools").mkdir()


@pytest.mark.usefixtures("engines")
def test_engines_that_can_be_used_tested_and_removed() -> None:
    assert complete.any_engine("") == ["auto", "environment", "cuda-0.3.36"]
    assert complete.tested_engine("") == ["environment", "cuda-0.3.36"]
    assert complete.removable_engine("") == ["cuda-0.3.36", "rocm-0.3.36", "vulkan-0.3.36"]
    assert complete.any_engine("cu") == ["cuda-0.3.36"]


def test_on_a_line_in_bash(sandbox: Sandbox) -> None:
    def told(line: str) -> list[str]:
        asked = {"_GPT_OSS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        return sandbox.run(env=asked).out.split()

    assert told("gpt-oss engine use ") == ["auto", "environment"]
    assert told("gpt-oss engine install v") == ["vulkan"]
