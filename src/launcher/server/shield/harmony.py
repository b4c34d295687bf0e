"""Harmony as text: what a turn has said so far spelled for the model, and raw output read back. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from launcher.engines.harmony import HarmonyParser, HarmonyTokens
from launcher.engines.types import ChatDelta, TextDelta, ToolCallDelta
from launcher.server.shield.types import Finish, Said

_TEXTS = (
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>"),
    "<|endoftext|>",
)
PRESERVED = list(_TEXTS[:5])
"""Control tokens that llama-server is to spell out; the others end generation and are never part of the text."""
_IDS = {text: number for number, text in enumerate(_TEXTS)}
_TEXT_ID = len(_TEXTS)
_CONTROL = re.compile("(" + "|".join(re.escape(text) for text in _TEXTS) + ")")
_TOKENS = HarmonyTokens(start=0, end=1, message=2, channel=3, constrain=4, return_=5, call=6, endoftext=7)

_ASSISTANT = "<|start|>assistant"


def prefix(said: Said, schema: object) -> str:
    """What follows the prompt's `<|start|>assistant` for the model to go on from where the client is.

    Whatever came before a failure was a whole message: reasoning, or a preamble to a call. A final answer never fails.

    Args:
        said: What the client has got.
        schema: The JSON schema that the answer must follow, if any: then there is only one way to go on.
    """
    text = ""
    if said.reasoning:
        text += f"<|channel|>analysis<|message|>{said.reasoning}<|end|>{_ASSISTANT}"
    if said.content:
        text += f"<|channel|>commentary<|message|>{said.content}<|end|>{_ASSISTANT}"
    return text + ("<|channel|>final <|constrain|>json<|message|>" if schema is not None else "")


class RawReader:
    """Reads raw output piece by piece, as it arrives, into text and calls. It never fails."""

    def __init__(self, start: str, *, offered: bool) -> None:
        """Begin after `start`, which the client has got already.

        Args:
            start: As `prefix` spells it.
            offered: Whether the client offered tools. A call that nobody waits for is shown as text.
        """
        self._parser = HarmonyParser(_TOKENS)
        self._offered = offered
        # What is not a whole message of `start` is the header of the next one.
        list(self._fed(start.rpartition(_ASSISTANT)[2] if start.endswith("<|message|>") else ""))

    @property
    def done(self) -> bool:
        """Whether the turn is over; more output is not wanted."""
        return self._parser.done

    def feed(self, text: str) -> Iterator[ChatDelta]:
        """Take a piece of output. llama-server never cuts a control token."""
        for delta in self._fed(text):
            yield from self._usable(delta)

    def finish(self, *, cut: bool) -> Iterator[ChatDelta]:
        """End the turn: by itself, or because it grew too long."""
        for delta in self._parser.finish("length" if cut else "stop"):
            yield from self._usable(delta)

    def _fed(self, text: str) -> Iterator[ChatDelta]:
        for part in _CONTROL.split(text):
            if part:
                yield from self._parser.feed(_IDS.get(part, _TEXT_ID), part.encode())

    def _usable(self, delta: ChatDelta) -> Iterator[ChatDelta]:
        if isinstance(delta, ToolCallDelta) and not self._offered:
            yield TextDelta(channel="final", text=delta.call.arguments)
        elif isinstance(delta, (TextDelta, ToolCallDelta)):
            yield delta


def finish_of(said: Said, *, cut: bool) -> Finish:
    """Why the turn ended."""
    if cut:
        return "length"
    return "tool_calls" if said.calls else "stop"
