"""Engines are swapped under the same commands: the answers stay, whichever computes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.builds import store
from tests.builds.copies import copy_build, replace_file
from tests.cli.sandbox import Sandbox

MARK = "computed by the copy"
QUESTION = "What is the capital of France?"


def ask(sandbox: Sandbox, *words: str) -> tuple[str, bool]:
    """What it answers, and whether the copy's bindings were loaded."""
    done = sandbox.run("chat", "--demo", "--temp", "0", *words, QUESTION)
    assert done.code == 0, done.err
    return done.out, MARK in done.err


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A home whose store has the environment's engine once more; it says so when it is loaded."""
    build = copy_build(tmp_path / "data", "cpu-copy")
    init = build.package / "__init__.py"
    text = f'{init.read_text(encoding="utf-8")}\nimport sys\nsys.stderr.write("{MARK}\\n")\n'
    replace_file(init, text.encode())
    return Sandbox(tmp_path)


@pytest.mark.slow  # tests/cli/test_builds.py shows it one by one, and for more commands
def test_the_same_answer_by_each_engine(sandbox: Sandbox) -> None:
    first, by_copy = ask(sandbox, "--build", "environment")
    assert "The capital of France is Paris." in first
    assert not by_copy
    assert ask(sandbox, "--build", "cpu-copy") == (first, True)
    store.choose(sandbox.root / "data", "cpu-copy")
    assert ask(sandbox) == (first, True), "the one that `gpt-oss engine use` chose"
    assert ask(sandbox, "--build", "environment") == (first, False), "what is named beats what was chosen"
