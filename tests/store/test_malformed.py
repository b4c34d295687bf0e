"""A sample of malformed inputs; scripts/models_malformed.py has 500 and more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launcher.catalogue.request import AnyRelease, FromPath, FromRepo, parse_request
from launcher.errors import DamagedFileError, UsageError
from launcher.server.registry import running, servers_dir
from launcher.store.cache import RepoCache
from launcher.store.local import check_parts
from launcher.store.small import read_small
from launcher.text import is_safe_path
from tests.store.malformed import FAMILIES, run_case
from tests.store.malformed_input import COMMIT, REPO, bad_name

FOUND = [
    *(("hyperparameters", 8), ("listings", 5), ("listings", 27), ("names", 10), ("names", 18), ("servers", 2)),
    *(
        ("hyperparameters", 1024),
        ("hyperparameters", 1048),
        ("hyperparameters", 3010),
        ("hyperparameters", 24),
        ("fetched names", 4),
        ("kept", 5),
        ("kept", 7),
    ),
]
"""What was once a crash, a hang or all of the memory."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_malformed_input_is_refused_or_left_out(family: str, tmp_path: Path) -> None:
    for seed in range(100, 102):
        outcome = run_case(family, seed, tmp_path / str(seed) / "deep" / "root")
        assert not outcome.is_fault, outcome


@pytest.mark.parametrize(("family", "seed"), FOUND)
def test_what_was_found_stays_out(family: str, seed: int, tmp_path: Path) -> None:
    outcome = run_case(family, seed, tmp_path / "deep" / "root")
    assert not outcome.is_fault, outcome


def test_a_harness_that_finds_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the harness itself: a crash, a hang and a file that is written outside are faults."""
    import time

    def crash(_root: Path, _rng: object) -> None:
        raise KeyError("x")

    def hang(_root: Path, _rng: object) -> None:
        time.sleep(20)

    def stray(root: Path, _rng: object) -> None:
        (root.parent / "evil-was-here").touch()

    for number, (family, how) in enumerate([(crash, "KeyError"), (hang, "TooLongError"), (stray, "written outside")]):
        monkeypatch.setitem(FAMILIES, "harness", family)
        assert run_case("harness", 1, tmp_path / str(number) / "root", deadline_s=0.05).how == how


def test_names_that_leave_their_folder_are_no_names() -> None:
    import random

    rng = random.Random(1)
    cache = RepoCache(cache_dir=Path("/cache"), repo=REPO)
    names = {bad_name(rng) for _ in range(300)} | {"a\nb.gguf", "a/../b.gguf", "", "/"}
    for name in names:
        if not is_safe_path(name):
            with pytest.raises(UsageError, match="unsafe name"):
                cache.pointer(COMMIT, name)
        else:
            assert cache.pointer(COMMIT, name).is_relative_to(cache.folder / "snapshots" / COMMIT)
    assert all(is_safe_path(name) for name in ("a.gguf", "Q8_0/gpt-oss-20b-Q8_0-00001-of-00002.gguf", "ä.gguf"))
    unsafe = [name for name in names if "evil" in name]
    assert unsafe
    assert not any(map(is_safe_path, unsafe))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("named pipes have no path on Windows")
    import os

    pipe = tmp_path / "model.gguf"
    os.mkfifo(pipe)
    with pytest.raises(DamagedFileError, match="is no file"):
        check_parts(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        read_small(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        read_small("/dev/zero")
    (tmp_path / "large").write_bytes(b"12345")
    assert read_small(tmp_path / "large", limit_bytes=5) == b"12345"
    with pytest.raises(OSError, match="larger than"):
        read_small(tmp_path / "large", limit_bytes=4)


@pytest.mark.parametrize("text", ["n" * 5000, f"./{'n' * 5000}", "a\0b/c", "\ud800"])
def test_a_model_that_no_file_can_be_called(text: str) -> None:
    """Keeps out: `File name too long` of a look whether there is one."""
    try:
        found: AnyRelease | FromPath | FromRepo | None = parse_request(text)
    except UsageError:
        found = None
    assert found is None or isinstance(found, FromPath)


@pytest.mark.parametrize("content", ["[" * 100_000, "\0", '{"pid": "x"}'])
def test_a_damaged_record_of_a_server_is_none(content: str, tmp_path: Path) -> None:
    folder = servers_dir(tmp_path)
    (folder / "9.json").mkdir(parents=True)
    (folder / "8.json").write_text(content)
    assert running(tmp_path) == ()
    assert not (folder / "8.json").exists()
