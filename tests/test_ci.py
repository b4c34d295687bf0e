"""The configuration of CI is sound: what it names is there, and nothing of others can change under it."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path)["jobs"]
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(path).values():
        yield from job["steps"]


def test_there_is_one_for_every_change_and_one_for_the_night() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "nightly.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_of_others_are_pinned_by_commit_and_name_their_version(path: Path) -> None:
    lines = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_scripts_that_it_runs_are_there(path: Path) -> None:
    named = re.findall(r"scripts/[\w.-]+", " ".join(str(step.get("run", "")) for step in steps(path)))
    assert named
    for name in named:
        assert (ROOT / name).is_file(), name
        assert os.name == "nt" or os.access(ROOT / name, os.X_OK), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_ends_and_may_only_read(path: Path) -> None:
    assert YAML(typ="safe").load(path)["permissions"] == {"contents": "read"}
    for job in jobs(path).values():
        assert 0 < job["timeout-minutes"] <= 180


def test_the_tests_run_on_three_systems_with_the_oldest_python_that_is_promised() -> None:
    matrix = jobs(WORKFLOWS[0])["test"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert {entry["os"] for entry in matrix["include"]} == set(matrix["os"]), "each has a place for its cache"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={matrix['python'][0]}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_cached_engine_goes_by_its_pin_and_its_settings(path: Path) -> None:
    """Any other change of pyproject.toml would compile llama.cpp again on three systems."""
    keys = [str(step["run"]) for step in steps(path) if ".engine-key" in str(step.get("run", ""))]
    assert len(keys) == len(jobs(path))
    pattern = re.search(r"grep -E '(.+)' pyproject", keys[0])
    assert pattern is not None
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    matched = [line for line in lines if re.search(pattern[1], line)]
    assert len(matched) == 2
    assert "==" in matched[0]
    assert "cmake.define" in matched[1]
