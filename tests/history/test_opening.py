"""The file is its owner's alone, survives whatever happens to it, and never stops a conversation."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.chat.conversation import Conversation
from launcher.errors import DamagedFileError, UsageError
from launcher.history.conversations import unsaved
from launcher.history.null import NOT_KEPT, ForgivingHistory, NullHistory
from launcher.history.opening import open_history
from launcher.history.schema import STEPS, HistoryError, migrate
from launcher.history.types import History
from tests.history.samples import NOON, answer, clock, user
from tests.systems import POSIX


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def kept(path: Path, n: int = 3) -> bytes:
    """A closed history of some conversations."""
    with open_history(path, tell=print, strict=True, now=clock()) as history:
        for number in range(n):
            history.begin([user(f"question {number} " + "word " * 200), answer("answer")])
    return path.read_bytes()


@pytest.fixture(params=[0o000, 0o022, 0o177])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@POSIX
def test_only_the_owner_may_read_whatever_the_umask(path: Path, umask: int) -> None:
    path.parent.parent.mkdir(exist_ok=True)
    with open_history(path, tell=print, strict=True) as history:
        history.begin([user("q")])
        found = {file.name: mode(file) for file in path.parent.iterdir()}
    assert set(found) == {path.name, f"{path.name}-wal", f"{path.name}-shm"}
    assert set(found.values()) == {0o600}
    assert mode(path.parent) == 0o700


@POSIX
def test_a_folder_that_is_there_stays_as_it_is_and_a_loose_file_is_closed(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    kept(path)
    path.chmod(0o644)
    with open_history(path, tell=print, strict=True) as history:
        history.begin([user("q")])
        assert {mode(file) for file in path.parent.iterdir()} == {0o600}
    assert mode(path.parent) == 0o755


# Broken files


def no_sqlite(path: Path) -> None:
    path.write_bytes(b"Dear diary,\n" * 1000)


def truncated(path: Path) -> None:
    path.write_bytes(kept(path)[:-4096])


def cut_in_a_page(path: Path) -> None:
    path.write_bytes(kept(path)[:5000])


def damaged_page(path: Path) -> None:
    whole = bytearray(kept(path))
    for page in range(4096, len(whole), 4096):
        whole[page : page + 16] = b"\xff" * 16
    path.write_bytes(whole)


def damaged_schema(path: Path) -> None:
    whole = bytearray(kept(path))
    whole[100:108] = b"\xff" * 8
    path.write_bytes(whole)


def of_another_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()


@pytest.mark.parametrize(
    "broken", [no_sqlite, truncated, cut_in_a_page, damaged_page, damaged_schema, of_another_program]
)
@pytest.mark.parametrize("strict", [False, True])
def test_a_broken_file_is_kept_aside_and_a_new_one_begins(
    path: Path, broken: Callable[[Path], None], strict: bool
) -> None:
    path.parent.mkdir()
    broken(path)
    content = path.read_bytes()
    path.with_name(f"{path.name}-wal").write_bytes(b"left over")
    told: list[str] = []
    for _ in range(2):
        with open_history(path, tell=told.append, strict=strict, now=lambda: NOON) as history:
            history.begin([user("new")])
            assert {about.title for about in history.list()} == {"new"}
    aside = path.with_name(f"{path.name}.broken-{NOON.astimezone():%Y%m%d-%H%M%S}")
    assert aside.read_bytes() == content
    assert aside.with_name(f"{aside.name}-wal").exists()
    (line,) = told
    assert str(aside) in line
    assert line.isprintable()
    if broken is no_sqlite:  # one that breaks within the same second is kept as well
        no_sqlite(path)
        with open_history(path, tell=told.append, strict=strict, now=lambda: NOON):
            assert aside.with_name(f"{aside.name}-2").read_bytes() == content


def test_an_empty_file_is_a_new_history(path: Path, history: History) -> None:
    history.begin([user("q")])
    other = path.with_name("empty")
    other.touch()
    with open_history(other, tell=pytest.fail, strict=True) as opened:
        assert opened.list() == ()


def test_a_link_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "a" / "history.sqlite3"
    target = tmp_path / "b" / "real"
    link.parent.mkdir()
    target.parent.mkdir()
    link.symlink_to(target)
    kept(link)
    assert target.exists()
    target.write_bytes(b"broken" * 100)
    told: list[str] = []
    with open_history(link, tell=told.append, strict=True) as history:
        assert history.list() == ()
    assert link.is_symlink()
    assert len(list(target.parent.glob("real.broken-*"))) == 1


# Versions


def later(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE conversations ADD COLUMN mood TEXT DEFAULT 'good'")


def failing(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE moods (name TEXT)")
    raise sqlite3.OperationalError("disk I/O error")


def test_an_older_file_is_brought_up_to_date_step_by_step(path: Path) -> None:
    kept(path)
    with open_history(path, tell=print, strict=True, steps=(*STEPS, later)) as history:
        assert len(history.list()) == 3
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT mood FROM conversations").fetchall() == [("good",)] * 3
    assert connection.execute("PRAGMA user_version").fetchone() == (len(STEPS) + 1,)
    connection.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    kept(path)
    with (
        pytest.raises(HistoryError, match="disk I/O error"),
        open_history(path, tell=print, strict=True, steps=(*STEPS, later, failing)),
    ):
        pass
    with open_history(path, tell=print, strict=True) as history:
        assert len(history.list()) == 3


def test_one_process_at_a_time_opens(path: Path) -> None:
    """Keeps out: two that find a broken file, of which the second puts the new one of the first aside."""

    if sys.platform == "win32":
        pytest.skip("locks as POSIX has them")
    import fcntl

    def look(_connection: sqlite3.Connection) -> None:
        descriptor = os.open(path.parent, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)

    with open_history(path, tell=print, strict=True, steps=(*STEPS, look)):
        descriptor = os.open(path.parent, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


def test_where_there_are_no_such_locks_another_process_may_take_the_step(path: Path) -> None:
    kept(path)
    ours, theirs = (sqlite3.connect(path, isolation_level=None) for _ in range(2))
    steps = (*STEPS, later)
    begun: list[str] = []

    def overtake(statement: str) -> None:
        if statement.startswith("BEGIN") and not begun:
            begun.append(statement)
            migrate(theirs, steps)

    ours.set_trace_callback(overtake)
    migrate(ours, steps)
    assert begun
    assert ours.execute("PRAGMA user_version").fetchone() == (len(steps),)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("strict", [False, True])
def test_a_file_of_a_later_launcher_is_refused_untouched(path: Path, strict: bool) -> None:
    with open_history(path, tell=print, strict=True, steps=(*STEPS, later)) as history:
        history.begin([user("q")])
    before = path.read_bytes()
    told: list[str] = []
    if strict:
        with (
            pytest.raises(DamagedFileError, match="later launcher"),
            open_history(path, tell=told.append, strict=True),
        ):
            pass
        assert told == []
    else:
        with open_history(path, tell=told.append) as history:
            assert history.begin([user("q")]) == NOT_KEPT
        (line,) = told
        assert line.startswith("history is off: ")
        assert "later launcher" in line
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# What cannot be written


def test_a_folder_that_cannot_be_made_does_not_stop_a_chat(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "data" / "history.sqlite3"
    told: list[str] = []
    with open_history(path, tell=told.append) as history:
        assert isinstance(history, NullHistory)
        history.append(history.begin([user("q")], model="20b"), answer("a"))
    (line,) = told
    assert line.startswith(f"history is off: {path} cannot be opened: ")
    with pytest.raises(HistoryError) as refused, open_history(path, tell=told.append, strict=True):
        pass
    assert refused.value.hint == f"ls -la {path.parent}"


def test_a_folder_in_place_of_the_file(path: Path) -> None:
    path.mkdir(parents=True)
    told: list[str] = []
    with open_history(path, tell=told.append) as history:
        assert isinstance(history, NullHistory)
    assert len(told) == 1
    assert path.is_dir()


def test_a_full_disk_in_the_middle_of_a_chat_turns_the_history_off(path: Path) -> None:
    told: list[str] = []
    with open_history(path, tell=told.append) as history:
        assert isinstance(history, ForgivingHistory)
        other, found = history.begin([user("p")]), history.begin([user("q")])
        connection = history._kept._connection  # type: ignore[attr-defined]
        (n_pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {n_pages}")  # what SQLite does on a full disk
        history.append(found, answer("long " * 10_000))
        history.append(found, user("again"))
        history.set_title(found, "t")
        history.set_effort(found, "low")
        history.set_system(found, "s")
        history.set_model(found, model="m")
        history.replace_from(found, 0)
        assert history.begin([user("q")]) == NOT_KEPT
        assert not history.is_on
        assert len(history.load(other).messages) == 1, "what is kept whole can still be read"
        with pytest.raises(UsageError):
            history.load(found)
    assert told == ["the history cannot be written (database or disk is full): from here on nothing is kept"]


def test_one_that_another_process_deleted_does_not_stop_the_chat(path: Path) -> None:
    told: list[str] = []
    with open_history(path, tell=told.append) as history, open_history(path, tell=print, strict=True) as other:
        found = history.begin([user("q")])
        other.delete([found])
        history.append(found, answer("a"))
    (line,) = told
    assert "no conversation" in line


def test_a_file_that_another_process_holds(path: Path) -> None:
    kept(path)
    told: list[str] = []
    with open_history(path, tell=told.append, busy_timeout_s=0.01) as history:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert history.begin([user("q")]) == NOT_KEPT
        assert len(history.list()) == 3
        other.execute("ROLLBACK")
        other.close()
    assert told == ["the history cannot be written (database is locked): from here on nothing is kept"]


def test_no_history_at_all_is_a_history() -> None:
    history: History = NullHistory()
    found = history.begin([user("q")], model="20b")
    history.append(found, answer("a"))
    history.set_title(found, "t")
    assert (history.list(), history.search("q"), history.delete([found])) == ((), (), 0)
    assert history.save(unsaved(Conversation(), now=NOON)) == NOT_KEPT
    for ask in (lambda: history.load(found), lambda: history.resolve("last")):
        with pytest.raises(UsageError):
            ask()


# Several processes, and one that dies

WRITER = """
import sys
from pathlib import Path
from launcher.engines.types import Message
from launcher.history.opening import open_history

