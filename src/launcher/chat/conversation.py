"""A conversation: what was said, how it is kept as JSON, and what of it fits a context. All pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from launcher.engines.types import Message, ReasoningEffort
from launcher.errors import DamagedFileError, UsageError
from launcher.records import RecordError, from_jsonable, to_jsonable

SCHEMA = 1
"""Version of the JSON form. A later launcher reads an older one; an older launcher refuses a later one."""

_INSTRUCTIONS = ("system", "developer")
_TRAINED_N_CTX = 131_072
"""What both models were trained for: no larger context is of use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """What was said, oldest first. Every change gives another conversation."""

    messages: tuple[Message, ...] = ()
    reasoning_effort: ReasoningEffort | None = None
    """None leaves the template's default."""

    def with_system(self, text: str | None) -> Conversation:
        """Set the system text, in front of everything else; None or blank removes it."""
        rest = tuple(message for message in self.messages if message.role not in _INSTRUCTIONS)
        system = (Message(role="system", content=text),) if text and text.strip() else ()
        return replace(self, messages=system + rest)

    def with_user(self, text: str) -> Conversation:
        """Add a question."""
        return self.with_message(Message(role="user", content=text))

    def with_message(self, message: Message) -> Conversation:
        """Add a message: a parser's `message()`, or a tool's answer."""
        return replace(self, messages=(*self.messages, message))

    def with_effort(self, effort: ReasoningEffort | None) -> Conversation:
        """Set how much the model thinks."""
        return replace(self, reasoning_effort=effort)

    def without_last_turn(self) -> Conversation:
        """Take back the last question and everything after it."""
        asked = [index for index, message in enumerate(self.messages) if message.role == "user"]
        return replace(self, messages=self.messages[: asked[-1]]) if asked else self


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """What of a conversation goes to the engine, and what was left out for it."""

    messages: tuple[Message, ...]
    n_prompt: int
    """Tokens of the prompt that `messages` make."""
    dropped_reasoning: bool
    """Whether the analysis of past turns was left out."""
    dropped: tuple[Message, ...]
    """Messages that were left out, oldest first."""

    @property
    def notice(self) -> str | None:
        """One line for the user; None where nothing was left out that the model would have seen."""
        if not self.dropped:
            return None
        n_questions = sum(message.role == "user" for message in self.dropped)
        what = f"{n_questions} exchanges were" if n_questions > 1 else "exchange was"
        return f"The conversation is longer than the context: the oldest {what} left out."


def fit(
    conversation: Conversation, count_tokens: Callable[[Sequence[Message]], int], n_ctx: int | None, reserve: int
) -> Fitted:
    """Choose what of a conversation goes into the context.

    Analysis of past turns goes first (Harmony's template drops it by itself, others may not), then whole turns, oldest
    first: a question with all that answers it, so that no tool message stands without its call. Instructions and the
    last question, with what followed it, always stay.

    Args:
        conversation: Everything that was said.
        count_tokens: Tokens of the prompt that these messages make; fewer messages never make more.
        n_ctx: Tokens that the context holds; None: unknown, and everything goes.
        reserve: Of these, how many are kept for the answer.

    Raises:
        UsageError: The instructions and the last turn alone are too long.
    """
    everything = conversation.messages
    n_prompt = count_tokens(everything)
    if n_ctx is None or n_prompt <= n_ctx - reserve:
        return Fitted(messages=everything, n_prompt=n_prompt, dropped_reasoning=False, dropped=())

    room = n_ctx - reserve
    starts = [index for index, message in enumerate(everything) if message.role == "user"]
    last = starts[-1] if starts else 0
    slim = tuple(
        replace(message, reasoning=None) if index < last and message.reasoning else message
        for index, message in enumerate(everything)
    )

    def keep(begin: int) -> tuple[Message, ...]:
        return tuple(m for index, m in enumerate(slim) if index >= begin or m.role in _INSTRUCTIONS)

    # Where the kept part may begin. What stands before the first question (a greeting) goes by itself.
    begins = sorted({0, *starts})
    first = bisect_left(begins, True, hi=len(begins) - 1, key=lambda begin: count_tokens(keep(begin)) <= room)  # noqa: FBT003
    messages = keep(begins[first])
    n_prompt = count_tokens(messages)
    if n_prompt > room:
        raise UsageError(
            f"the last message makes a prompt of {n_prompt} tokens; the context holds {n_ctx},"
            f" of which {reserve} are kept for the answer",
            hint=f"gpt-oss chat --ctx-size {min(_next_size(n_prompt + reserve), _TRAINED_N_CTX)}",
        )
    return Fitted(
        messages=messages,
        n_prompt=n_prompt,
        dropped_reasoning=slim != everything,
        dropped=tuple(m for m in everything[: begins[first]] if m.role not in _INSTRUCTIONS),
    )


def to_json(conversation: Conversation) -> dict[str, Any]:
    """Spell a conversation for `json.dumps`."""
    return {"schema": SCHEMA, **to_jsonable(conversation)}


def from_json(data: Any, *, path: str | None = None) -> Conversation:
    """Read what `to_json` wrote. `path` is named in the error.

    Raises:
        DamagedFileError: It is no conversation, or one of a later launcher.
    """
    where = f"{path}: " if path else ""
    if not isinstance(data, Mapping) or "schema" not in data:
        raise DamagedFileError(f"{where}not a saved conversation", path=path)
    schema = data["schema"]
    if schema != SCHEMA:
        raise DamagedFileError(f"{where}saved by another version of the launcher (schema {schema!r})", path=path)
    try:
        return from_jsonable(Conversation, {key: value for key, value in data.items() if key != "schema"})
    except RecordError as error:
        raise DamagedFileError(f"{where}not a saved conversation: {error}", path=path) from None


def _next_size(n_tokens: int) -> int:
    """Round up to the next power of two: the sizes that contexts are given in."""
    return 1 << max(0, n_tokens - 1).bit_length()
