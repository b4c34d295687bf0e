"""Settings files on disk: found, backed up, changed whole or not at all."""

from __future__ import annotations

import os
import stat
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from launcher.clients import known
from launcher.clients.configs import patches
from launcher.clients.types import ConfigFile
from launcher.clients.write import Written, locate, write_patches
from launcher.errors import DamagedFileError, LauncherError, UsageError
from tests.clients.builders import target
from tests.systems import POSIX

NOW = datetime(2026, 11, 25, 9, 30, 1, tzinfo=UTC)


def place(file: ConfigFile, home: Path) -> Path:
    return locate(file, home=home, environ={}, system="linux")


def write(name: str, home: Path, *, keyed: bool = False) -> tuple[Written, ...]:
    wanted = [(place(patch.file, home), patch) for patch in patches(name, target(keyed=keyed))]
    return write_patches(wanted, name=name, now=lambda: NOW)


def existing(home: Path, file: ConfigFile, text: str, mode: int = 0o644) -> Path:
    path = place(file, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def everything(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


@POSIX
def test_new_files_are_made_without_a_copy_and_for_their_owner_alone(tmp_path: Path) -> None:
    done = write("codex", tmp_path)
    assert [file.path for file in done] == [tmp_path / ".codex/config.toml", tmp_path / ".codex/gpt-oss.config.toml"]
    assert all(file.changed and file.backup is None for file in done)
    assert stat.S_IMODE(done[0].path.stat().st_mode) == 0o600
    assert sorted(everything(tmp_path)) == [".codex/config.toml", ".codex/gpt-oss.config.toml"]


@pytest.mark.parametrize("name", ["codex", "claude", "opencode", "continue", "aider", "llm"])
def test_a_second_time_changes_nothing_and_makes_no_copy(name: str, tmp_path: Path) -> None:
    assert all(file.changed for file in write(name, tmp_path))
    before = everything(tmp_path)
    assert not any(file.changed or file.backup for file in write(name, tmp_path))
    assert everything(tmp_path) == before


@POSIX
def test_the_old_text_is_kept_beside_with_its_mode(tmp_path: Path) -> None:
    text = '# mine\nmodel = "gpt-5"\n'
    path = existing(tmp_path, known.CODEX_CONFIG, text, 0o640)
    done, _ = write("codex", tmp_path)
    assert done.backup == path.with_name("config.toml.bak-20261125-093001")
    assert done.backup.read_text() == text
    assert tomllib.loads(path.read_text())["model"] == "gpt-5"
    for file in (path, done.backup):
        assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_two_copies_of_one_second_are_two(tmp_path: Path) -> None:
    path = existing(tmp_path, known.CODEX_CONFIG, "# one\n")
    write("codex", tmp_path)
    done, _ = write("codex", tmp_path, keyed=True)
    assert done.backup == path.with_name("config.toml.bak-20261125-093001-2")
    assert path.with_name("config.toml.bak-20261125-093001").read_text() == "# one\n"


def test_a_link_stays_one_and_its_file_is_changed(tmp_path: Path) -> None:
    home, dotfiles = tmp_path / "home", tmp_path / "dotfiles"
    dotfiles.mkdir()
    real = dotfiles / "claude.json"
    real.write_text('{"theme": "dark"}\n')
    link = home / ".claude" / "settings.json"
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    (done,) = write("claude", home)
    assert link.is_symlink()
    assert done.path == real
    assert '"theme": "dark"' in real.read_text()
    assert done.backup is not None
    assert done.backup.parent == dotfiles
    assert list(link.parent.iterdir()) == [link]


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".aider.conf.yml"
    path.symlink_to(path)
    with pytest.raises(DamagedFileError, match=r"cannot read .*\.aider\.conf\.yml"):
        write("aider", tmp_path)


@pytest.mark.parametrize("text", [b"{", b'{"a": 1', b"\xff\xfe{}", b"not json"])
def test_a_damaged_file_is_left_alone(text: bytes, tmp_path: Path) -> None:
    existing(tmp_path, known.CLAUDE_SETTINGS, "").write_bytes(text)
    before = everything(tmp_path)
    with pytest.raises(DamagedFileError) as caught:
        write("claude", tmp_path)
    assert caught.value.hint == "gpt-oss connect claude"
    assert everything(tmp_path) == before


def test_of_two_files_none_is_written_where_one_is_damaged(tmp_path: Path) -> None:
    existing(tmp_path, known.AIDER_METADATA, "{")
    before = everything(tmp_path)
    with pytest.raises(DamagedFileError):
        write("aider", tmp_path)
    assert everything(tmp_path) == before


def test_comments_in_json_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / ".config/opencode/opencode.jsonc"
    path.parent.mkdir(parents=True)
    path.write_text('{\n  // mine\n  "theme": "x"\n}\n')
    before = everything(tmp_path)
    with pytest.raises(UsageError, match="comments"):
        write("opencode", tmp_path)
    assert everything(tmp_path) == before
    path.write_text('{"theme": "x"}\n')
    assert write("opencode", tmp_path)[0].path == path, "without comments it is the file to change"


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".aider.conf.yml").mkdir()
    with pytest.raises(DamagedFileError, match="cannot read"):
        write("aider", tmp_path)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write everywhere")
def test_a_file_that_is_read_only_stays(tmp_path: Path) -> None:
    existing(tmp_path, known.CODEX_CONFIG, "# managed\n", 0o444)
    with pytest.raises(LauncherError, match="read-only"):
        write("codex", tmp_path)


def test_what_cannot_be_written_is_told_and_leaves_the_file(tmp_path: Path) -> None:
    (tmp_path / ".codex").write_text("a file where the folder should be\n")
    with pytest.raises(LauncherError):
        write("codex", tmp_path)
    assert list(everything(tmp_path)) == [".codex"]


def test_continues_older_settings_are_not_hidden(tmp_path: Path) -> None:
    """Keeps out: a new config.yaml, beside which Continue no longer reads the config.json that is in use."""
    old = existing(tmp_path, ConfigFile(path=".continue/config.json", format="json"), "{}")
    with pytest.raises(UsageError, match=r"would hide config\.json"):
        write("continue", tmp_path)
    assert list(everything(tmp_path)) == [str(old.relative_to(tmp_path))]
    existing(tmp_path, known.CONTINUE_CONFIG, "name: a\nversion: 1.0.0\nschema: v1\n")
    assert write("continue", tmp_path)[0].changed


def test_where_settings_files_are(tmp_path: Path) -> None:
    def at(file: ConfigFile, environ: dict[str, str] | None = None, system: str = "linux") -> Path:
        return locate(file, home=tmp_path, environ=environ or {}, system=system)

    assert at(known.CODEX_CONFIG, {"CODEX_HOME": "/codex"}) == Path("/codex/config.toml")
    assert at(known.CLAUDE_SETTINGS, {"CLAUDE_CONFIG_DIR": "/c"}) == Path("/c/settings.json")
    assert at(known.CODEX_CONFIG, {"CODEX_HOME": ""}) == tmp_path / ".codex/config.toml"
    xdg = {"XDG_CONFIG_HOME": "/xdg"}
    assert at(known.OPENCODE_CONFIG, xdg) == Path("/xdg/opencode/opencode.json")
    assert at(known.CODEX_CONFIG, xdg) == tmp_path / ".codex/config.toml"
    models = "io.datasette.llm/extra-openai-models.yaml"
    assert at(known.LLM_MODELS) == tmp_path / ".config" / models
    assert at(known.LLM_MODELS, xdg, "darwin") == tmp_path / "Library/Application Support" / models
    assert at(known.LLM_MODELS, {}, "win32") == tmp_path / "AppData/Roaming" / models
