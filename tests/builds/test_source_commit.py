"""Which commit of llama.cpp a source is of, told to CMake where git does not tell it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from launcher.builds.source import commit_definitions
from tests.systems import POSIX

COMMIT, OTHER = "0c1e57098bba43ac29e6e3b677cdceebdd22334f", "f" * 40
TOLD = {"LLAMA_BUILD_COMMIT": "0c1e570", "GIT_EXE": ""}


def tree(folder: Path, head: str = f"{COMMIT}\n") -> Path:
    note = folder / ".git/modules/vendor/llama.cpp/HEAD"
    note.parent.mkdir(parents=True)
    note.write_text(head)
    (folder / "vendor" / "llama.cpp").mkdir(parents=True)
    return folder


def git_says(folder: Path, text: str, code: int = 0) -> dict[str, str]:
    """An environment in which git says this."""
    folder.mkdir(exist_ok=True)
    (folder / "git").write_text(f"#!{shutil.which('sh')}\necho {text}\nexit {code}\n")
    (folder / "git").chmod(0o755)
    return {"PATH": str(folder)}


def test_without_git_the_archive_tells_it(tmp_path: Path) -> None:
    """The bug: llama.cpp called itself `unknown`, and no commit was compared."""
    assert commit_definitions(tree(tmp_path), {"PATH": ""}) == TOLD


@POSIX
def test_a_git_that_tells_it_is_left_to_do_so(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("git is no script there")
    source = tree(tmp_path / "source")
    assert commit_definitions(source, git_says(tmp_path / "bin", COMMIT)) == {}
    # One that finds the repository of a home folder, and one that refuses another person's.
    assert commit_definitions(source, git_says(tmp_path / "bin", OTHER)) == TOLD
    assert commit_definitions(source, git_says(tmp_path / "bin", COMMIT, code=128)) == TOLD


def test_an_archive_that_does_not_tell(tmp_path: Path) -> None:
    assert commit_definitions(tmp_path, {"PATH": ""}) == {}
    assert commit_definitions(tmp_path, {"PATH": ""}, pinned=COMMIT) == TOLD
    branch = tree(tmp_path, "ref: refs/heads/master\n")
    assert commit_definitions(branch, {"PATH": ""}, pinned=COMMIT) == TOLD
