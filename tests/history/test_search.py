"""Words find conversations, and nothing that a person types is syntax."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.history import index
from launcher.history.opening import open_history
from launcher.history.store import SqliteHistory
from launcher.history.types import History
from launcher.history.words import excerpt, terms_of
from tests.history.samples import answer, clock, user


@pytest.fixture(params=["FTS5", "no FTS5"])
def either(request: pytest.FixtureRequest, path: Path) -> Iterator[History]:
    """A history with and one without an index: the answers must be the same."""
    with open_history(path, tell=print, strict=True, now=clock()) as opened:
        assert isinstance(opened, SqliteHistory)
        assert opened._fts5, "this SQLite has FTS5"
        opened._fts5 = request.param == "FTS5"
        yield opened


def found(history: History, text: str) -> list[str]:
    return [hit.about.title for hit in history.search(text)]


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("koln", ["weather"]),
        ("KÖLN", ["weather"]),
        ("ko\u0308ln", ["weather"]),
        ("umbr", ["weather"]),
        ("rella", []),
        ("umbrella rain", ["weather"]),
        ("weather umbrella", ["weather"]),
        ("weather sonata", []),
        ("snake_case", ["code"]),
        ("case", ["code"]),
        ("foo-bar", ["code"]),
        ("bar-foo", []),
        ("C++", ["code"]),
        ("++", ["code"]),
        ("100%", ["code"]),
        ("%", ["code"]),
        ("\\", []),
        ("東京", ["旅行"]),
        ("行", ["旅行"]),
        ("привет", ["Russian"]),
        ("ПРИВ", ["Russian"]),
        ("i", ["旅行", "code", "weather"]),
        ("", []),
        (" \t", []),
    ],
)
def test_words_find(either: History, text: str, titles: list[str]) -> None:
    either.begin([user("It is in Köln."), answer("Take an umbrella, since rain is near.")], title="weather")
    either.begin([user("Is C++ 100% of foo, bar in snake_case?")], title="code")
    either.begin([user("I go: 明日東京へ行きます")], title="旅行")
    either.begin([user("Привет")], title="Russian")
    assert found(either, text) == titles


@pytest.mark.parametrize(
    "text",
    [
        '"',
        '""',
        "'",
        'say"hi',
        'a" OR "b',
        "a AND",
        "NOT",
        "OR",
        "NEAR(a b)",
        "content:x",
        "a*",
        "^a",
        "(",
        "a)",
        "{a}",
        "-a",
        "a;b",
        "\0",
        "--",
    ],
)
def test_what_is_typed_is_data(either: History, text: str) -> None:
    either.begin([user(f"before {text} after")])
    assert len(either.search(f"before {text}")) == 1
    assert either.search("absent " + text) == ()
    assert isinstance(either, SqliteHistory)
    (through_id,) = either._connection.execute("SELECT through_id FROM search_index").fetchone()
    assert through_id >= 0, "FTS5 took it, and it is not by reading everything that the words were found"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=30))
def test_any_text_can_be_searched(either: History, text: str) -> None:
    either.search(text)


def test_what_is_said_later_is_found_and_what_is_taken_back_is_not(either: History) -> None:
    one = either.begin([user("apple")])
    assert found(either, "apple") == ["apple"]
    either.append(one, answer("pear"))
    assert found(either, "pear") == ["apple"]
    either.replace_from(one, 1, [answer("plum")])
    assert (found(either, "pear"), found(either, "plum")) == ([], ["apple"])
    either.set_system(one, "cherry")
    assert found(either, "cherry") == ["apple"]
    either.set_system(one, None)
    assert found(either, "cherry") == []
    either.delete([one])
    assert found(either, "apple") == []


def test_the_newest_first_and_only_so_many(either: History) -> None:
    for title in ("a", "b", "c"):
        either.begin([user("same")], title=title)
    assert found(either, "same") == ["c", "b", "a"]
    assert [hit.about.title for hit in either.search("same", 2)] == ["c", "b"]


def test_the_snippet_shows_the_message_with_most_of_the_words(either: History) -> None:
    long = "nothing " * 50
    either.begin([user("rain"), answer(f"{long}\nThe rain\tof Köln\x1b[2J {long}")], title="t")
    (hit,) = either.search("koln rain")
    assert hit.role == "assistant"
    assert "The rain of Köln [2J nothing" in hit.snippet
    assert hit.snippet.startswith("…")
    assert hit.snippet.endswith("…")
    assert [hit.snippet[begin:end] for begin, end in hit.marks] == ["rain", "Köln"]
    either.begin([user("q")], title="only in the title")
    (hit,) = either.search("title")
    assert (hit.role, hit.snippet) == (None, "only in the title")


@given(text=st.text(max_size=300), word=st.text(min_size=1, max_size=5))
def test_marks_are_inside_the_snippet_and_it_is_one_printable_line(text: str, word: str) -> None:
    snippet, marks = excerpt(terms_of(word), f"{text} {word}")
    assert snippet.isprintable()
    assert len(snippet) <= 122
    assert all(0 <= begin < end <= len(snippet) for begin, end in marks)


def test_many_messages_are_indexed_in_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_BATCH", 3)
    with open_history(path, tell=print, strict=True, now=clock()) as history:
        one = history.begin([user(f"word{number}") for number in range(10)], title="t")
        assert all(found(history, f"word{number}") == ["t"] for number in range(10))
        history.replace_from(one, 9)
        assert found(history, "word9") == []


def test_a_sqlite_without_fts5_keeps_the_index_of_another_honest(path: Path) -> None:
    with open_history(path, tell=print, strict=True, now=clock()) as history:
        one = history.begin([user("apple"), answer("pear")], title="t")
        assert found(history, "pear") == ["t"]
    other = sqlite3.connect(path)
    with other:  # what such a build sees: a table whose module is missing
        other.execute("DROP TABLE messages_fts")
    other.close()
    with open_history(path, tell=print, strict=True, now=clock()) as history:
        history.replace_from(one, 1, [answer("plum")])
        assert (found(history, "pear"), found(history, "plum"), found(history, "apple")) == ([], ["t"], ["t"])


def test_a_damaged_index_is_made_anew(path: Path) -> None:
    with open_history(path, tell=print, strict=True, now=clock()) as history:
        history.begin([user("apple")], title="t")
        assert found(history, "apple") == ["t"]
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE messages_fts_data SET block = x'ffffffff' WHERE id > 10")
    other.close()
    with open_history(path, tell=print, strict=True, now=clock()) as history:
        assert found(history, "apple") == ["t"]
        assert found(history, "apple") == ["t"]
        other = sqlite3.connect(path)
        assert other.execute("SELECT rowid FROM messages_fts WHERE messages_fts MATCH 'apple'").fetchall() == [(1,)]
        other.close()


def test_a_search_while_another_process_writes(path: Path) -> None:
    with open_history(path, tell=print, strict=True, now=clock(), busy_timeout_s=0.01) as history:
        history.begin([user("apple")], title="t")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert found(history, "apple") == ["t"]
        other.execute("ROLLBACK")
        other.close()


def test_the_index_is_brought_up_to_date_while_another_process_writes(path: Path) -> None:
    """Keeps out: a transaction that reads first, and may not write any more once somebody else has."""
    with open_history(path, tell=print, strict=True, now=clock()) as history:
        assert isinstance(history, SqliteHistory)
        history.begin([user("apple")], title="t")
        other = sqlite3.connect(path, isolation_level=None, timeout=0)

        def write(statement: str) -> None:
            if statement.startswith("SELECT"):
                with suppress(sqlite3.OperationalError):  # kept out, as it should be
                    other.execute("UPDATE conversations SET model = coalesce(model, '') || 'm'")

        history._connection.set_trace_callback(write)
        index.catch_up(history._connection)
        history._connection.set_trace_callback(None)
        other.close()
