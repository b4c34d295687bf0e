"""A history in memory that keeps what a conversation tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.engines.types import Message


@dataclass
class FakeHistory:
    """Messages by id."""

    kept: dict[int, list[Message]] = field(default_factory=dict)
    titles: dict[int, str] = field(default_factory=dict)
    efforts: dict[int, str | None] = field(default_factory=dict)
    about: dict[int, dict[str, Any]] = field(default_factory=dict)

    def begin(self, messages: Sequence[Message] = (), **about: Any) -> int:
        number = len(self.kept) + 1
        self.kept[number] = list(messages)
        self.about[number] = about
        return number

    def append(self, conversation_id: int, message: Message, **_how: Any) -> None:
        self.kept[conversation_id].append(message)

    def replace_from(self, conversation_id: int, index: int, messages: Sequence[Message] = ()) -> None:
        self.kept[conversation_id][index:] = messages

    def set_title(self, conversation_id: int, title: str) -> None:
        self.titles[conversation_id] = title

    def set_effort(self, conversation_id: int, effort: str | None) -> None:
        self.efforts[conversation_id] = effort

    def set_model(self, conversation_id: int, **who: Any) -> None:
        self.about.setdefault(conversation_id, {}).update(who)

    def set_system(self, conversation_id: int, text: str | None) -> None:
        rest = [message for message in self.kept[conversation_id] if message.role != "system"]
        self.kept[conversation_id] = ([Message(role="system", content=text)] if text else []) + rest
