"""Message headers: what stands between `<|start|>` and `<|message|>`, as models really write it.

A good header is `assistant [to=RECIPIENT]<|channel|>CHANNEL [to=RECIPIENT] [<|constrain|>TYPE]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launcher.engines.types import Channel

Expect = Literal["turn", "gap", "role"]
"""Where header text stands: right after the prompt's `<|start|>assistant`; after `<|end|>`; after `<|start|>`."""

SectionKind = Literal["role", "channel", "constrain"]

MAX_HEADER_CHARS = 160
"""Longer is no header: a channel, a function name of 64 characters and a type need about 100."""

_CHANNELS: tuple[Channel, ...] = ("analysis", "commentary", "final")
_OTHER_ROLES = ("user", "system", "developer", "tool", "python", "browser", "functions")
_TYPES = ("json", "code", "text")
# Recipients that are no tools: 20b models address "assistant" in plain commentary.
_NO_TOOLS = frozenset({"", "assistant", "user", "all", "functions", "functions.", *_CHANNELS})

_NAME = re.compile("analysis|commentary|final")
_RECIPIENT = re.compile(r"to=([\w.\-:/]*)")
_BARE_FUNCTION = re.compile(r"(?<![\w.=])functions\.(?=\w)")
_TYPE = re.compile(r"\b(?:json|code|text)\b")
_ROLE = re.compile(r"\s*([\w.\-:/]*)")
_ROLE_WORD = re.compile(r"[\w.\-:/]+")
_GLUED_NAMES = re.compile("(?:assistant|analysis|commentary|final)*")

_LEADING_ROLE = re.compile(r"\s*assistant")
_LEADING_RECIPIENT = re.compile(r"\s*to=[\w.\-:/]+(?:\s*(?:json|code|text)(?!\w))?")
_LEADING_CHANNEL = re.compile(
    r"(?:\s*(?:(?:analysis|commentary|final)+(?!\w)|to=[\w.\-:/]+|(?:json|code|text)(?!\w)))*"
)
_LEADING_TYPE = re.compile(r"\s*\w*")


@dataclass(kw_only=True, slots=True)
class Section:
    """A run of header text, by the control token that opened it."""

    kind: SectionKind
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a header says."""

    channel: Channel | None
    """None: it names none that exists."""
    recipient: str | None
    """The tool that the message calls; None for a message to the user."""
    content_type: str | None
    malformed: bool
    """It says more, or less, or otherwise than a good header; what it says beyond the fields must be noted."""

    @property
    def function(self) -> str | None:
        """The called function's name as it was declared: without Harmony's own namespace."""
        return None if self.recipient is None else self.recipient.removeprefix("functions.")


def source(sections: Sequence[Section]) -> str:
    """Spell the sections as the model wrote them."""
    marks = {"role": "", "channel": "<|channel|>", "constrain": "<|constrain|>"}
    return "".join(marks[section.kind] + section.text for section in sections)


def other_role(text: str, expect: Expect) -> str | None:
    """Name the role in a role section where it is not the assistant's: the model writes somebody else's turn."""
    if expect == "turn":
        return None
    match = _ROLE.match(text)
    word = match.group(1) if match else ""
    if word.startswith("assistant"):
        return None
    from_tool = "." in word or "to=assistant" in text[len(word) :]
    return word if word in _OTHER_ROLES or (word and from_tool) else None


def may_be_role(text: str, expect: Expect) -> bool:
    """Whether a role section can still become a header; once False, it stays False for every longer text."""
    words = text.split()
    if not words:
        return True
    complete = words if text[-1].isspace() else words[:-1]
    if expect == "role" and _ROLE_WORD.fullmatch(words[0]):
        # After `<|start|>` one word is taken for a role, however it is spelled.
        words, complete = words[1:], complete[1:]
    if not all(_is_header_word(word, expect) for word in complete):
        return False
    return len(words) == len(complete) or _may_grow(words[-1], expect)


def takes_text(sections: Sequence[Section], expect: Expect, text: str) -> bool:
    """Whether a header can go on with this text: else it would be read as a message's."""
    last = sections[-1]
    if sum(len(section.text) for section in sections) + len(text) > MAX_HEADER_CHARS:
        return False
    return last.kind != "role" or may_be_role(last.text + text, expect)


def read_header(sections: Sequence[Section], expect: Expect) -> Header:
    """Read a header that `<|message|>` closed. Of repeated statements the last counts: the model saw it last."""
    names: list[Channel] = []
    recipients: list[str] = []
    content_type: str | None = None
    odd = sum(section.kind == "channel" for section in sections) != 1
    for section in sections:
        text = section.text
        if section.kind == "role":
            bare = text.lstrip()
            odd = odd or (not bare.startswith("assistant") if expect == "role" else "assistant" in bare)
            odd = odd or expect == "gap"  # without `<|start|>`
            text = bare.removeprefix("assistant")
        elif section.kind == "channel":
            text, n_bare = _BARE_FUNCTION.subn("to=functions.", text)  # a call without `to=`
            odd = odd or n_bare > 0
        recipients += _RECIPIENT.findall(text)
        text = _RECIPIENT.sub(" ", text)
        if section.kind == "constrain":
            content_type = text.strip() or content_type
            continue
        names += _names(text)
        text = _NAME.sub(" ", text)
        types = _TYPE.findall(text)
        content_type = types[-1] if types else content_type
        odd = odd or bool(_TYPE.sub(" ", text).strip())
    odd = odd or len(names) != 1 or len(recipients) > 1 or "" in recipients
    return Header(
        channel=names[-1] if names else None,
        recipient=next((name for name in reversed(recipients) if name not in _NO_TOOLS), None),
        content_type=content_type,
        malformed=odd,
    )


def split_header(sections: Sequence[Section], expect: Expect) -> tuple[Header, str, str]:
    """Read a header that `<|message|>` never closed: its leading statements, and the text that follows them.

    Returns:
        The header, its source up to the text, and the text.
    """
    last = sections[-1]
    end = 0
    if last.kind == "role":
        if expect == "role" and (match := _LEADING_ROLE.match(last.text)):
            end = match.end()
        if match := _LEADING_RECIPIENT.match(last.text, end):
            end = match.end()
    else:
        leading = _LEADING_CHANNEL if last.kind == "channel" else _LEADING_TYPE
        match = leading.match(last.text)
        end = match.end() if match else 0
    stated = [*sections[:-1], Section(kind=last.kind, text=last.text[:end])]
    return read_header(stated, expect), source(stated), last.text[end:]


def _names(text: str) -> list[Channel]:
    found = _NAME.findall(text)
    return [name for word in found for name in _CHANNELS if name == word]


def _is_header_word(word: str, expect: Expect) -> bool:
    rest = _after_names(word)
    return not rest or rest in _TYPES or bool(_RECIPIENT.fullmatch(rest)) or (expect != "turn" and rest in _OTHER_ROLES)


def _may_grow(word: str, expect: Expect) -> bool:
    rest = _after_names(word)
    ahead = ("assistant", *_CHANNELS, *_TYPES, "to=", *(_OTHER_ROLES if expect != "turn" else ()))
    return _is_header_word(word, expect) or any(known.startswith(rest) for known in ahead)


def _after_names(word: str) -> str:
    match = _GLUED_NAMES.match(word)
    return word[match.end() :] if match else word
