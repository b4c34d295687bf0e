"""The history in a SQLite file: every change is one transaction, and on the disk when it returns."""

from __future__ import annotations

import shlex
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from launcher.chat.conversation import Conversation
from launcher.engines.types import FinishReason, Message, ReasoningEffort, Timings
from launcher.errors import DamagedFileError, UsageError
from launcher.history import index
from launcher.history.conversations import clean, plain, timestamp, title_of, unsaved
from launcher.history.null import NOT_KEPT, not_there
from launcher.history.schema import (
    ABOUT,
    MESSAGE,
    HistoryError,
    about_of,
    insert_message,
    message_of,
    transaction,
)
from launcher.history.search import search
from launcher.history.types import About, Hit, SavedConversation, SavedMessage
from launcher.history.words import fold

_MAX_TITLE = 200
_MAX_CANDIDATES = 8
_MAX_DIGITS = 18


class SqliteHistory:
    """A `History`. Any thread may use it; any number of processes may have one on the same file."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        now: Callable[[], datetime],
        fts5: bool | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._now = now
        self._fts5 = index.has_fts5(connection) if fts5 is None else fts5
        self._lock = threading.RLock()

    def begin(
        self,
        messages: Sequence[Message] = (),
        *,
        model: str | None = None,
        file: str | None = None,
        engine: str | None = None,
        reasoning_effort: ReasoningEffort | None = None,
        title: str | None = None,
        parent: int | None = None,
    ) -> int:
        """As `History.begin`."""
        said = Conversation(messages=tuple(messages), reasoning_effort=reasoning_effort)
        saved = unsaved(said, now=self._now(), title=clean(title or "") or None, model=model, file=file, engine=engine)
        with self._writing():
            return self._insert(saved, titled=saved.about.title == clean(title or ""), parent=parent)

    def append(
        self,
        conversation_id: int,
        message: Message,
        *,
        finish_reason: FinishReason | None = None,
        timings: Timings | None = None,
    ) -> None:
        """As `History.append`."""
        now = timestamp(self._now())
        with self._writing():
            self._update(conversation_id, updated_at=now)
            kept = SavedMessage(message=message, created_at=now, finish_reason=finish_reason, timings=timings)
            insert_message(self._connection, conversation_id, kept)
            if message.role == "user":
                self._retitle(conversation_id)

    def replace_from(self, conversation_id: int, index: int, messages: Sequence[Message] = ()) -> None:
        """As `History.replace_from`."""
        now = timestamp(self._now())
        with self._writing():
            self._update(conversation_id, updated_at=now)
            self._cut(conversation_id, max(0, index))
            for message in messages:
                insert_message(self._connection, conversation_id, SavedMessage(message=message, created_at=now))
            self._retitle(conversation_id)

    def set_title(self, conversation_id: int, title: str) -> None:
        """As `History.set_title`."""
        title = clean(title)[:_MAX_TITLE]
        with self._writing():
            self._update(conversation_id, title=plain(title), titled=bool(title))
            self._retitle(conversation_id)

    def set_effort(self, conversation_id: int, effort: ReasoningEffort | None) -> None:
        """As `History.set_effort`."""
        with self._writing():
            self._update(conversation_id, reasoning_effort=effort)

    def set_system(self, conversation_id: int, text: str | None) -> None:
        """As `History.set_system`."""
        with self._writing():
            self._update(conversation_id)
            system = Conversation().with_system(text).messages
            kept = [message_of(row) for row in self._connection.execute(MESSAGE, (conversation_id,))]
            if tuple(k.message for k in kept if k.message.role in ("system", "developer")) == system:
                return
            self._remove("conversation_id = ? AND role IN ('system', 'developer')", (conversation_id,))
            for message in system:
                made = SavedMessage(message=message, created_at=timestamp(self._now()))
                insert_message(self._connection, conversation_id, made, first=True)

    def set_model(
        self, conversation_id: int, *, model: str | None, file: str | None = None, engine: str | None = None
    ) -> None:
        """As `History.set_model`."""
        with self._writing():
            self._update(conversation_id, model=plain(model), file=plain(file), engine=plain(engine))

    def load(self, conversation_id: int) -> SavedConversation:
        """As `History.load`."""
        with self._reading():
            row = self._connection.execute(f"{ABOUT} WHERE id = ?", (conversation_id,)).fetchone()
            if row is None:
                raise not_there(str(conversation_id))
            rows = self._connection.execute(MESSAGE, (conversation_id,)).fetchall()
        return SavedConversation(about=about_of(row), messages=tuple(map(message_of, rows)))

    def list(self, limit: int | None = None) -> tuple[About, ...]:
        """As `History.list`."""
        with self._reading():
            rows = self._connection.execute(
                f"{ABOUT} ORDER BY updated_at DESC, id DESC LIMIT ?", (-1 if limit is None else limit,)
            ).fetchall()
        return tuple(map(about_of, rows))

    def search(self, text: str, limit: int | None = None) -> tuple[Hit, ...]:
        """As `History.search`."""
        with self._reading():
            return search(self._connection, plain(text), limit, fts5=self._fts5)

    def delete(self, ids: Sequence[int]) -> int:
        """As `History.delete`."""
        n_gone = 0
        with self._writing():
            for found in ids:
                self._remove("conversation_id = ?", (found,))
                n_gone += self._connection.execute("DELETE FROM conversations WHERE id = ?", (found,)).rowcount
        with self._lock, suppress(sqlite3.Error):  # it is gone; what follows only leaves no trace of it
            index.merge(self._connection)
            (n_free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            (n_pages,) = self._connection.execute("PRAGMA page_count").fetchone()
            if n_free * 2 > n_pages:
                self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return n_gone

    def resolve(self, text: str) -> int:
        """As `History.resolve`."""
        wanted = clean(text)
        everything = self.list()
        if wanted == "last" and everything:
            return _id(everything[0])
        if wanted.isdecimal() and len(wanted) <= _MAX_DIGITS and any(about.id == int(wanted) for about in everything):
            return int(wanted)
        titles = [(about, fold(about.title)) for about in everything]
        exact = [about for about, title in titles if title == fold(wanted)]
        found = exact or [about for about, title in titles if wanted and title.startswith(fold(wanted))]
        if not found:
            raise not_there(text)
        if len(found) > 1:
            details = [f"{about.id}  {about.title}" for about in found[:_MAX_CANDIDATES]]
            more = [f"and {len(found) - _MAX_CANDIDATES} more"] if len(found) > _MAX_CANDIDATES else []
            raise UsageError(
                f"{len(found)} conversations begin with {text!r}; name one by its number",
                hint=f"gpt-oss history show {found[0].id}",
                details=(*details, *more),
            )
        return _id(found[0])

    def save(self, saved: SavedConversation) -> int:
        """As `History.save`. Raises DamagedFileError where a time of it is none."""
        about = saved.about
        saved = SavedConversation(
            about=replace(about, created_at=_utc(about.created_at), updated_at=_utc(about.updated_at)),
            messages=tuple(replace(kept, created_at=_utc(kept.created_at)) for kept in saved.messages),
        )
        with self._writing():
            titled = about.title != title_of(kept.message for kept in saved.messages)
            return self._insert(saved, titled=titled, parent=None)

    def _insert(self, saved: SavedConversation, *, titled: bool, parent: int | None) -> int:
        about = saved.about
        cursor = self._connection.execute(
            "INSERT INTO conversations (title, titled, created_at, updated_at, model, file, engine, reasoning_effort,"
            " parent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(plain(clean(about.title)[:_MAX_TITLE]), titled, about.created_at, about.updated_at),
                *(plain(about.model), plain(about.file), plain(about.engine), about.reasoning_effort, parent),
            ),
        )
        found = int(cursor.lastrowid or NOT_KEPT)
        for kept in saved.messages:
            insert_message(self._connection, found, kept)
        return found

    def _update(self, conversation_id: int, **values: object) -> None:
        """Set columns of a conversation. Raises UsageError where there is none: deleted by another process."""
        columns = ", ".join(f"{name} = :{name}" for name in values) or "id = id"
        cursor = self._connection.execute(
            f"UPDATE conversations SET {columns} WHERE id = :id",  # noqa: S608  # names of ours
            {**values, "id": conversation_id},
        )
        if cursor.rowcount == 0:
            raise not_there(str(conversation_id))

    def _cut(self, conversation_id: int, n_kept: int) -> None:
        row = self._connection.execute(
            "SELECT position FROM messages WHERE conversation_id = ? ORDER BY position LIMIT 1 OFFSET ?",
            (conversation_id, n_kept),
        ).fetchone()
        if row is not None:
            self._remove("conversation_id = ? AND position >= ?", (conversation_id, row[0]))

    def _remove(self, which: str, parameters: Sequence[object]) -> None:
        index.forget(self._connection, which, parameters)
        self._connection.execute(f"DELETE FROM messages WHERE {which}", parameters)  # noqa: S608  # SQL of ours

    def _retitle(self, conversation_id: int) -> None:
        """Call it after its first question, unless a person gave it a title."""
        rows = self._connection.execute(
            "SELECT content FROM messages WHERE conversation_id = ? AND role = 'user' ORDER BY position LIMIT 1",
            (conversation_id,),
        )
        title = title_of(Message(role="user", content=row[0]) for row in rows)
        self._connection.execute(
            "UPDATE conversations SET title = ? WHERE id = ? AND NOT titled", (title, conversation_id)
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, self._explained("read"):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, self._explained("written"), transaction(self._connection):
            yield

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise HistoryError(
                f"the history cannot be {what} ({error})", hint=f"ls -la {shlex.quote(str(self._path.parent))}"
            ) from error


def _id(about: About) -> int:
    return about.id or NOT_KEPT  # what is listed has one


def _utc(text: str) -> str:
    try:
        return timestamp(datetime.fromisoformat(text).astimezone(UTC))
    except (ValueError, OverflowError):
        raise DamagedFileError(f"not a saved conversation: {text[:40]!r} is no time") from None
