"""Streams of models without channels: all text is the answer, but for `<think>` blocks."""

from __future__ import annotations

from collections.abc import Callable, Collection

from launcher.engines.harmony.turn import Place, TurnWriter, Utf8Stream, default_call_id
from launcher.engines.types import Channel, ChatDelta, FinishReason, Message

_OPEN = "<think>"
_CLOSE = "</think>"


class PlainParser:
    """Reads one turn of a model that knows no channels. The counterpart of `HarmonyParser`.

    A `<think>` block is taken for analysis only where the answer begins with it: further on, it is a word of the text.
    """

    def __init__(
        self,
        *,
        ends: Collection[int] = (),
        dropped: Collection[int] = (),
        stops: tuple[str, ...] = (),
        thinking: bool = False,
        make_id: Callable[[int], str] = default_call_id,
    ) -> None:
        """Start a turn.

        Args:
            ends: Ids of tokens that end the turn.
            dropped: Ids of control tokens that mean nothing here: dropped with a note.
            stops: Texts that end the turn, for prompts without control tokens; they are not given out.
            thinking: Whether the prompt already opened a `<think>` block.
            make_id: As for `HarmonyParser`.
        """
        self._ends = frozenset(ends)
        self._dropped = frozenset(dropped) - self._ends
        self._stops = stops
        self._utf8 = Utf8Stream()
        self._out = TurnWriter(make_id)
        self._finish_reason: FinishReason | None = None
        self._held = ""
        self._channel: Channel = "analysis" if thinking else "final"
        self._at_start = True
        self._skip_space = thinking

    @property
    def done(self) -> bool:
        """Whether the turn is over: stop decoding. Tokens fed from here on are ignored."""
        return self._finish_reason is not None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the turn ended; None while it goes on."""
        return self._finish_reason

    @property
    def place(self) -> Place:
        """Where the next token would stand: all text is the answer, but for what was begun as analysis."""
        return "answer" if self._channel == "final" else "text"

    def instead_of(self, _token_id: int, _piece: bytes) -> tuple[int, ...]:
        """Nothing: there are no headers."""
        return ()

    def message(self) -> Message:
        """Give the turn so far as a message for the conversation."""
        return self._out.message()

    def feed(self, token_id: int, piece: bytes) -> tuple[ChatDelta, ...]:
        """Take one token with the bytes that it stands for; answer what became certain."""
        if self.done:
            return ()
        if token_id in self._ends:
            return self.finish("stop")
        if token_id in self._dropped:
            self._out.note(f"The model wrote the control token {token_id}, which has no meaning here; it was dropped.")
        else:
            self._decode(piece)
        return self._out.take()

    def finish(self, reason: FinishReason) -> tuple[ChatDelta, ...]:
        """End the turn; a second call answers nothing."""
        if self.done:
            return ()
        self._decode(b"", final=True)
        if not self.done:
            self._release(len(self._held))
            self._finish_reason = reason
        return self._out.take()

    def _decode(self, piece: bytes, *, final: bool = False) -> None:
        text, valid = self._utf8.decode(piece, final=final)
        if not valid:
            self._out.invalid_utf8()
        self._held += text
        while self._step():
            pass

    def _step(self) -> bool:
        """Give out what is certain of the held text; answer whether there may be more."""
        if self._at_start:
            begun = self._held.lstrip()
            if len(begun) < len(_OPEN) and _OPEN.startswith(begun):
                return False
            self._at_start = False
            if begun.startswith(_OPEN):
                self._held = begun[len(_OPEN) :]
                self._channel = "analysis"
                self._skip_space = True
        if self._skip_space:  # the line breaks beside the tags are theirs, not the text's
            self._held = self._held.lstrip()
            self._skip_space = not self._held
        marks = (*self._stops, *((_CLOSE,) if self._channel == "analysis" else ()))
        found = [(at, mark) for mark in marks if (at := self._held.find(mark)) >= 0]
        if not found:
            self._release(len(self._held) - max((_overlap(self._held, mark) for mark in marks), default=0))
            return False
        at, mark = min(found)
        self._release(at)
        if mark == _CLOSE and self._channel == "analysis":
            self._held = self._held[len(_CLOSE) :]
            self._channel = "final"
            self._skip_space = True
            return True
        self._held = ""
        self._finish_reason = "stop"
        return False

    def _release(self, n_chars: int) -> None:
        self._out.write(self._channel, self._held[:n_chars])
        self._held = self._held[n_chars:]


def _overlap(text: str, mark: str) -> int:
    """Longest proper prefix of `mark` that `text` ends with."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:n])), 0)
