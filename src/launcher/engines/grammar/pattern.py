"""Regular expressions of a schema as grammars. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.engines.grammar.text import MAX_REPEATS, Ranges, char_class, complement

_CLASSES: dict[str, Ranges] = {
    "d": ((0x30, 0x39),),
    "w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "s": ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)),
}
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_QUANTIFIER = re.compile(r"[*+?]|\{(\d+)(,(\d*))?\}")
_PUNCTUATION = frozenset("^$\\.*+?()[]{}|/-\"'#&~@%!,:;<>=`_ ")
_MAX_DEPTH = 50

_DATE = (
    r"([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|[0-9]{4}-(0[469]|11)-(29|30)"
    r"|[0-9]{4}-(0[13578]|1[02])-(29|3[01]))"
)  # never the 29th of February: whether there is one depends on the year
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABEL = "[A-Za-z0-9]+(-+[A-Za-z0-9]+)*"

FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "uuid": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    "ipv4": rf"^({_BYTE}\.){{3}}{_BYTE}$",
    "email": rf"^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@{_LABEL}(\.{_LABEL})+$",
    "uri": r"^[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:/?@!$&'()*+,;=-]+$",
}
"""Formats of strings that are enforced, as patterns."""


class PatternError(ValueError):
    """A pattern is broken, or has no grammar; the text says why."""


def pattern_rule(pattern: str, char: str) -> str:
    """A grammar for the strings that match a regular expression, without their quotes.

    Args:
        pattern: In the syntax that ECMA 262 and Python share. Not anchored, it may match anywhere in the string.
        char: Name of the rule for one character.

    Raises:
        PatternError: It is broken, or looks around, refers back or anchors within.
    """
    at_start = pattern.startswith("^")
    body = pattern[1:] if at_start else pattern
    n_backslashes = len(body[:-1]) - len(body[:-1].rstrip("\\")) if body.endswith("$") else 1
    at_end = body.endswith("$") and n_backslashes % 2 == 0
    reader = _Pattern(body[:-1] if at_end else body)
    rule = reader.whole()
    if (at_start or at_end) and reader.splits:
        raise PatternError("an anchor beside | needs a group: ^(...|...)$")
    return " ".join(([] if at_start else [f"{char}*"]) + [f"( {rule} )"] + ([] if at_end else [f"{char}*"]))


@dataclass(slots=True)
class _Pattern:
    """Reads a regular expression from left to right."""

    text: str
    at: int = 0
    depth: int = 0
    splits: bool = False
    """Whether the outermost level has alternatives."""

    def whole(self) -> str:
        rule = self.alternatives()
        if self.at < len(self.text):
            raise PatternError("a ) has no (")
        return rule

    def alternatives(self) -> str:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise PatternError("its groups are nested too deeply")
        parts = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            parts.append(self.sequence())
        self.depth -= 1
        self.splits = self.splits or (self.depth == 0 and len(parts) > 1)
        return " | ".join(part or '""' for part in parts)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        if not char:
            raise PatternError("it ends too early")
        self.at += 1
        return char

    def sequence(self) -> str:
        parts: list[str] = []
        while self.peek() and self.peek() not in "|)":
            parts.append(self.repeated(self.atom()))
        return " ".join(parts)

    def repeated(self, atom: str) -> str:
        found = _QUANTIFIER.match(self.text, self.at)
        if not found:
            return atom
        self.at = found.end()
        if self.peek() == "?":  # lazy: the same strings
            self.at += 1
        elif self.peek() and _QUANTIFIER.match(self.text, self.at):
            raise PatternError(f"{found.group()} is followed by another repetition")
        if found.group(1) is None:
            return atom + found.group()
        low, high = int(found.group(1)), found.group(3)
        if max(low, int(high or 0)) > MAX_REPEATS or (high and int(high) < low):
            raise PatternError(f"it cannot repeat {found.group()} times")
        if high == "0" or (low == 0 and not found.group(2)):
            return '""'
        return atom + found.group()

    def atom(self) -> str:
        char = self.take()
        if char == "(":
            return self.group()
        if char == "[":
            return char_class(self.bracket())
        if char == ".":
            return char_class(complement(()))
        if char in "^$":
            raise PatternError(f"{char} stands inside it")
        if char in "*+?":
            raise PatternError(f"{char} has nothing to repeat")
        if char == "\\":
            return char_class(self.escape())
        return char_class(((ord(char), ord(char)),))

    def group(self) -> str:
        if self.peek() == "?":
            if self.text[self.at : self.at + 2] != "?:":
                raise PatternError("(?...) is more than a group")
            self.at += 2
        rule = self.alternatives()
        if self.take() != ")":
            raise PatternError("a ( is never closed")
        return f"( {rule} )"

    def escape(self) -> Ranges:
        char = self.take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char.lower() in _CLASSES:
            return complement(_CLASSES[char.lower()])
        if char in ("x", "u"):
            n_digits = 2 if char == "x" else 4
            digits = self.text[self.at : self.at + n_digits]
            if not re.fullmatch(rf"[0-9a-fA-F]{{{n_digits}}}", digits):
                raise PatternError(f"\\{char} needs {n_digits} hexadecimal digits")
            self.at += n_digits
            return ((int(digits, 16), int(digits, 16)),)
        if char not in _CONTROL and char not in _PUNCTUATION:
            raise PatternError(f"\\{char} has no grammar")
        code = ord(_CONTROL.get(char, char))
        return ((code, code),)

    def bracket(self) -> Ranges:
        negated = self.peek() == "^"
        self.at += negated
        found: list[tuple[int, int]] = []
        while (char := self.take()) != "]":
            item: Ranges = self.escape() if char == "\\" else ((ord(char), ord(char)),)
            low, high = item[0]
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("", "]") and low == high:
                self.at += 1
                last = self.take()
                end = self.escape() if last == "\\" else ((ord(last), ord(last)),)
                if len(end) != 1 or end[0][0] != end[0][1] or end[0][0] < low:
                    raise PatternError("a range in [] ends before it begins")
                item = ((low, end[0][0]),)
            found += item
        return complement(tuple(found)) if negated else tuple(found)
