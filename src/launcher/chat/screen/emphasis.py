"""Signs of emphasis: which of them belong together, and what text between them looks like. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from launcher.chat.screen.spans import Row, Span, append, merged, styled
from launcher.chat.screen.theme import BOLD, ITALIC, STRIKE

LOOKAHEAD = 320
"""Characters over which the partner of a sign is waited for; after them emphasis has begun, and code has not."""
PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")

_NO_SPAN = Span("")


@dataclass(slots=True)
class Sign:
    """A run of `*`, `_` or `~`, or text, which has no sign."""

    pos: int
    """Where it begins; negative for what began before this text."""
    span: Span = _NO_SPAN
    sign: str = ""
    n: int = 0
    """Characters of the run that no partner has taken."""
    begins: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    literal: bool = True
    """What is left of the run is shown."""
    begun: bool = False
    """It styles what follows, whether or not something ends it."""


def begin(run: Sign) -> None:
    """Let what is left of a run style what follows."""
    if not run.begun:
        run.begun, run.literal = True, False
        run.begins += _styles(run.sign, run.n)


def before_all(sign: str, n: int) -> Sign:
    """Emphasis that began before this text."""
    run = Sign(pos=-LOOKAHEAD - 1, sign=sign, n=n)
    begin(run)
    return run


def end_what_is_open(stack: list[Sign], run: Sign) -> None:
    """Let a run end what is open; what it ends is taken from the stack."""
    for sign in stack:
        if run.pos >= sign.pos + LOOKAHEAD:
            begin(sign)
    while run.n:
        partner = next((other for other in reversed(stack) if other.sign == run.sign), None)
        if partner is None:
            return
        while stack[-1] is not partner:
            inner = stack.pop()
            if inner.begun:
                run.ends += _styles(inner.sign, inner.n)
        n = 2 if min(run.n, partner.n) >= 2 else 1
        left = partner.n - n
        if partner.begun:
            before, after = _styles(run.sign, partner.n), _styles(run.sign, left)
            run.ends += [style for style in before if style not in after]
            run.begins += [style for style in after if style not in before]
        else:
            partner.begins += _styles(run.sign, n)
            run.ends += _styles(run.sign, n)
        run.n -= n
        partner.n = left
        if not left:
            stack.pop()


def row_of(signs: Iterable[Sign], begun: Iterable[Sign], base: str) -> Row:
    """Signs as spans; those of `begun` style all that follows."""
    for sign in begun:
        begin(sign)
    row: list[Span] = []
    active: list[str] = []
    for sign in signs:
        if not sign.sign:
            if sign.span.text:
                append(row, sign.span._replace(sgr=_with(sign.span.sgr, active)) if active else sign.span)
            continue
        for style in sign.ends:
            if style in active:
                active.remove(style)
        if sign.literal and sign.n:
            append(row, Span(sign.sign * sign.n, _with(base, active)))
        active += sign.begins
    return merged(row)


def _with(sgr: str, active: list[str]) -> str:
    has = sgr.split(";")
    return styled(sgr, *(style for style in (BOLD, ITALIC, STRIKE) if style in active and style not in has))


def _styles(sign: str, n: int) -> list[str]:
    if sign == "~":
        return [STRIKE] if n else []
    return [[], [ITALIC], [BOLD]][n] if n < 3 else [BOLD, ITALIC]


def flanks(sign: str, n: int, before: str, after: str) -> tuple[bool, bool]:
    """Whether a run can begin, and whether it can end something (CommonMark, a little more lenient for `**`)."""
    if n > 3 or (sign == "~" and n != 2):
        return False, False
    space_before, space_after = before.isspace(), after.isspace()
    if sign == "*" and n == 2:
        # CommonMark denies `**“word”**next`, which languages without spaces write.
        return not space_after, not space_before
    mark_before, mark_after = _is_mark(before), _is_mark(after)
    left = not space_after and (not mark_after or space_before or mark_before)
    right = not space_before and (not mark_before or space_after or mark_after)
    if sign == "_":
        return left and (not right or mark_before), right and (not left or mark_after)
    return left, right


def _is_mark(char: str) -> bool:
    return char in PUNCTUATION or (not char.isascii() and not char.isalnum() and not char.isspace())
