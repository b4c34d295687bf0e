"""No history: by choice, or since something is wrong with it. Neither stops a conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from launcher.engines.types import FinishReason, Message, ReasoningEffort, Timings
from launcher.errors import LauncherError, UsageError
from launcher.history.types import About, History, Hit, SavedConversation

NOT_KEPT = 0
"""The id of every conversation that is not kept."""


class NullHistory:
    """Keeps nothing, and knows of nothing."""

    def begin(self, messages: Sequence[Message] = (), **_about: Any) -> int:
        """Keep nothing."""
        del messages
        return NOT_KEPT

    def append(
        self,
        conversation_id: int,
        message: Message,
        *,
        finish_reason: FinishReason | None = None,
        timings: Timings | None = None,
    ) -> None:
        """Keep nothing."""

    def replace_from(self, conversation_id: int, index: int, messages: Sequence[Message] = ()) -> None:
        """Keep nothing."""

    def set_title(self, conversation_id: int, title: str) -> None:
        """Keep nothing."""

    def set_effort(self, conversation_id: int, effort: ReasoningEffort | None) -> None:
        """Keep nothing."""

    def set_system(self, conversation_id: int, text: str | None) -> None:
        """Keep nothing."""

    def set_model(
        self, conversation_id: int, *, model: str | None, file: str | None = None, engine: str | None = None
    ) -> None:
        """Keep nothing."""

    def load(self, conversation_id: int) -> SavedConversation:
        """Raise UsageError: there is none."""
        raise not_there(str(conversation_id))

    def list(self, limit: int | None = None) -> tuple[About, ...]:
        """None."""
        del limit
        return ()

    def search(self, text: str, limit: int | None = None) -> tuple[Hit, ...]:
        """None."""
        del text, limit
        return ()

    def delete(self, ids: Sequence[int]) -> int:
        """None were there."""
        del ids
        return 0

    def resolve(self, text: str) -> int:
        """Raise UsageError: there is none."""
        raise not_there(text)

    def save(self, saved: SavedConversation) -> int:
        """Keep nothing."""
        del saved
        return NOT_KEPT


class ForgivingHistory:
    """A history for a chat: the first write that fails is told in one line, and nothing is kept from there on.

    What reads still fails aloud: it was asked for.
    """

    def __init__(self, kept: History, *, tell: Callable[[str], None]) -> None:
        self._kept = kept
        self._writes: History = kept
        self._tell = tell
        self._incomplete = {NOT_KEPT}

    @property
    def is_on(self) -> bool:
        """Whether what is said is kept."""
        return self._writes is self._kept

    def begin(self, messages: Sequence[Message] = (), **about: Any) -> int:
        """As `History.begin`; 0 where nothing is kept."""
        try:
            return self._writes.begin(messages, **about)
        except LauncherError as error:
            self._turn_off(error)
            return NOT_KEPT

    def append(
        self,
        conversation_id: int,
        message: Message,
        *,
        finish_reason: FinishReason | None = None,
        timings: Timings | None = None,
    ) -> None:
        """As `History.append`."""
        self._try(
            conversation_id,
            lambda kept: kept.append(conversation_id, message, finish_reason=finish_reason, timings=timings),
        )

    def replace_from(self, conversation_id: int, index: int, messages: Sequence[Message] = ()) -> None:
        """As `History.replace_from`."""
        self._try(conversation_id, lambda kept: kept.replace_from(conversation_id, index, messages))

    def set_title(self, conversation_id: int, title: str) -> None:
        """As `History.set_title`."""
        self._try(conversation_id, lambda kept: kept.set_title(conversation_id, title))

    def set_effort(self, conversation_id: int, effort: ReasoningEffort | None) -> None:
        """As `History.set_effort`."""
        self._try(conversation_id, lambda kept: kept.set_effort(conversation_id, effort))

    def set_system(self, conversation_id: int, text: str | None) -> None:
        """As `History.set_system`."""
        self._try(conversation_id, lambda kept: kept.set_system(conversation_id, text))

    def set_model(
        self, conversation_id: int, *, model: str | None, file: str | None = None, engine: str | None = None
    ) -> None:
        """As `History.set_model`."""
        self._try(conversation_id, lambda kept: kept.set_model(conversation_id, model=model, file=file, engine=engine))

    def load(self, conversation_id: int) -> SavedConversation:
        """As `History.load`; but of one that was not kept to its end, nobody gets a part for the whole."""
        if conversation_id in self._incomplete:
            raise not_there(str(conversation_id))
        return self._kept.load(conversation_id)

    def list(self, limit: int | None = None) -> tuple[About, ...]:
        """As `History.list`."""
        return self._kept.list(limit)

    def search(self, text: str, limit: int | None = None) -> tuple[Hit, ...]:
        """As `History.search`."""
        return self._kept.search(text, limit)

    def delete(self, ids: Sequence[int]) -> int:
        """As `History.delete`."""
        return self._kept.delete(ids)

    def resolve(self, text: str) -> int:
        """As `History.resolve`."""
        return self._kept.resolve(text)

    def save(self, saved: SavedConversation) -> int:
        """As `History.save`."""
        return self._kept.save(saved)

    def _try(self, conversation_id: int, write: Callable[[History], None]) -> None:
        try:
            write(self._writes)
        except LauncherError as error:
            self._turn_off(error)
        if not self.is_on:
            self._incomplete.add(conversation_id)

    def _turn_off(self, error: LauncherError) -> None:
        self._writes = NullHistory()
        self._tell(f"{error.message}: from here on nothing is kept")


def not_there(text: str) -> UsageError:
    """The error for a conversation that is not in the history."""
    return UsageError(f"there is no conversation {text!r} in the history", hint="gpt-oss history list")
