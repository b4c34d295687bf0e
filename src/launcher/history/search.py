"""Find conversations by words: with the index where SQLite has one, else by reading everything."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress

from launcher.history.index import catch_up, give_up
from launcher.history.schema import ABOUT, about_of
from launcher.history.types import About, Hit
from launcher.history.words import Term, excerpt, has, terms_of

_MAX_TERMS = 32
"""Words of one search. More come from a text that was pasted by mistake; each is a query of its own."""


def search(connection: sqlite3.Connection, text: str, limit: int | None, *, fts5: bool) -> tuple[Hit, ...]:
    """Conversations with all words of `text` in their title or their messages, what changed last first."""
    terms = terms_of(text)[:_MAX_TERMS]
    if not terms:
        return ()
    everything = [about_of(row) for row in connection.execute(f"{ABOUT} ORDER BY updated_at DESC, id DESC")]
    found = _said(connection, terms, fts5=fts5)
    for about in everything:
        found.update((term, about.id) for term in terms if has(term, about.title))
    n_terms = Counter(conversation_id for _, conversation_id in found)
    hits = [about for about in everything if n_terms[about.id] == len(terms)]
    return tuple(_hit(connection, about, terms) for about in hits[:limit])


def _said(connection: sqlite3.Connection, terms: tuple[Term, ...], *, fts5: bool) -> set[tuple[Term, int | None]]:
    """Which term occurs in the messages of which conversation."""
    if fts5:
        try:
            catch_up(connection)
            return {(term, row[0]) for term in terms for row in _ask(connection, term)}
        except sqlite3.DatabaseError:  # damaged, or it cannot be written just now
            with suppress(sqlite3.DatabaseError):
                give_up(connection)
    rows = connection.execute("SELECT conversation_id, content FROM messages")
    return {(term, conversation_id) for conversation_id, content in rows for term in terms if has(term, content)}


def _ask(connection: sqlite3.Connection, term: Term) -> sqlite3.Cursor:
    if not term.by_word:
        pattern = "".join(f"\\{char}" if char in "%_\\" else char for char in term.text)
        return connection.execute(
            "SELECT DISTINCT conversation_id FROM messages WHERE content LIKE ? ESCAPE '\\'", (f"%{pattern}%",)
        )
    return connection.execute(
        "SELECT DISTINCT conversation_id FROM messages WHERE id IN"
        " (SELECT rowid FROM messages_fts WHERE messages_fts MATCH ?)",
        (term.fts,),
    )


def _hit(connection: sqlite3.Connection, about: About, terms: tuple[Term, ...]) -> Hit:
    """The message with most of the terms, and of these the first."""
    rows = connection.execute(
        "SELECT role, content FROM messages WHERE conversation_id = ? ORDER BY position", (about.id,)
    )
    best, n_best = (None, about.title), 0
    for role, content in rows:
        n_terms = sum(has(term, content) for term in terms)
        if n_terms > n_best:
            best, n_best = (role, content), n_terms
    snippet, marks = excerpt(terms, best[1])
    return Hit(about=about, role=best[0], snippet=snippet, marks=marks)
