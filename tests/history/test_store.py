"""What is kept comes back, changed or not, and ids and titles find it."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from launcher.chat.conversation import Conversation
from launcher.engines.types import Message
from launcher.errors import DamagedFileError, UsageError
from launcher.history.conversations import UNTITLED, conversation_of, timestamp, unsaved
from launcher.history.opening import open_history
from launcher.history.types import History
from tests.history.samples import NOON, TIMINGS, WEATHER, answer, clock, user


def texts(history: History, conversation_id: int) -> list[str]:
    return [kept.message.content for kept in history.load(conversation_id).messages]


def test_a_conversation_comes_back_as_it_was(history: History) -> None:
    found = history.begin(WEATHER[:2], model="20b", file="a.gguf", engine="embedded", reasoning_effort="high")
    for message in WEATHER[2:4]:
        history.append(found, message)
    history.append(found, WEATHER[4], finish_reason="stop", timings=TIMINGS)
    saved = history.load(found)
    assert conversation_of(saved) == Conversation(messages=WEATHER, reasoning_effort="high")
    assert (saved.messages[4].finish_reason, saved.messages[4].timings) == ("stop", TIMINGS)
    about = saved.about
    assert (about.id, about.model, about.file, about.engine) == (found, "20b", "a.gguf", "embedded")
    assert about.title == "What is the weather in Köln?"
    assert about.created_at == timestamp(NOON) < about.updated_at
    assert about.n_messages == 3
    assert history.list() == (about,)


def test_what_cannot_be_written_as_utf8_is_kept_with_another_letter(history: History) -> None:
    """Keeps out: half an emoji of a stream that was cut, which SQLite refuses."""
    found = history.begin([user("a\ud83d\0b")], model="m\udcff")
    assert texts(history, found) == ["a?\0b"]
    history.set_title(found, "t\ud83d")
    assert history.load(found).about.title == "t"
    assert history.search("\ud83d\0x") == ()


def test_retry_edit_and_undo(history: History) -> None:
    found = history.begin([user("one"), answer("1"), user("two"), answer("2")])
    history.replace_from(found, 3)
    assert texts(history, found) == ["one", "1", "two"]
    history.append(found, answer("zwei"))
    history.replace_from(found, 2, [user("three"), answer("3")])
    assert texts(history, found) == ["one", "1", "three", "3"]
    history.replace_from(found, 99, [user("four")])
    assert texts(history, found)[-1] == "four"
    history.replace_from(found, 0)
    assert texts(history, found) == []


def test_the_title_is_the_first_question_until_a_person_says_otherwise(history: History) -> None:
    found = history.begin([Message(role="system", content="x")])
    assert history.load(found).about.title == UNTITLED
    history.append(found, user("first"))
    history.append(found, user("second"))
    assert history.load(found).about.title == "first"
    history.replace_from(found, 1, [user("edited")])
    assert history.load(found).about.title == "edited"
    history.set_title(found, "  my\n own\x1b[31m ")
    history.replace_from(found, 1, [user("again")])
    assert history.load(found).about.title == "my own [31m"
    history.set_title(found, " ")
    assert history.load(found).about.title == "again"
    named = history.begin([user("q")], title="named")
    history.append(named, user("r"))
    assert history.load(named).about.title == "named"


def test_a_system_text_comes_in_front_and_goes(history: History) -> None:
    said = (user("q"), answer("a"))
    found = history.begin(said)
    for text in ("be brief", "be long", "be long", None, "again"):
        history.set_system(found, text)
        expected = Conversation(messages=said).with_system(text)
        assert conversation_of(history.load(found)) == expected
    history.replace_from(found, 2, [answer("b")])
    assert texts(history, found) == ["again", "q", "b"]


def test_model_effort_and_parent(history: History) -> None:
    first = history.begin([user("q")], model="20b")
    fork = history.begin([user("q")], parent=first)
    history.set_model(first, model="120b", file="b.gguf", engine="server")
    history.set_effort(first, "low")
    about = history.load(first).about
    assert (about.model, about.file, about.engine, about.reasoning_effort) == ("120b", "b.gguf", "server", "low")
    assert history.load(fork).about.parent == first
    history.delete([first])
    assert history.load(fork).about.parent is None, "a fork outlives its parent"


def test_the_one_that_changed_last_comes_first(history: History) -> None:
    one, two = history.begin([user("one")]), history.begin([user("two")])
    assert [about.id for about in history.list()] == [two, one]
    history.append(one, answer("1"))
    assert [about.id for about in history.list()] == [one, two]
    assert [about.id for about in history.list(1)] == [one]


def test_deleted_is_gone_and_its_number_is_not_given_again(history: History) -> None:
    kept, gone = history.begin([user("kept")]), history.begin([user("gone")])
    assert history.delete([gone, 99]) == 1
    assert [about.id for about in history.list()] == [kept]
    assert history.begin([user("new")]) > gone
    for change in (
        lambda: history.load(gone),
        lambda: history.append(gone, user("x")),
        lambda: history.replace_from(gone, 0),
        lambda: history.set_title(gone, "x"),
        lambda: history.set_system(gone, "x"),
    ):
        with pytest.raises(UsageError, match="no conversation"):
            change()


@pytest.mark.parametrize("indexed", [False, True])
def test_nothing_of_it_is_left_in_the_file(path: Path, indexed: bool) -> None:
    with open_history(path, tell=print, strict=True) as history:
        history.begin([user("kept " * 50)])
        gone = history.begin([user("zebrasecret " * 2000), answer("zebrasecret")])
        if indexed:
            assert history.search("zebrasecret")
        history.delete([gone])
        found = [file.name for file in path.parent.iterdir() if b"zebrasecret" in file.read_bytes()]
        assert found == []
        assert not history.search("zebrasecret")
        assert history.search("kept")


def test_a_person_names_a_conversation(history: History) -> None:
    rome = history.begin([user("Römische Straßen")])
    ruin = history.begin([user("Römische Ruinen")])
    history.begin([user("12 apples")])
    number = history.begin([user("Other")])
    for text, expected in (
        (str(rome), rome), ("last", number), ("romische s", rome), ("RÖMISCHE RUINEN", ruin), (" other ", number),
    ):  # fmt: skip
        assert history.resolve(text) == expected, text
    assert history.resolve("12") == 3, "no such id, but a title begins so"
    exact = history.begin([user("Römische")])
    assert history.resolve("römische") == exact, "a whole title is more than a beginning"
    history.delete([exact])
    with pytest.raises(UsageError, match="2 conversations begin with 'rom'") as several:
        history.resolve("rom")
    assert several.value.details == (f"{ruin}  Römische Ruinen", f"{rome}  Römische Straßen")


@pytest.mark.parametrize("text", ["", " ", "nothing", "99", "-1", "9" * 5000, "last"])
def test_what_names_nothing_is_refused(history: History, text: str) -> None:
    if text != "last":
        history.begin([user("q")])
    with pytest.raises(UsageError, match="no conversation") as refused:
        history.resolve(text)
    assert refused.value.hint == "gpt-oss history list"


def test_one_from_elsewhere_keeps_its_times(history: History) -> None:
    saved = unsaved(Conversation(messages=WEATHER), now=NOON - timedelta(days=3), title="mine", model="20b")
    found = history.load(history.save(saved))
    assert found.about.created_at == timestamp(NOON - timedelta(days=3))
    assert (found.about.title, found.about.model) == ("mine", "20b")
    assert found.messages == saved.messages
    history.replace_from(found.about.id or 0, 1, [user("other")])
    assert history.load(found.about.id or 0).about.title == "mine"
    with pytest.raises(DamagedFileError, match="'soon' is no time"):
        history.save(replace(saved, about=replace(saved.about, updated_at="soon")))


def test_any_thread_may_use_it(history: History) -> None:
    found = history.begin([user("q")])

    def add() -> None:
        for _ in range(20):
            history.append(found, answer("a"))
            history.list()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts(history, found)) == 81


def test_what_was_written_by_hand_and_cannot_be_is_told(path: Path, history: History) -> None:
    found = history.begin([user("q")])
    for column, value in (("role", "king"), ("tool_calls", "{"), ("timings", "[]")):
        other = sqlite3.connect(path)
        (before,) = other.execute(f"SELECT {column} FROM messages").fetchone()
        with other:
            other.execute(f"UPDATE messages SET {column} = ?", (value,))
        with pytest.raises(DamagedFileError, match="history"):
            history.load(found)
        with other:
            other.execute(f"UPDATE messages SET {column} = ?", (before,))
        other.close()
    assert texts(history, found) == ["q"]


def test_two_histories_on_one_file_see_each_other(path: Path, history: History) -> None:
    found = history.begin([user("q")])
    with open_history(path, tell=print, now=clock()) as other:
        other.append(found, answer("from there"))
        assert texts(history, found) == ["q", "from there"]
        history.append(found, user("from here"))
        assert texts(other, found)[-1] == "from here"
