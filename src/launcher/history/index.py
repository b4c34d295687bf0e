"""The words of all messages, indexed by FTS5: made by the first search, brought up to date by each.

A message costs nothing while it is said. A build of SQLite without FTS5 can write to the same file: what it could not
keep in step is noted, and the index is made anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from launcher.history.schema import transaction

_BATCH = 2000
"""Messages indexed at one go: half a second in which no other process can write."""
_OUT_OF_STEP = -1


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite can index words."""
    return any(row[0] == "fts5" for row in connection.execute("PRAGMA module_list"))


def catch_up(connection: sqlite3.Connection) -> None:
    """Index what is not yet.

    Raises:
        sqlite3.Error: the file cannot be written, or the index is damaged.
    """
    while _through(connection) < _last(connection):
        with transaction(connection):
            through, last = _through(connection), _last(connection)
            if through == _OUT_OF_STEP:
                connection.execute("DROP TABLE IF EXISTS messages_fts")
                through = 0
            connection.execute(
                "CREATE VIRTUAL TABLE IF NOT EXISTS messages_fts USING fts5 (content, content='messages',"
                " content_rowid='id', tokenize='unicode61 remove_diacritics 2')"
            )
            batch = "FROM (SELECT id, content FROM messages WHERE id > ? ORDER BY id LIMIT ?)"
            connection.execute(
                f"INSERT INTO messages_fts (rowid, content) SELECT id, content {batch}", (through, _BATCH)
            )
            (end,) = connection.execute(f"SELECT coalesce(max(id), ?) {batch}", (last, through, _BATCH)).fetchone()
            connection.execute("UPDATE search_index SET through_id = ?", (end,))


def forget(connection: sqlite3.Connection, which: str, parameters: Sequence[object]) -> None:
    """Take messages that are about to be deleted out of the index, inside the same transaction.

    Args:
        connection: With an open transaction.
        which: The condition of the deletion, which is SQL of ours.
        parameters: Its values.
    """
    through = _through(connection)
    if through <= 0:
        return
    rows = connection.execute(
        f"SELECT id, content FROM messages WHERE {which} AND id <= ?",  # noqa: S608
        (*parameters, through),
    ).fetchall()
    try:
        connection.executemany(
            "INSERT INTO messages_fts (messages_fts, rowid, content) VALUES ('delete', ?, ?)", map(tuple, rows)
        )
    except sqlite3.DatabaseError:  # no FTS5 here, or the index is damaged
        give_up(connection)


def merge(connection: sqlite3.Connection) -> None:
    """Rewrite the index without the words of what was deleted: until then they could be found in the file."""
    if _through(connection) > 0:
        connection.execute("INSERT INTO messages_fts (messages_fts) VALUES ('optimize')")


def give_up(connection: sqlite3.Connection) -> None:
    """Have the next search make the index anew."""
    connection.execute("UPDATE search_index SET through_id = ?", (_OUT_OF_STEP,))


def _through(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT through_id FROM search_index").fetchone()[0])


def _last(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0])
