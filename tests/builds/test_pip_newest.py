"""What pip tells of the versions on a person's index."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from launcher.builds.pip import Pip, parse_newest
from launcher.errors import LauncherError

if TYPE_CHECKING:
    from pathlib import Path


def pip(folder: Path, printed: str) -> Pip:
    """A pip that prints the words that it was given, and then this."""
    script = folder / "pip.py"
    script.write_text(f"import sys\nprint(*sys.argv[1:])\nprint({printed!r})\n", encoding="utf-8")
    return Pip(command=(sys.executable, "-I", "-S", str(script)), log=folder / "pip.log")


def test_the_newest_version_is_that_of_its_first_line(tmp_path: Path) -> None:
    told = "WARNING: pip index is experimental\nllama-cpp-python (0.3.40)\nAvailable versions: 0.3.40, 0.3.36"
    assert pip(tmp_path, told).newest("llama-cpp-python", tmp_path) == "0.3.40"
    assert "index versions llama-cpp-python" in (tmp_path / "pip.log").read_text()


def test_a_pip_that_tells_none_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="pip does not tell the versions of llama-cpp-python: see"):
        pip(tmp_path, "nothing").newest("llama-cpp-python", tmp_path)


def test_other_packages_lines_do_not_count() -> None:
    assert parse_newest("llama-cpp-python-x (9)\nllama-cpp-python (1.2) extra", "llama-cpp-python") is None
