"""Long lines of talk: folded at words on a terminal, whole in a pipe; commands whole everywhere."""

from __future__ import annotations

import io
import re
import sys

import pytest

from launcher.cli.errors import print_error
from launcher.cli.output import fold, say, stderr_width
from launcher.errors import UsageError

LONG = "the engine that was chosen is not here any more, so that plans take the best of the others"
FOLDED = ["the engine that was chosen is not here any more,", "so that plans take the best of the others"]
HINT = "gpt-oss engine build cuda --version 0.3.36 --arch 89 --define GGML_NATIVE=OFF --jobs 2"


class Screen(io.StringIO):
    """Stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def on_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Of 50 columns."""
    monkeypatch.setenv("COLUMNS", "50")
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def lines(screen: Screen) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue()).splitlines()


def test_talk_is_folded_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug: narrow terminals broke lines inside words."""
    screen = on_screen(monkeypatch)
    say(LONG)
    assert lines(screen) == FOLDED
    say("  " + LONG)
    assert all(line.startswith("  ") for line in lines(screen)[2:])


def test_in_a_pipe_nothing_is_folded(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    say(LONG)
    print_error(UsageError(LONG, details=(LONG,), hint=HINT))
    assert capsys.readouterr().err == f"{LONG}\nerror: {LONG}\n  {LONG}\nhint:  {HINT}\n"


def test_an_error_is_folded_and_its_hint_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    print_error(UsageError(LONG, details=(LONG,), hint=HINT))
    assert lines(screen) == [
        "error: the engine that was chosen is not here any",
        "       more, so that plans take the best of the",
        "       others",
        "  the engine that was chosen is not here any more,",
        "  so that plans take the best of the others",
        f"hint:  {HINT}",
    ]


@pytest.mark.parametrize(
    ("line", "folded"),
    [
        (f"to go on: {HINT}", ["to go on:", HINT]),
        (f"done; {HINT}; back: gpt-oss engine use auto", ["done;", f"{HINT};", "back: gpt-oss engine use auto"]),
        (f"  {HINT}", [f"  {HINT}"]),
        (
            "cuda-0.3.36 was begun: once more `gpt-oss engine build cuda` goes on",
            ["cuda-0.3.36 was begun: once more", "`gpt-oss engine build cuda` goes on"],
        ),
        (
            f"  note      {LONG}",
            [
                "  note      the engine that was chosen is not here",
                "            any more, so that plans take the best",
                "            of the others",
            ],
        ),
        (f"  run:  {HINT}", [f"  run:  {HINT}"]),
        (f"  llama.tar.gz  12 MiB  {LONG}", [f"  llama.tar.gz  12 MiB  {LONG}"]),
        ("/a/path/" + "x" * 60, ["/a/path/" + "x" * 60]),
        ("", [""]),
    ],
)
def test_commands_columns_and_paths_stay_whole(line: str, folded: list[str]) -> None:
    assert fold(line, 50).split("\n") == folded


def test_a_width_that_is_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    for columns in ("0", "7", "many"):
        monkeypatch.setenv("COLUMNS", columns)
        assert stderr_width() is None
    say(LONG)
    assert lines(screen) == [LONG]
