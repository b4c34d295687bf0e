"""The error boundary by itself: which code and which hint an error ends with, and what never reaches a terminal."""

from __future__ import annotations

import pytest

from launcher.cli import errors
from launcher.errors import DamagedFileError, EngineError, LauncherError, NetworkError, UsageError
from tests.cli.sandbox import assert_runnable


def outcome(raised: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    def app() -> None:
        raise raised

    with pytest.raises(SystemExit) as ended:
        errors.run(app)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [
        (LauncherError("x"), 1, "gpt-oss --debug"),
        (UsageError("x"), 2, "gpt-oss --help"),
        (NetworkError("x"), 4, "gpt-oss chat --demo"),
        (DamagedFileError("x"), 5, "gpt-oss plan"),
        (EngineError("x"), 6, "gpt-oss doctor"),
        (RuntimeError("x"), 1, "gpt-oss --debug"),
        (PermissionError(13, "Permission denied", "/f"), 1, "gpt-oss --debug"),
    ],
)
def test_no_error_is_without_a_hint(
    error: Exception, code: int, hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["gpt-oss"])
    ended, err = outcome(error, capsys)
    assert ended == code
    assert err.splitlines()[-1] == f"hint:  {hint}"


def test_an_error_is_one_line_and_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = outcome(UsageError("no\nfile \x1b[2J\x9b1m called\r this", hint="gpt-oss plan"), capsys)
    assert err.splitlines()[0].startswith("error: no file ")
    assert len(err.splitlines()) == 2
    assert not set(err) & set("\x1b\x9b\r")


def test_a_damaged_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = outcome(DamagedFileError("truncated", path="/models/a.gguf"), capsys)
    assert err.startswith("error: a.gguf: truncated\n")


def test_the_debug_hint_is_quoted_and_before_the_arguments() -> None:
    hint = errors._with_debug(["chat", "--", "a 'b'"])
    assert hint == "gpt-oss chat --debug -- 'a '\"'\"'b'\"'\"''"
    assert_runnable(hint)
