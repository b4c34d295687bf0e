"""Harmony's control tokens by id. The ids are data: a vocabulary decides them, the texts are fixed by the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

ControlKind = Literal["start", "end", "message", "channel", "constrain", "stop", "call", "other"]
"""What a control token does to a stream. `stop` is `<|return|>` or `<|endoftext|>`; `other` is one we do not know."""

REQUIRED_TEXTS = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>")
"""A vocabulary with these four can speak Harmony."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HarmonyTokens:
    """Ids of the control tokens in one vocabulary; None where it lacks one."""

    start: int
    end: int
    message: int
    channel: int
    constrain: int | None = None
    return_: int | None = None
    call: int | None = None
    endoftext: int | None = None
    other: frozenset[int] = field(default=frozenset())
    """Every other control token (reserved ones and the like): dropped from a stream with a note."""

    @classmethod
    def from_vocabulary(cls, find: Callable[[str], int | None], control: Iterable[int] = ()) -> HarmonyTokens | None:
        """Look the ids up by text.

        Args:
            find: The id of the single control token with this text, or None.
            control: Ids of all control tokens of the vocabulary.

        Returns:
            The ids, or None where the vocabulary cannot speak Harmony.
        """
        start, end, message, channel = (find(text) for text in REQUIRED_TEXTS)
        if start is None or end is None or message is None or channel is None:
            return None
        known = cls(
            start=start,
            end=end,
            message=message,
            channel=channel,
            constrain=find("<|constrain|>"),
            return_=find("<|return|>"),
            call=find("<|call|>"),
            endoftext=find("<|endoftext|>"),
        )
        named = known.kinds()
        return cls(
            start=start,
            end=end,
            message=message,
            channel=channel,
            constrain=known.constrain,
            return_=known.return_,
            call=known.call,
            endoftext=known.endoftext,
            other=frozenset(token for token in control if token not in named),
        )

    def kinds(self) -> dict[int, ControlKind]:
        """What each control token does, by id."""
        # Unknown ones first, so that a named token listed among them keeps its meaning.
        table: dict[int, ControlKind] = dict.fromkeys(self.other, "other")
        named: tuple[tuple[int | None, ControlKind], ...] = (
            (self.endoftext, "stop"),
            (self.return_, "stop"),
            (self.call, "call"),
            (self.constrain, "constrain"),
            (self.start, "start"),
            (self.end, "end"),
            (self.message, "message"),
            (self.channel, "channel"),
        )
        table.update({token: kind for token, kind in named if token is not None})
        return table
