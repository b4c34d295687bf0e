"""How many cells of a terminal a text takes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from wcwidth import wcwidth

from launcher.chat.screen.spans import Span

_MAX_CLUSTER = 32
_JOINER = "\u200d"
_EMOJI_STYLE = "\ufe0f"
# What every terminal measures alike: Latin, Greek, Cyrillic, punctuation, arrows, mathematics, boxes, CJK, Hangul.
_SURE = re.compile(
    "[\x00-\u02ff\u0370-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u2070-\u20cf\u2100-\u2319\u2500-\u25fc"
    "\u3001-\u3029\u3030-\u3098\u309b-\u31bf\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff60]*"
)

# One cell each whatever follows, so that a text of these needs no look at its characters.
_NARROW = re.compile(
    "[\x20-\x7e\xa1-\xa8\xaa-\xac\xaf-\u02ff\u0391-\u03c9\u0410-\u044f\u2010-\u2027\u2500-\u259f\u2022]*"
)


@lru_cache(maxsize=4096)
def char_cells(char: str) -> int:
    """Cells of one character; 0 for what is drawn upon the one before."""
    return max(0, wcwidth(char))


def clusters(text: str) -> Iterator[tuple[str, int]]:
    """What a reader sees as one character, with its cells: letters with marks, emoji joined to one, flags."""
    at, n = 0, len(text)
    while at < n:
        first = text[at]
        cells = char_cells(first)
        flag = "\U0001f1e6" <= first <= "\U0001f1ff"
        end = at + 1
        while end < n and end - at < _MAX_CLUSTER:
            char = text[end]
            if char == _JOINER:
                end += 1
                if cells == 2 and end < n and (char_cells(text[end]) == 2 or text[end] in "\u2640\u2642\u2695\u2764"):
                    end += 1
            elif char == _EMOJI_STYLE and cells == 1 and not first.isascii():
                cells = 2
                end += 1
            elif flag and "\U0001f1e6" <= char <= "\U0001f1ff":
                cells, flag = 2, False
                end += 1
            elif char_cells(char) == 0 or (cells == 2 and "\U0001f3fb" <= char <= "\U0001f3ff"):
                end += 1
            else:
                break
        yield text[at:end], cells
        at = end


def is_narrow(text: str) -> bool:
    """Whether a text surely has one cell for each character."""
    return text.isascii() or _NARROW.fullmatch(text) is not None


def text_cells(text: str) -> int:
    """Cells of a text without line breaks."""
    if is_narrow(text):
        return len(text)
    return sum(cells for _, cells in clusters(text))


def row_cells(spans: tuple[Span, ...] | list[Span]) -> int:
    """Cells of a row."""
    return sum(text_cells(span.text) for span in spans)


def is_sure(text: str) -> bool:
    """Whether terminals agree on the width of a text: not on joined emoji, nor on many scripts."""
    found = _SURE.match(text)
    return found is not None and found.end() == len(text)


def end_cells(spans: tuple[Span, ...], columns: int, start: int = 0) -> int:
    """Where a line ends that the window breaks at its edge: cells from its beginning, gaps of wide ones counted."""
    at = start
    for span in spans:
        if is_narrow(span.text):
            at += len(span.text)
            continue
        for _, cells in clusters(span.text):
            if cells == 2 and columns > 1 and at % columns == columns - 1:
                at += 1
            at += cells
    return at
