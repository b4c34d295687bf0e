"""The prompt where nothing can be drawn, and which one is chosen."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from launcher.chat.prompt import choose_prompt, open_prompt
from launcher.chat.prompt.history import HistoryFile
from launcher.chat.prompt.plain import PlainPrompt, asker


def prompt(
    *lines: str, history: Path | None = None, readline: ModuleType | None = None
) -> tuple[PlainPrompt, list[str]]:
    left, marks = list(lines), []

    def ask(mark: str) -> str:
        marks.append(mark)
        if not left:
            raise EOFError
        return left.pop(0)

    return PlainPrompt(history=HistoryFile(history, warn=print), ask=ask, readline=readline), marks


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["hello"], "hello"),
        (["a\\", "b\\", "c"], "a\nb\nc"),
        (['"""a', "b\\", 'c"""'], "a\nb\\\nc"),
        (['/system """', "x", '"""'], "/system x"),
        (["a\x1b[31mb\x00"], "ab"),
        ([""], ""),
    ],
)
def test_lines(lines: list[str], text: str) -> None:
    reader, marks = prompt(*lines)
    assert reader.read() == text
    assert marks == [">>> "] + ["... "] * (len(lines) - 1)


def test_the_end_of_input() -> None:
    with pytest.raises(EOFError):
        prompt()[0].read()


def test_it_shares_the_history(tmp_path: Path) -> None:
    path = tmp_path / "chat_history"
    reader, _ = prompt("a\\", "b", "", "c", history=path)
    for _ in range(3):
        reader.read()
    assert HistoryFile(path, warn=print).load() == ["a\nb", "c"]


def test_an_earlier_question_is_sent_again_or_replaced() -> None:
    reader, marks = prompt("", "new")
    assert reader.read("old\nquestion") == "old\nquestion"
    assert "old\nquestion" in marks[0]
    assert reader.read("old") == "new"


class Readline:
    """What of readline is used."""

    def __init__(self) -> None:
        self.added: list[str] = []
        self.inserted: list[str] = []
        self.hooks: list[bool] = []

    def module(self) -> ModuleType:
        return cast(
            "ModuleType",
            SimpleNamespace(
                add_history=self.added.append,
                set_auto_history=lambda on: None,
                insert_text=self.inserted.append,
                set_startup_hook=self._hook,
            ),
        )

    def _hook(self, hook: Callable[[], None] | None = None) -> None:
        self.hooks.append(hook is not None)
        if hook is not None:
            hook()


def test_readline_knows_the_history_and_is_prefilled(tmp_path: Path) -> None:
    path = tmp_path / "chat_history"
    for entry in ("old", "two\nlines"):
        HistoryFile(path, warn=print).append(entry)
    fake = Readline()
    reader, _ = prompt("new", "again", history=path, readline=fake.module())
    reader.read()
    assert fake.hooks == []
    assert reader.read("before") == "again"
    assert fake.added == ["old", "new", "again"]
    assert fake.inserted == ["before"]
    assert fake.hooks == [True, False], "the next line begins empty"


def test_the_mark_stays_out_of_a_file_of_answers() -> None:
    out = io.StringIO()
    ask = asker(io.StringIO("a\nb"), out)
    assert [ask(">>> "), ask(">>> ")] == ["a", "b"]
    assert out.getvalue() == ">>> >>> "
    with pytest.raises(EOFError):
        ask(">>> ")


@pytest.mark.parametrize(
    ("term", "stdin", "out", "kind"),
    [
        ("xterm-256color", True, True, "full"),
        ("linux", True, True, "full"),
        ("dumb", True, True, "plain"),
        ("DUMB", True, True, "plain"),
        ("unknown", True, True, "plain"),
        ("", True, True, "plain"),
        ("xterm", False, True, "plain"),
        ("xterm", True, False, "plain"),
    ],
)
def test_which_prompt(term: str, stdin: bool, out: bool, kind: str) -> None:
    assert choose_prompt({"TERM": term}, stdin_is_tty=stdin, out_is_tty=out) == kind


def test_a_pipe_gets_the_plain_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("question\n"))
    with open_prompt(say=print, environ={"TERM": "xterm"}) as reader:
        assert reader.read() == "question"
    assert capsys.readouterr().out == ""


PROGRAM = """
import sys
from launcher.chat.prompt import open_prompt
with open_prompt(say=print) as prompt:
    assert prompt.read() == "q"
assert not any(name.partition(".")[0] == "prompt_toolkit" for name in sys.modules)
"""


def test_prompt_toolkit_is_imported_only_where_it_can_draw() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], input=b"q\n", check=True, timeout=60, capture_output=True)
