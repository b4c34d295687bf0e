"""`gpt-oss history` as a person and as a script use it."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from launcher.chat.conversation import Conversation, from_json, to_json
from launcher.cli.app import app
from launcher.cli.history_view import age, file_name
from launcher.errors import LauncherError
from launcher.history.conversations import unsaved
from launcher.history.opening import open_history
from tests.cli.sandbox import Sandbox, assert_runnable
from tests.cli.terminal import CTRL_C, terminal
from tests.history.samples import NOON, TIMINGS, WEATHER, answer, user
from tests.systems import POSIX
from tests.test_imports import HEAVY, loaded

COMMANDS = ("list", "show", "search", "resume", "delete", "export", "import", "path")
EVIL = "evil \x1b]0;owned\x07\x1b[2J\x9b31m"


def history_file(sandbox: Sandbox) -> Path:
    return sandbox.root / "data" / "history.sqlite3"


@pytest.fixture
def filled(sandbox: Sandbox) -> Sandbox:
    """Three conversations: of 40 days ago, of three days ago and of now."""
    times = [datetime.now(UTC) - timedelta(days=40)]
    with open_history(history_file(sandbox), tell=pytest.fail, strict=True, now=lambda: times[-1]) as history:
        history.begin([user("Bake bread " + "with much patience " * 5), answer("Use cups.")], model="20b")
        times.append(datetime.now(UTC) - timedelta(days=3))
        found = history.begin(WEATHER[:-1], model="owner/gpt-oss-20b-GGUF:MXFP4", reasoning_effort="low")
        history.append(found, WEATHER[-1], finish_reason="length", timings=TIMINGS)
        times.append(datetime.now(UTC))
        history.begin([user(EVIL), answer(EVIL)], model="120b")
    return sandbox


def ids(sandbox: Sandbox) -> list[int]:
    with open_history(history_file(sandbox), tell=pytest.fail, strict=True) as history:
        return [about.id or 0 for about in history.list()]


def refused(sandbox: Sandbox, *words: object) -> LauncherError:
    """The error of a command that must fail, without a process of its own: nothing on stdout, and a hint."""
    result = CliRunner().invoke(app, ["history", *map(str, words)], env=sandbox.env)
    assert isinstance(result.exception, LauncherError), result.output
    assert result.stdout == ""
    assert_runnable(result.exception.hint or "")
    return result.exception


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_two_examples(command: str) -> None:
    shown = CliRunner().invoke(app, ["history", command, "--help"], env={"COLUMNS": "120"}).output
    examples = shown.partition("Examples:")[2].partition("╭")[0]
    assert len([line for line in examples.splitlines() if "gpt-oss history" in line]) >= 2
    assert "--debug" in shown


def test_looking_makes_no_file(sandbox: Sandbox) -> None:
    assert sandbox.run("history", "path").out == f"{history_file(sandbox)}\n"
    done = sandbox.run("history", "list")
    assert (done.code, done.out) == (0, "")
    assert "gpt-oss chat begins one" in done.err
    assert json.loads(sandbox.run("history", "list", "--json").out) == {"schema": 1, "conversations": []}
    assert json.loads(sandbox.run("history", "search", "x", "--json").out) == {"schema": 1, "hits": []}
    assert sandbox.refused("history", "show", "last").code == 2
    assert not history_file(sandbox).exists()


def test_list(filled: Sandbox) -> None:
    done = filled.run("history", "list")
    head, *rows = done.out.splitlines()
    assert head.split() == ["id", "when", "messages", "model", "title"]
    assert [row.split()[:2] for row in rows[:2]] == [["3", "now"], ["2", "3"]]
    assert rows[1].split()[3:] == ["3", "owner/gpt-oss-20b-GGUF:MXFP4", "What", "is", "the", "weather", "in", "Köln?"]
    assert done.out.replace("\n", "").isprintable()
    cut = filled.run("history", "list", "--limit", "1")
    assert len(cut.out.splitlines()) == 2
    assert "there are more" in cut.err
    table = json.loads(filled.run("history", "list", "--limit", "2", "--json").out)
    assert [row["id"] for row in table["conversations"]] == [3, 2]
    assert table["conversations"][1]["title"] == "What is the weather in Köln?"
    assert table["conversations"][1]["n_messages"] == 3


def test_show(filled: Sandbox) -> None:
    done = filled.run("history", "show", "what is")
    assert done.code == 0
    assert "User:\nWhat is the weather in Köln?\nI have no umbrella.\n" in done.out
    assert 'calls weather {"city": "Köln"}\n\nTool: weather:\nrain, 9 °C\n' in done.out
    assert done.out.endswith("It rains; take one.\n(cut off)\n")
    assert "umbrella." in done.out
    assert "Rain means" not in done.out
    thoughts = filled.run("history", "show", "2", "--reasoning").out
    assert "(reasoning)\nRain means umbrella.\n(answer)\nIt rains" in thoughts
    table = json.loads(filled.run("history", "show", "2", "--json").out)
    assert table["about"]["reasoning_effort"] == "low"
    assert table["messages"][-1]["timings"]["predicted_n"] == TIMINGS.predicted_n
    evil = filled.run("history", "show", "last")
    assert evil.out.replace("\n", "").isprintable()


def test_search(filled: Sandbox) -> None:
    done = filled.run("history", "search", "KOLN", "umbr")
    assert done.out.splitlines()[0] == "2  What is the weather in Köln?  3 d"
    assert "I have no umbrella." in done.out
    (hit,) = json.loads(filled.run("history", "search", "bread", "--json").out)["hits"]
    assert (hit["about"]["id"], hit["role"], hit["marks"]) == (1, "user", [[5, 10]])
    assert filled.run("history", "search", "nowhere").err == "nothing found\n"
    assert filled.run("history", "search", 'a" OR (b').code == 0
    assert filled.refused("history", "search", " ").code == 2
    assert filled.run("history", "search", "evil").out.replace("\n", "").isprintable()


def test_what_is_not_there_or_not_clear_is_refused(filled: Sandbox) -> None:
    with open_history(history_file(filled), tell=pytest.fail, strict=True) as history:
        history.begin([user("What else?")])
    done = filled.refused("history", "show", "what")
    assert done.code == 2
    assert "2  What is the weather in Köln?" in done.err
    assert "4  What else?" in done.err
    assert filled.refused("history", "export", "99", "md").hint == "gpt-oss history list"


# Deleting


def test_delete_without_a_terminal_takes_yes(filled: Sandbox) -> None:
    done = filled.refused("history", "delete", "1")
    assert done.hint == "gpt-oss history delete 1 --yes"
    assert len(ids(filled)) == 3
    assert filled.run("history", "delete", "1", "last", "--yes").err == "deleted 2 conversations\n"
    assert ids(filled) == [2]
    assert filled.run("history", "delete", "--all", "-y").code == 0
    assert ids(filled) == []
    assert filled.run("history", "delete", "--all", "-y").err == "nothing to delete\n"


@pytest.mark.parametrize(
    ("older_than", "left"), [("30d", [3, 2]), ("2d", [3]), ("49h", [3]), ("8w", [3, 2, 1]), ("1Y", [3, 2, 1])]
)
def test_delete_what_is_old(filled: Sandbox, older_than: str, left: list[int]) -> None:
    CliRunner().invoke(app, ["history", "delete", "--older-than", older_than, "--yes"], env=filled.env)
    assert ids(filled) == left


@pytest.mark.parametrize(
    "words",
    ["", "1 --all", "--all --older-than 1d", "--older-than soon", "--older-than -1d", "--older-than 0.5d", "1 99"],
)
def test_a_slip_deletes_nothing(filled: Sandbox, words: str) -> None:
    assert refused(filled, "delete", *words.split(), "--yes").code == 2
    assert len(ids(filled)) == 3


@pytest.mark.parametrize(("key", "code", "left"), [("y\r", 0, 2), ("n\r", 2, 3), ("\r", 2, 3), (CTRL_C, 130, 3)])
def test_delete_asks_on_a_terminal(filled: Sandbox, key: str, code: int, left: int) -> None:
    with terminal("history", "delete", "2", env=filled.env, cwd=filled.root, columns=60) as screen:
        screen.wait_for("Delete 1 conversation for good")
        assert "What is the weather in Köln?" in screen.text
        screen.type(key)
        assert screen.end() == code
    assert len(ids(filled)) == left


# Terminals


@pytest.mark.parametrize(
    ("command", "columns"), [("list", 30), ("list", 80), ("list", 200), ("search bread", 30), ("search bread", 80)]
)
def test_lines_fit_the_terminal(filled: Sandbox, command: str, columns: int) -> None:
    with terminal("history", *command.split(), env=filled.env, cwd=filled.root, columns=columns) as screen:
        assert screen.end() == 0
    lines = screen.raw.decode().splitlines()
    assert len(lines) == (4 if command == "list" else 2)
    assert len(screen.text.splitlines()) == len(lines), "none is wrapped"
    assert "Bake" in screen.text
    if columns >= 80 and command != "list":
        assert "\x1b[1mbread\x1b[0m" in screen.raw.decode()
    if columns == 80 and command == "list":
        assert "messages" in screen.text


def test_no_escape_sequence_of_a_model_reaches_a_terminal_and_no_color_means_none(filled: Sandbox) -> None:
    env = {**filled.env, "NO_COLOR": "1"}
    for words in (
        ("show", "last"),
        ("list",),
        ("search", "evil"),
        ("export", "last", "md"),
        ("export", "last", "json"),
    ):
        with terminal("history", *words, env=env, cwd=filled.root) as screen:
            assert screen.end() == 0
        assert b"evil" in screen.raw
        assert b"\x1b" not in screen.raw, words
        assert "\x9b" not in screen.raw.decode(), words


def test_ages() -> None:
    for ago, text in (
        (timedelta(seconds=-5), "now"), (timedelta(seconds=59), "now"), (timedelta(minutes=7), "7 min"),
        (timedelta(hours=3), "3 h"), (timedelta(days=2), "2 d"), (timedelta(days=20), "2026-03-01"),
    ):  # fmt: skip
        assert age(NOON.isoformat(), NOON + ago) == text


# Files


def test_export_to_stdout_to_a_file_and_to_a_folder(filled: Sandbox) -> None:
    printed = filled.run("history", "export", "2", "md").out
    assert printed.startswith("# What is the weather in Köln?\n")
    file = filled.root / "talk.md"
    assert filled.run("history", "export", "2", "md", "-o", file).err == f"wrote {file}\n"
    assert file.read_text() == printed
    folder = filled.root / "talks"
    folder.mkdir()
    filled.run("history", "export", "2", "html", "-o", folder)
    assert (folder / "0002-what-is-the-weather-in-köln.html").read_text().startswith("<!doctype html>")
    new = filled.root / "new" / "deep"
    assert "wrote 3 conversations" in filled.run("history", "export", "--all", "json", "-o", new).err
    assert sorted(found.name[:4] for found in new.iterdir()) == ["0001", "0002", "0003"]
    weather = json.loads((new / "0002-what-is-the-weather-in-köln.json").read_text())
    assert from_json(weather) == Conversation(messages=WEATHER, reasoning_effort="low")


@pytest.mark.parametrize("words", ["2", "2 pdf", "md", "--all 2 md -o x", "--all md", "2 3 md", "--all pdf -o x"])
def test_export_of_nothing_in_particular_is_refused(filled: Sandbox, words: str) -> None:
    assert refused(filled, "export", *words.split()).code == 2
    assert not (filled.root / "x").exists()


def test_an_export_that_cannot_be_written_says_so(filled: Sandbox) -> None:
    (filled.root / "file").touch()
    done = filled.refused("history", "export", "2", "md", "-o", filled.root / "file" / "x.md")
    assert "cannot write" in done.error


def test_names_of_files_hold_no_paths() -> None:
    about = unsaved(Conversation(), now=NOON, title="../../etc/passwd\0 " + "東" * 100).about
    name = file_name(about, "md")
    assert name.startswith("0000-etc-passwd-東")
    assert len(name.encode()) < 150
    assert file_name(unsaved(Conversation(), now=NOON, title="!?").about, "md") == "0000.md"


@POSIX
def test_import_takes_both_forms_of_json(filled: Sandbox) -> None:
    whole = filled.root / "whole.json"
    whole.write_text(filled.run("history", "show", "2", "--json").out)
    plain = filled.root / "plain.json"
    filled.run("history", "export", "2", "json", "-o", plain)
    done = filled.run("history", "import", whole, plain)
    assert done.err.splitlines() == [
        f"{whole} is conversation 4: What is the weather in Köln?",
        f"{plain} is conversation 5: What is the weather in Köln?",
    ]
    old, new, said = (json.loads(filled.run("history", "show", n, "--json").out) for n in ("2", "4", "5"))
    assert new == {**old, "about": {**old["about"], "id": 4}}
    assert [kept["message"] for kept in said["messages"]] == [kept["message"] for kept in old["messages"]]
    fresh = filled.run("history", "import", plain, env={"GPT_OSS_DATA_DIR": str(filled.root / "other")})
    assert fresh.code == 0
    assert stat.S_IMODE((filled.root / "other" / "history.sqlite3").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read"),
        ("{", "not a saved conversation"),
        ("[" * 100_000, "not a saved conversation"),
        ("[]", "not a saved conversation"),
        ('{"schema": 99}', "another version"),
        ('{"schema": 1, "messages": [{"role": "king"}]}', "messages[0].role"),
        ('{"schema": 1, "messages": []}', "nothing was said"),
        ('{"about": {}, "messages": []}', "about.id"),
        (
            '{"about": {"id": 1, "title": "t", "created_at": "x", "updated_at": "x"}, "messages": []}',
            "Invalid isoformat",
        ),
        ("\udcff", "not a saved conversation"),
    ],
)
def test_import_refuses_what_is_no_conversation_and_keeps_nothing(
    filled: Sandbox, content: str | None, says: str
) -> None:
    good, bad = filled.root / "good.json", filled.root / "bad.json"
    good.write_text(json.dumps(to_json(Conversation(messages=WEATHER))))
    if content is not None:
        bad.write_bytes(content.encode("utf-8", "surrogateescape"))
    error = refused(filled, "import", good, bad)
    assert error.code == 5
    assert says in error.message
    assert "bad.json" in error.message
    assert len(ids(filled)) == 3


# The rest


def test_resume_goes_on_as_chat_does(filled: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def resume_chat(_flags: Mapping[str, Any], conversation: int) -> int:
        asked.append(conversation)
        return 6

    monkeypatch.setattr("launcher.cli.chat_session.resume_chat", resume_chat)
    done = CliRunner().invoke(app, ["history", "resume", "what is"], env=filled.env)
    assert (done.exit_code, asked) == (6, [2])


def test_a_broken_file_is_told_in_one_line_and_a_later_one_is_refused(filled: Sandbox) -> None:
    file = history_file(filled)
    file.write_bytes(b"broken" * 1000)
    done = filled.run("history", "list", "--json")
    assert json.loads(done.out)["conversations"] == []
    assert "history was broken" in done.err
    assert len(list(file.parent.glob("history.sqlite3.broken-*"))) == 1
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    done = filled.refused("history", "list")
    assert done.code == 5
    assert "later launcher" in done.error


def test_list_loads_nothing_heavy(filled: Sandbox) -> None:
    found = loaded(filled, "history", "list")
    assert "sqlite3" in found
    assert not found & (HEAVY | {"rich", "markdown_it", "psutil", "jinja2", "asyncio"})
