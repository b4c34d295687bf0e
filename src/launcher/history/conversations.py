"""Between a conversation in memory and a kept one: titles, and the two forms of it. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import overload

from launcher.chat.conversation import Conversation
from launcher.engines.types import Message
from launcher.history.types import About, SavedConversation, SavedMessage
from launcher.text import printable

TITLE_COLUMNS = 60
UNTITLED = "(no question yet)"


def timestamp(now: datetime) -> str:
    """A time as it is kept: to the millisecond, so that text sorts as time does."""
    return now.isoformat(timespec="milliseconds")


def conversation_of(saved: SavedConversation) -> Conversation:
    """What a chat goes on from."""
    return Conversation(
        messages=tuple(kept.message for kept in saved.messages), reasoning_effort=saved.about.reasoning_effort
    )


def unsaved(
    conversation: Conversation,
    *,
    now: datetime,
    title: str | None = None,
    model: str | None = None,
    file: str | None = None,
    engine: str | None = None,
) -> SavedConversation:
    """A conversation that is in no history, in the form that is exported and saved."""
    said = timestamp(now)
    about = About(
        id=None,
        title=title or title_of(conversation.messages),
        created_at=said,
        updated_at=said,
        model=model,
        file=file,
        engine=engine,
        reasoning_effort=conversation.reasoning_effort,
        n_messages=count_said(conversation.messages),
    )
    messages = tuple(SavedMessage(message=message, created_at=said) for message in conversation.messages)
    return SavedConversation(about=about, messages=messages)


def count_said(messages: Iterable[Message]) -> int:
    """How many of these a person would count."""
    return sum(message.role in ("user", "assistant") for message in messages)


def title_of(messages: Iterable[Message]) -> str:
    """The first line of the first question that says something, cut at a word."""
    question = next((message.content for message in messages if message.role == "user"), "")
    # A fence or a rule is a line of its own, and names nothing.
    line = next((line for line in question.splitlines() if any(char.isalnum() for char in line)), question)
    return shortened(clean(line), TITLE_COLUMNS) or UNTITLED


def clean(text: str) -> str:
    """Text as one printable line with single spaces."""
    return " ".join(printable(text).split())


@overload
def plain(text: str) -> str: ...
@overload
def plain(text: None) -> None: ...
def plain(text: str | None) -> str | None:
    """Text that can be written as UTF-8: half a surrogate pair, as a cut stream or file names have, cannot."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def shortened(text: str, n_columns: int) -> str:
    """Cut to so many columns of a terminal, at a word where one ends in the second half; `…` stands for the rest."""
    if columns(text) <= n_columns:
        return text
    kept, used = 0, 1  # the ellipsis takes a column
    for kept, char in enumerate(text):  # noqa: B007  # kept is where the loop ends
        used += columns(char)
        if used > n_columns:
            break
    head = text[:kept]
    whole = head if text[kept : kept + 1] == " " else head.rpartition(" ")[0]
    return (whole if len(whole) * 2 >= len(head) else head).rstrip() + "…"


def columns(text: str) -> int:
    """Columns that text takes: two for wide letters, none for marks that sit on another one."""
    return sum(_width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
