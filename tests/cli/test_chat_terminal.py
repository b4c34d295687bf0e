"""Whole conversations in a real pseudo-terminal, on a model that plays a script."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.sandbox import Sandbox
from tests.cli.terminal import ALT_ENTER, CTRL_C, CTRL_D, CTRL_O, CTRL_R, ENTER, Terminal, terminal

MODEL = Path(__file__).parents[1] / "data" / "chat" / "chat-gpt-oss.gguf"
READY = r">>>\n\s*chat-gpt-oss"
"""An empty prompt, with its status bar below."""


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


@contextmanager
def chat(
    sandbox: Sandbox, *words: str, columns: int = 100, env: Mapping[str, str] | None = None, rows: int = 40
) -> Iterator[Terminal]:
    given = ("chat", "--model", str(MODEL), "--ctx-size", "4096", "--temp", "0", *words)
    environment = {**sandbox.env, **(env or {})}
    with terminal(*given, env=environment, cwd=sandbox.root, columns=columns, rows=rows) as found:
        yield found


def ask(screen: Terminal, question: str, answer: str) -> int:
    """Ask when the prompt is there; where the answer begins."""
    screen.wait_for(READY)
    mark = screen.mark()
    screen.line(question)
    screen.wait_for(answer, after=mark)
    screen.wait_for(READY, after=mark)
    return mark


def test_a_whole_conversation(sandbox: Sandbox) -> None:
    with chat(sandbox, "--tools", "python:unsafe") as screen:
        # Several lines in one question.
        screen.wait_for(READY)
        screen.type(f"first line{ALT_ENTER}second line{ALT_ENTER}How many lines are these?{ENTER}")
        screen.wait_for(r"These are three lines\.")
        assert ">>> first line\n... second line\n... How many lines are these?" in screen.text
        screen.wait_for(r"▸ thought for [\d.]+ s · \d+ tokens")

        mark = screen.mark()
        screen.wait_for(READY)
        screen.line("/effort high")
        screen.wait_for(r"Reasoning effort: high\.", after=mark)
        screen.wait_for(r"· high ·", after=mark)

        # A tool: refused, then allowed.
        mark = screen.mark()
        screen.line("What is 17 times 23?")
        screen.wait_for(r"print\(17 \* 23\)", after=mark)
        screen.wait_for(r"run it\? \[y\]es, \[a\]lways, \[n\]o:", after=mark)
        screen.line("n")
        screen.wait_for("Without Python I can not tell", after=mark)
        screen.wait_for(READY, after=mark)

        mark = screen.mark()
        screen.line("/retry")
        screen.wait_for(r"run it\?", after=mark)
        screen.line("y")
        screen.wait_for("391", after=mark)
        screen.wait_for(r"17 times 23 is 391\.", after=mark)
        screen.wait_for(READY, after=mark)

        # Ctrl-C stops an answer that would never end, and the conversation goes on.
        mark = screen.mark()
        screen.line("Tell me something endless.")
        screen.wait_for("and on and on, and on", after=mark)
        screen.type(CTRL_C)
        screen.wait_for("stopped", after=mark)
        assert "^C" not in screen.text, "keys are no part of an answer"
        screen.wait_for(READY, after=mark)

        mark = screen.mark()
        screen.line("/undo")
        screen.wait_for("Taken back: Tell me something endless", after=mark)
        screen.wait_for(READY, after=mark)

        mark = screen.mark()
        screen.line("/save All about lines")
        screen.wait_for("Saved as conversation 1", after=mark)
        screen.wait_for(READY, after=mark)
        screen.type(CTRL_D)
        assert screen.end() == 0

    listed = sandbox.run("history", "list")
    assert "All about lines" in listed.out
    shown = sandbox.run("history", "show", "1")
    assert "17 times 23 is" in shown.out
    assert "endless" not in shown.out

    with chat(sandbox, "--resume", "last") as screen:
        screen.wait_for("Going on with 'All about lines'")
        mark = ask(screen, "Hello", r"What shall we talk about\?")
        screen.wait_for(r"\d+ reused|prompt \d+", after=mark)
        screen.type(CTRL_R + "three" + CTRL_C)
        screen.line("/quit")
        assert screen.end() == 0
    kept = sandbox.run("history", "show", "last", "--json").out
    assert kept.count("17 times 23 is") == 1
    assert "What shall we talk about?" in kept


def test_thoughts_are_folded_and_can_be_seen(sandbox: Sandbox) -> None:
    with chat(sandbox) as screen:
        ask(screen, "Hello", "What shall we talk about")
        assert "The user says hello. I answer kindly." not in screen.text
        mark = screen.mark()
        screen.type(CTRL_O)
        screen.wait_for(r"The user says hello\. I answer kindly\.", after=0)
        screen.line("/reasoning full")
        screen.wait_for("Thoughts from now on: full", after=mark)
        screen.wait_for(READY, after=mark)
        mark = screen.mark()
        screen.line("/retry")
        screen.wait_for(r"The user says hello\. I answer kindly\.\s+Hello!", after=mark)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_an_answer_in_markdown_keeps_to_the_window(sandbox: Sandbox, columns: int) -> None:
    with chat(sandbox, columns=columns, rows=60) as screen:
        ask(screen, "Explain bubble sort.", "slow to run")
        text = screen.text
    assert "**" not in text, "marks are rendered"
    assert "##" not in text
    assert "wrong order" in re.sub(r"\s+", " ", text)
    assert re.search(r"sorted\s+│\s+\$n - 1\$", text)
    assert "```" not in text
    assert text.count("It is stable") == 1, "nothing is printed twice"


def test_a_dumb_terminal_gets_text(sandbox: Sandbox) -> None:
    with chat(sandbox, env={"TERM": "dumb"}) as screen:
        screen.wait_for(">>>")
        screen.line("Explain bubble sort.")
        screen.wait_for("slow to run")
        screen.line("/quit")
        assert screen.end() == 0
    assert b"\x1b" not in screen.raw
    assert "**wrong order**" in screen.text


def test_no_color_means_no_colour(sandbox: Sandbox) -> None:
    with chat(sandbox, env={"NO_COLOR": "1"}) as screen:
        ask(screen, "Explain bubble sort.", "slow to run")
    colours = re.findall(rb"\x1b\[[\d;]*?(3[0-7]|4[0-7]|9[0-7]|38|48)[;m]", screen.raw)
    assert colours == []


def test_kill_9_in_mid_answer_loses_that_answer_and_nothing_else(sandbox: Sandbox) -> None:
    with chat(sandbox) as screen:
        ask(screen, "Hello", "What shall we talk about")
        mark = screen.mark()
        screen.line("Tell me something endless.")
        screen.wait_for("and on and on", after=mark)
        screen.kill()
    database = sandbox.root / "data" / "history.sqlite3"
    with sqlite3.connect(database) as connection:
        (state,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    assert state == "ok"
    kept = sandbox.run("history", "show", "last").out
    assert "What shall we talk about?" in kept
    assert "Tell me something endless." in kept


def test_two_ctrl_c_leave(sandbox: Sandbox) -> None:
    with chat(sandbox, env={"GPT_OSS_CTX_SIZE": "131072"}) as screen:
        screen.wait_for(READY)
        mark = screen.mark()
        screen.line("Tell me something endless.")
        screen.wait_for("and on and on", after=mark)
        screen.type(CTRL_C + CTRL_C)
        screen.wait_for("stopped|>>>", after=mark)


def test_a_broken_history_is_kept_aside(sandbox: Sandbox) -> None:
    (sandbox.root / "data").mkdir()
    (sandbox.root / "data" / "history.sqlite3").write_bytes(b"no database at all " * 100)
    with chat(sandbox) as screen:
        ask(screen, "Hello", "What shall we talk about")
        assert "history.sqlite3.broken-" in screen.text.replace("\n", "")
    assert list((sandbox.root / "data").glob("history.sqlite3.broken-*"))


def test_without_history_nothing_is_written(sandbox: Sandbox) -> None:
    with chat(sandbox, "--no-history") as screen:
        ask(screen, "Hello", "What shall we talk about")
        screen.type(CTRL_D)
        assert screen.end() == 0
    assert not (sandbox.root / "data").exists()
    assert not list(sandbox.root.glob("state/chat_history*"))
