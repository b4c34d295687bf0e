"""Folders of the launcher, and files that are whole or not there."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.paths import config_file, folders, write_atomic
from tests.systems import POSIX


def test_each_folder_can_be_moved_by_its_variable(tmp_path: Path) -> None:
    environ = {f"GPT_OSS_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
    found = folders(environ)
    assert found.config == tmp_path / "config"
    assert found.data == tmp_path / "data"
    assert found.state == tmp_path / "state"
    assert found.cache == tmp_path / "cache"
    assert config_file(environ) == tmp_path / "config" / "settings.toml"


def test_the_platform_decides_otherwise_and_an_empty_variable_is_none() -> None:
    found = folders({"GPT_OSS_CONFIG_DIR": ""})
    for folder in (found.config, found.data, found.state, found.cache):
        assert "gpt-oss-launcher" in folder.parts
        assert folder.is_absolute()


def test_a_home_folder_is_expanded() -> None:
    assert folders({"GPT_OSS_DATA_DIR": "~/x"}).data == Path.home() / "x"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no other user's home")
def test_the_home_of_nobody_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="GPT_OSS_CACHE_DIR"):
        folders({"GPT_OSS_CACHE_DIR": "~nobody-of-that-name/x"})


def test_write_makes_the_folder_and_only_the_owner_may_read(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_atomic(path, "grüße")
    assert path.read_text(encoding="utf-8") == "grüße"
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@POSIX
def test_write_gives_the_mode_that_is_asked_for(tmp_path: Path) -> None:
    write_atomic(tmp_path / "x", b"1", mode=0o644)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, [1, 2])  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_a_folder_in_the_way_is_an_error_and_leaves_no_rubbish(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError):
        write_atomic(tmp_path / "x", b"1")
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
