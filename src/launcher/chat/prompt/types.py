"""What a prompt is, and what its caller tells it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

EditMode = Literal["emacs", "vi"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What the bar below the input tells. What is None is not shown."""

    model: str
    effort: str | None = None
    n_context: int | None = None
    """Tokens of the conversation so far."""
    n_ctx: int | None = None
    """Tokens that it may have."""
    tokens_per_s: float | None = None
    """Of the last answer."""
    memory_bytes: int | None = None
    engine: str | None = None
    tools: tuple[str, ...] = ()
    """Titles of the tools that the model may call."""
    title: str | None = None
    """Of the conversation."""


def _nothing() -> Sequence[str]:
    return ()


def _no_conversations() -> Sequence[tuple[str, str]]:
    return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Names to complete with. Each is called in a thread of its own, when it is first needed after a question."""

    models: Callable[[], Sequence[str]] = _nothing
    conversations: Callable[[], Sequence[tuple[str, str]]] = _no_conversations
    """Pairs of an id and a title, the newest first."""
    tools: Callable[[], Sequence[str]] = _nothing


class Prompt(Protocol):
    """Where a person writes."""

    def read(self, default: str = "") -> str:
        """What the person sends; `default` is there to begin with, to be edited.

        Raises:
            EOFError: Ctrl-D on an empty line, or the terminal is gone.
            KeyboardInterrupt: Ctrl-C on an empty line.
        """
        ...
