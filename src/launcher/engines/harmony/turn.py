"""What every stream parser shares: UTF-8 over split pieces, and the deltas and result of one assistant turn."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import Literal, Protocol

from launcher.engines.types import (
    Channel,
    ChatDelta,
    FinishReason,
    Message,
    NoteDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)

Place = Literal["header", "text", "call", "answer"]
"""Where the next token of a turn would stand: in a message header, in reasoning or commentary, in a call's arguments,
or in the final answer."""

CODE_TOOL = "python"
"""The function whose arguments may be bare code: GPT OSS calls it so, in the analysis channel."""

MESSAGE_BREAK = "\n\n"
"""Parts two messages of one channel within a turn, in the stream and in the result."""

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_INVALID_UTF8 = "The model wrote bytes that are no valid UTF-8; they are shown as \ufffd."


class TurnParser(Protocol):
    """Turns the tokens of one assistant turn into deltas. Never raises on what a model can emit."""

    @property
    def done(self) -> bool:
        """Whether the turn is over: stop decoding. Tokens fed from here on are ignored."""
        ...

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the turn ended; None while it goes on."""
        ...

    @property
    def place(self) -> Place:
        """Where the next token would stand."""
        ...

    def instead_of(self, token_id: int, piece: bytes) -> tuple[int, ...]:
        """Control tokens that may stand here in place of one by which text without a header becomes the answer.

        Empty where this token does no such thing.
        """
        ...

    def feed(self, token_id: int, piece: bytes) -> tuple[ChatDelta, ...]:
        """Take one token with the bytes that it stands for; answer what became certain."""
        ...

    def finish(self, reason: FinishReason) -> tuple[ChatDelta, ...]:
        """End the turn from outside (token limit, Ctrl-C) or after its last token; answer what was held back."""
        ...

    def message(self) -> Message:
        """Give the turn so far as a message for the conversation."""
        ...


class Utf8Stream:
    """Decodes bytes that are cut anywhere, also within a character."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def decode(self, piece: bytes, *, final: bool = False) -> tuple[str, bool]:
        """Give the text that is complete, and whether every byte of it was valid.

        An invalid byte becomes one U+FFFD. It passes through a lone surrogate first, which valid UTF-8 never holds, so
        that a U+FFFD that the model wrote itself is not taken for damage.
        """
        text, n_invalid = _ESCAPED_BYTE.subn("\ufffd", self._decoder.decode(piece, final))
        return text, n_invalid == 0


class TurnWriter:
    """Collects one turn: the deltas not yet handed out, and the texts and calls so far."""

    def __init__(self, make_id: Callable[[int], str]) -> None:
        self._make_id = make_id
        self._pending: list[ChatDelta] = []
        self._noted: set[str] = set()
        self._texts: dict[Channel, list[str]] = {"analysis": [], "commentary": [], "final": []}
        self._break_due: set[Channel] = set()
        self._calls: list[ToolCall] = []

    def take(self) -> tuple[ChatDelta, ...]:
        """Hand out the deltas since the last time."""
        deltas = tuple(self._pending)
        self._pending.clear()
        return deltas

    def begin(self, channel: Channel) -> None:
        """Start another message of a channel: its first text is set apart from what came before."""
        if self._texts[channel]:
            self._break_due.add(channel)

    def write(self, channel: Channel, text: str) -> None:
        """Add text of a channel."""
        if not text:
            return
        if channel in self._break_due:
            self._break_due.remove(channel)
            text = MESSAGE_BREAK + text
        self._texts[channel].append(text)
        self._pending.append(TextDelta(channel=channel, text=text))

    def note(self, text: str) -> None:
        """Tell the user something, once a turn."""
        if text not in self._noted:
            self._noted.add(text)
            self._pending.append(NoteDelta(text=text))

    def invalid_utf8(self) -> None:
        """Tell that bytes were replaced."""
        self.note(_INVALID_UTF8)

    def call(self, name: str, arguments: str) -> None:
        """Add a whole tool call."""
        call = ToolCall(id=self._make_id(len(self._calls) + 1), name=name, arguments=arguments)
        self._calls.append(call)
        self._pending.append(ToolCallDelta(call=call))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls so far."""
        return tuple(self._calls)

    def text(self, channel: Channel) -> str:
        """Everything written to a channel."""
        return "".join(self._texts[channel])

    def finish_reason(self, reason: FinishReason) -> FinishReason:
        """Spell the end of a turn: one that stopped by itself after a call waits for the tool."""
        return "tool_calls" if reason == "stop" and self._calls else reason

    def message(self) -> Message:
        """Give the turn as a message. A preamble (commentary) is its content where there is no final text."""
        return Message(
            role="assistant",
            content=self.text("final") or self.text("commentary"),
            reasoning=self.text("analysis") or None,
            tool_calls=self.tool_calls,
        )


def default_call_id(number: int) -> str:
    """Name the n-th call of a turn."""
    return f"call_{number}"


def is_json_object(text: str) -> bool:
    """Whether text is one JSON object. Hostile nesting or numbers count as no."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def quote(text: str) -> str:
    """Show model text inside a note: on one line, with control characters escaped."""
    return json.dumps(text, ensure_ascii=False)
