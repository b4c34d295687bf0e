"""Pieces of llama.cpp's grammar language for text inside JSON. Pure.

The language is that of `llama_grammar_parser` (src/llama-grammar.cpp). A piece may allow less than what it stands for,
never more: what a grammar lets through must satisfy the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

MAX_REPEATS = 2000
"""llama.cpp's MAX_REPETITION_THRESHOLD: a larger count is an error there, or counts as no limit."""

Ranges = tuple[tuple[int, int], ...]
"""Code points, as inclusive ranges in order."""

HEX = "[0-9a-fA-F]"
# A lone surrogate is no character: \ud800 passes only as the first half of a pair.
CHAR = (
    r'[^"\\\x00-\x1F\x7F] | "\\" ["\\/bfnrt] | "\\u" ( [0-9a-cefA-CEF] ' + HEX + "{3} | [dD] [0-7] " + HEX + "{2}"
    r" | [dD] [89abAB] " + HEX + r'{2} "\\u" [dD] [c-fC-F] ' + HEX + "{2} )"
)  # fmt: skip
"""One character of a JSON string, as it is spelled there."""

_ALL: Ranges = ((0x20, 0x7E), (0xA0, 0xD7FF), (0xE000, 0x10FFFF))
"""What a pattern's `.` or `[^...]` may stand for: no control characters, no surrogates."""
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", "\b": "\\b"}


def literal(text: str) -> str:
    """Quote text for a grammar."""
    return '"' + "".join(_spelled(char, '"\\') for char in text) + '"'


def _spelled(char: str, special: str) -> str:
    if char in special:
        return "\\" + char
    code = ord(char)
    if 0x20 <= code < 0x7F:
        return char
    return f"\\x{code:02X}" if code < 0x80 else f"\\U{code:08X}"


def char_class(ranges: Ranges) -> str:
    """A class of characters within a JSON string: those that JSON escapes are spelled so."""
    plain: list[str] = []
    escaped: list[str] = []
    for low, high in ranges:
        for first, last in _without_escaped(low, high):
            # A backslash, a bracket and a minus are escaped; a caret only means something in front.
            ends = [_spelled(chr(code), "\\[]-") for code in (first, last)]
            plain.append(ends[0] if first == last else "-".join(ends))
        escaped += [literal(spelling) for char, spelling in _ESCAPED.items() if low <= ord(char) <= high]
    bare = "".join(plain)
    if bare.startswith("^"):
        bare = f"\\x5E{bare[1:]}"
    parts = ([f"[{bare}]"] if bare else []) + escaped
    if not parts:
        raise ValueError("it asks for characters that no answer can have")
    return parts[0] if len(parts) == 1 else f"( {' | '.join(parts)} )"


def _without_escaped(low: int, high: int) -> Iterator[tuple[int, int]]:
    for allowed_low, allowed_high in ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0xD7FF), (0xE000, 0x10FFFF)):
        first, last = max(low, allowed_low), min(high, allowed_high)
        if first <= last:
            yield first, last


def complement(ranges: Ranges) -> Ranges:
    """Every other character that a pattern may stand for."""
    result: list[tuple[int, int]] = []
    for low, high in _ALL:
        start = low
        for first, last in sorted(ranges):
            if last < start or first > high:
                continue
            if first > start:
                result.append((start, first - 1))
            start = max(start, last + 1)
        if start <= high:
            result.append((start, high))
    return tuple(result)


def other_strings(names: Sequence[str], char: str, rules: dict[str, str], prefix: str) -> str:
    r"""Add rules for the strings that are none of `names`, without quotes; answers the name of the first.

    A string differs from every name at its first other character, which must not be spelled as an escape: `\u0061` is
    an `a` in disguise.
    """

    def visit(tails: Sequence[str], rule: str) -> str:
        heads = sorted({tail[0] for tail in tails if tail})
        others = complement(tuple((ord(head), ord(head)) for head in heads))
        bare = tuple(part for low, high in others for part in _without_escaped(low, high))
        parts = [f"{char_class(bare)} {char}*"]
        for number, head in enumerate(heads):
            rest = [tail[1:] for tail in tails if tail[:1] == head]
            spelled = json.dumps(head, ensure_ascii=False)[1:-1]
            parts.append(f"{literal(spelled)} {visit(rest, f'{rule}-{number}')}")
        rules[rule] = " | ".join(parts if "" in tails else [*parts, '""'])
        return rule

    return visit(names, prefix)
