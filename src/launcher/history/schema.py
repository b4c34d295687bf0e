"""The tables, step by step from one version to the next, and how a row becomes a record."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from launcher.errors import DamagedFileError, LauncherError
from launcher.history.conversations import plain
from launcher.history.types import About, SavedMessage
from launcher.records import RecordError, from_jsonable, to_jsonable

Step = Callable[[sqlite3.Connection], None]
_Record = TypeVar("_Record")


class HistoryError(LauncherError):
    """The history cannot be read or written; conversations go on without it."""


class LaterHistoryError(DamagedFileError, HistoryError):
    """The file was written by a later launcher, and is left as it is."""


class BrokenHistoryError(Exception):
    """The file is no history: not SQLite, or with pages that are damaged. Never reaches a user."""


def _first(connection: sqlite3.Connection) -> None:
    # AUTOINCREMENT: an id that was deleted is never given to another conversation, and the search index knows
    # messages by theirs.
    connection.execute(
        "CREATE TABLE conversations ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, titled INTEGER NOT NULL DEFAULT 0,"
        " created_at TEXT NOT NULL, updated_at TEXT NOT NULL, model TEXT, file TEXT, engine TEXT,"
        " reasoning_effort TEXT, parent INTEGER REFERENCES conversations (id) ON DELETE SET NULL)"
    )
    connection.execute("CREATE INDEX conversations_by_time ON conversations (updated_at DESC, id DESC)")
    connection.execute(
        "CREATE TABLE messages ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " conversation_id INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,"
        " position INTEGER NOT NULL, role TEXT NOT NULL, created_at TEXT NOT NULL, name TEXT, tool_call_id TEXT,"
        " finish_reason TEXT, timings TEXT, tool_calls TEXT, content TEXT NOT NULL, reasoning TEXT,"
        " UNIQUE (conversation_id, position))"
    )
    # Messages up to this id are in the search index. The index itself is made by the first search, since not every
    # build of SQLite has FTS5.
    connection.execute("CREATE TABLE search_index (through_id INTEGER NOT NULL)")
    connection.execute("INSERT INTO search_index VALUES (0)")


STEPS: tuple[Step, ...] = (_first,)
"""From no file to version 1, from 1 to 2 and so on. A step that was released is never changed."""


def version_of(connection: sqlite3.Connection) -> int:
    """Version of the tables; 0: there are none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def refuse_later(connection: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS) -> None:
    """Raise LaterHistoryError where the tables are of a later launcher. Nothing in the file is touched or judged."""
    version = version_of(connection)
    if version > len(steps):
        raise LaterHistoryError(
            f"{path} was written by a later launcher (version {version}; this one knows {len(steps)})",
            path=str(path),
            hint="uv tool upgrade gpt-oss-launcher",
        )


def migrate(connection: sqlite3.Connection, steps: Sequence[Step] = STEPS) -> None:
    """Bring the tables to the version of this launcher: all steps that are missing, or none.

    Raises:
        BrokenHistoryError: the file holds something else.
    """
    version = version_of(connection)
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise BrokenHistoryError("a database of something else")
    if version < len(steps):
        with transaction(connection):
            for number in range(version_of(connection), len(steps)):  # again, now that nobody else can write
                steps[number](connection)
                connection.execute(f"PRAGMA user_version = {number + 1}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block is written, or nothing."""
    # At once for writing: a reader that turns writer in the middle can be refused without waiting.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


ABOUT = (
    "SELECT id, title, created_at, updated_at, model, file, engine, reasoning_effort, parent, (SELECT count(*) FROM"
    " messages WHERE conversation_id = c.id AND role IN ('user', 'assistant')) AS n_messages FROM conversations AS c"
)
"""What `about_of` reads; a WHERE or an ORDER follows."""

MESSAGE = (
    "SELECT role, created_at, name, tool_call_id, finish_reason, timings, tool_calls, content, reasoning"
    " FROM messages WHERE conversation_id = ? ORDER BY position"
)
"""What `message_of` reads."""


def about_of(row: sqlite3.Row) -> About:
    """A row of `ABOUT`. Raises DamagedFileError where it holds what cannot be."""
    return _record(About, dict(zip(row.keys(), row, strict=True)))


def message_of(row: sqlite3.Row) -> SavedMessage:
    """A row of `MESSAGE`. Raises DamagedFileError where it holds what cannot be."""
    message = {key: row[key] for key in ("role", "content", "reasoning", "name", "tool_call_id")}
    try:
        calls, timings = json.loads(row["tool_calls"] or "[]"), json.loads(row["timings"] or "null")
    except ValueError as error:
        raise DamagedFileError(f"a message of the history cannot be read: {error}") from None
    return _record(
        SavedMessage,
        {
            "message": {**message, "tool_calls": calls},
            "created_at": row["created_at"],
            "finish_reason": row["finish_reason"],
            "timings": timings,
        },
    )


def insert_message(
    connection: sqlite3.Connection, conversation_id: int, kept: SavedMessage, *, first: bool = False
) -> None:
    """Put a message at the end of a conversation, or in front of everything."""
    message, timings = kept.message, kept.timings
    place = "coalesce(min(position), 1) - 1" if first else "coalesce(max(position), -1) + 1"
    (position,) = connection.execute(
        f"SELECT {place} FROM messages WHERE conversation_id = ?",  # noqa: S608  # SQL of ours
        (conversation_id,),
    ).fetchone()
    calls = json.dumps(to_jsonable(message.tool_calls)) if message.tool_calls else None
    connection.execute(
        "INSERT INTO messages (conversation_id, position, role, created_at, name, tool_call_id, finish_reason,"
        " timings, tool_calls, content, reasoning) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(conversation_id, position, message.role, kept.created_at, plain(message.name)),
            *(plain(message.tool_call_id), kept.finish_reason),
            *(None if timings is None else json.dumps(to_jsonable(timings)), calls),
            *(plain(message.content), plain(message.reasoning)),
        ),
    )


def _record(record_type: type[_Record], data: dict[str, Any]) -> _Record:
    try:
        return from_jsonable(record_type, data)
    except RecordError as error:
        raise DamagedFileError(f"the history holds what cannot be: {error}") from None
