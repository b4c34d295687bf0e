"""What is kept of a conversation, and what a history can do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from launcher.engines.types import FinishReason, Message, ReasoningEffort, Timings


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What is known of a conversation besides what was said. Times are ISO 8601, in UTC."""

    id: int | None
    """A small number that is never given twice; None: not in the history."""
    title: str
    created_at: str
    updated_at: str
    model: str | None = None
    """As a person calls it: the model that answered last."""
    file: str | None = None
    """GGUF that answered last."""
    engine: str | None = None
    """`embedded`, `server`, or the URL of a server."""
    reasoning_effort: ReasoningEffort | None = None
    parent: int | None = None
    """Conversation that this one was forked from."""
    n_messages: int = 0
    """Questions and answers: without instructions and without what tools gave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedMessage:
    """One message with what is known of how it came about."""

    message: Message
    created_at: str
    finish_reason: FinishReason | None = None
    timings: Timings | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedConversation:
    """A whole conversation, oldest message first."""

    about: About
    messages: tuple[SavedMessage, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A conversation in which all words of a search occur, with the place that shows it best."""

    about: About
    role: str | None
    """Who said it; None: the words are in the title alone."""
    snippet: str
    """One line of the message around the first word that was found."""
    marks: tuple[tuple[int, int], ...]
    """Where in `snippet` the words stand: begin and end."""


class History(Protocol):
    """Where conversations are kept. Ids are those that `begin` gave."""

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
        """Keep a new conversation with its first messages; without a title it is called after its first question."""
        ...

    def append(
        self,
        conversation_id: int,
        message: Message,
        *,
        finish_reason: FinishReason | None = None,
        timings: Timings | None = None,
    ) -> None:
        """Add a message. When this returns, it is on the disk."""
        ...

    def replace_from(self, conversation_id: int, index: int, messages: Sequence[Message] = ()) -> None:
        """Take back all messages from `index` on, as `Conversation.messages` counts them, and put these there."""
        ...

    def set_title(self, conversation_id: int, title: str) -> None:
        """Call it so, for good; a blank title gives it back the one of its first question."""
        ...

    def set_effort(self, conversation_id: int, effort: ReasoningEffort | None) -> None:
        """Keep how much the model thinks."""
        ...

    def set_system(self, conversation_id: int, text: str | None) -> None:
        """Do as `Conversation.with_system` does."""
        ...

    def set_model(
        self, conversation_id: int, *, model: str | None, file: str | None = None, engine: str | None = None
    ) -> None:
        """Keep who answers from now on."""
        ...

    def load(self, conversation_id: int) -> SavedConversation:
        """All of one conversation. Raises UsageError where there is none, DamagedFileError where it cannot be read."""
        ...

    def list(self, limit: int | None = None) -> tuple[About, ...]:
        """The conversations, the one that changed last first."""
        ...

    def search(self, text: str, limit: int | None = None) -> tuple[Hit, ...]:
        """Conversations that have every word of `text`, or a word that begins so; what changed last first."""
        ...

    def delete(self, ids: Sequence[int]) -> int:
        """Remove conversations for good; those that are not there are passed over. Gives how many there were."""
        ...

    def resolve(self, text: str) -> int:
        """The conversation that is meant: an id, `last`, or the beginning of a title.

        Raises:
            UsageError: None is meant, or several are; the candidates are its details.
        """
        ...

    def save(self, saved: SavedConversation) -> int:
        """Keep a conversation from elsewhere under a new id, with its times."""
        ...