def tell(line):
    print("told:", line, flush=True)

sys.stdin.readline()
for round in range(3):
    with open_history(Path(sys.argv[1]), tell=tell) as history:
        found = history.begin([Message(role="user", content=sys.argv[2])])
        for number in range(int(sys.argv[3])):
            history.append(found, Message(role="assistant", content=f"answer {number}"))
            history.list(5)
            history.search("answer", 1)
print("done", flush=True)
"""


@pytest.mark.parametrize("begins", ["nothing", "broken"])
def test_several_processes_write_at_once(path: Path, begins: str) -> None:
    path.parent.mkdir()
    if begins == "broken":
        no_sqlite(path)
    words = [sys.executable, "-c", WRITER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [subprocess.Popen([*words, f"writer{n}", "10"], text=True, **pipes) for n in range(4)]  # type: ignore[call-overload]
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=60)[0] for writer in writers]
    assert sum(out.count("told:") for out in said) == (1 if begins == "broken" else 0), said
    assert all(out.endswith("done\n") for out in said)
    with open_history(path, tell=pytest.fail, strict=True) as history:
        found = [history.load(about.id or 0) for about in history.list()]
        assert len(found) == 12
        for saved in found:
            contents = [kept.message.content for kept in saved.messages]
            assert contents[1:] == [f"answer {n}" for n in range(10)]
    assert len(list(path.parent.glob("*.broken-*"))) == (1 if begins == "broken" else 0)


KILLED = """
import sys
from pathlib import Path
from launcher.engines.types import Message
from launcher.history.opening import open_history

with open_history(Path(sys.argv[1]), tell=print) as history:
    found = history.begin([Message(role="user", content="first question")], model="20b")
    history.append(found, Message(role="assistant", content="first answer"), finish_reason="stop")
    history.append(found, Message(role="user", content="second question"))
    connection = history._kept._connection
    connection.execute("BEGIN IMMEDIATE")  # in the middle of writing the next one
    connection.execute("UPDATE messages SET content = 'half written'")
    print("answering", flush=True)
    sys.stdin.read()
"""


def test_a_process_that_is_killed_loses_at_most_its_answer(path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "answering\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0, "nobody has tidied up"
    with open_history(path, tell=pytest.fail, strict=True) as history:
        (about,) = history.list()
        said = [kept.message.content for kept in history.load(history.resolve("last")).messages]
        assert said == ["first question", "first answer", "second question"]
        history.append(about.id or 0, answer("second answer"))
