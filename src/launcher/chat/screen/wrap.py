"""Breaks styled text into rows of a width, piece by piece: a row that is given out never changes. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from launcher.chat.screen.spans import Row, Span, append, merged
from launcher.chat.screen.width import clusters, is_narrow, row_cells, text_cells

_TOKENS = re.compile(r"[ \t]+|\n|[^ \t\n]+")
_NO_START = frozenset("。，、．：；！？）］｝〉》」』】〕〗’”…ー々.,:;!?)]}%")  # noqa: RUF001
"""What never begins a row."""


class Wrapper:
    """Words stay whole unless they are longer than a row; wide characters may be parted anywhere."""

    __slots__ = ("_held", "_row", "_row_cells", "_space", "_started", "_wide", "_word", "_word_cells", "width")

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self._row: list[Span] = []
        self._row_cells = 0
        self._space: Span | None = None
        """Between the row and the word; it goes where the row is broken."""
        self._word: list[Span] = []
        self._word_cells = 0
        self._wide = False
        """The word ends in a wide character: another may follow on the next row."""
        self._held: Span | None = None
        """The last character, while marks may still be added to it."""
        self._started = False
        """The current line has a row before this one: spaces at its beginning are those of a break."""

    def clone(self) -> Wrapper:
        """One that goes its own way."""
        other = Wrapper(self.width)
        other._row, other._word = self._row[:], self._word[:]  # the same class
        other._row_cells, other._word_cells = self._row_cells, self._word_cells
        other._space, other._held = self._space, self._held
        other._wide, other._started = self._wide, self._started
        return other

    def resize(self, width: int) -> list[Row]:
        """Go on at another width; rows that are full by it."""
        self.width = max(1, width)
        held, self._held = self._held, None
        spans = [*self._row, *([self._space] if self._space else []), *self._word, *([held] if held else [])]
        self._row, self._word, self._row_cells, self._word_cells = [], [], 0, 0
        self._space = None
        return self.push(spans)

    def push(self, spans: Iterable[Span]) -> list[Row]:
        """Rows that are finished by this text."""
        rows: list[Row] = []
        pending = self._with_held(spans)
        for index, span in enumerate(pending):
            last = index == len(pending) - 1
            for found in _TOKENS.finditer(span.text):
                word = found.group()
                if word == "\n":
                    self._break_line(rows)
                elif word[0] in " \t":
                    self._place_word(rows)
                    self._add_space(word.replace("\t", "    "), span)
                elif word.isascii():
                    self._add(rows, word, len(word), span, wide=False)
                else:
                    self._add_clusters(rows, word, span, hold=last and found.end() == len(span.text))
        return rows

    def rest(self) -> list[Row]:
        """The rows of what is unfinished; ends the text."""
        rows: list[Row] = []
        if held := self._held:
            self._held = None
            for text, cells in clusters(held.text):
                self._add(rows, text, cells, held, wide=cells == 2)
        self._place_word(rows)
        if self._row:
            self._end_row(rows)
        self._space = None
        self._started = False
        return rows

    def _with_held(self, spans: Iterable[Span]) -> Sequence[Span]:
        # Merged, so that a character and its marks meet however the text was cut.
        if self._held is None:
            return merged(spans)
        held, self._held = self._held, None
        return merged((held, *spans))

    def _add_space(self, text: str, span: Span) -> None:
        if not self._row and self._started:
            return
        before = self._space.text if self._space else ""
        self._space = Span(before + text, span.sgr, span.url)

    def _add_clusters(self, rows: list[Row], word: str, span: Span, *, hold: bool) -> None:
        if is_narrow(word):
            if hold and not word[-1].isascii():
                self._held = Span(word[-1], span.sgr, span.url)
                word = word[:-1]
            if word:
                self._add(rows, word, len(word), span, wide=False)
            return
        found = list(clusters(word))
        if hold and not found[-1][0].isascii():
            self._held = Span(found.pop()[0], span.sgr, span.url)
        narrow: list[str] = []
        narrow_cells = 0
        for text, cells in found:
            if cells == 2:
                if narrow:
                    self._add(rows, "".join(narrow), narrow_cells, span, wide=False)
                    narrow, narrow_cells = [], 0
                self._add(rows, text, cells, span, wide=True)
            else:
                narrow.append(text)
                narrow_cells += cells
        if narrow:
            self._add(rows, "".join(narrow), narrow_cells, span, wide=False)

    def _add(self, rows: list[Row], text: str, cells: int, span: Span, *, wide: bool) -> None:
        if cells and (wide or self._wide) and text[0] not in _NO_START:
            self._place_word(rows)
        if cells or not self._word:
            self._wide = wide
        append(self._word, Span(text, span.sgr, span.url))
        self._word_cells += cells
        if self._word_cells > self.width:
            self._break_word(rows)

    def _place_word(self, rows: list[Row]) -> None:
        """Put the finished word on this row, or on the next."""
        if not self._word:
            return
        space_cells = len(self._space.text) if self._space else 0
        if self._row_cells + space_cells + self._word_cells > self.width:
            if self._row:
                self._end_row(rows)
        elif self._space:
            append(self._row, self._space)
            self._row_cells += space_cells
        self._space = None
        for span in self._word:
            append(self._row, span)
        self._row_cells += self._word_cells
        self._word, self._word_cells, self._wide = [], 0, False

    def _break_word(self, rows: list[Row]) -> None:
        """Fill rows with a word that is longer than any."""
        self._space = None
        if self._row:
            self._end_row(rows)
        word, self._word, self._word_cells = self._word, [], 0
        part: list[Span] = []
        part_cells = 0
        for span in word:
            for text, cells in _pieces(span.text, self.width, part_cells):
                if part_cells + cells > self.width and part:
                    rows.append(tuple(part))
                    self._started = True
                    part, part_cells = [], 0
                append(part, Span(text, span.sgr, span.url))
                part_cells += cells
        self._word, self._word_cells = part, part_cells

    def _break_line(self, rows: list[Row]) -> None:
        self._place_word(rows)
        rows.append(tuple(self._row))
        self._row, self._row_cells, self._space, self._started = [], 0, None, False

    def _end_row(self, rows: list[Row]) -> None:
        rows.append(tuple(self._row))
        self._row, self._row_cells, self._started = [], 0, True


def _pieces(text: str, width: int, used: int) -> Iterable[tuple[str, int]]:
    """Parts of a word that each fit a row, of which `used` cells are taken."""
    if not text.isascii():
        return clusters(text)
    first = min(max(0, width - used), len(text))
    cuts = [0, first, *range(first + width, len(text), width), len(text)]
    return [(text[a:b], b - a) for a, b in itertools.pairwise(cuts) if b > a]


def wrapped(spans: Iterable[Span], width: int) -> list[Row]:
    """A whole text in rows; at least one."""
    wrapper = Wrapper(width)
    return [*wrapper.push(spans), *wrapper.rest()] or [()]


def padded(row: Row, width: int, align: str) -> Row:
    """A row filled up to a width: `left`, `right` or `center`."""
    gap = width - row_cells(row)
    if gap <= 0:
        return row
    left = {"left": 0, "right": gap, "center": gap // 2}[align]
    return merged((Span(" " * left), *row, Span(" " * (gap - left))))


def cut(text: str, width: int, ellipsis: str) -> str:
    """One line cut to a width."""
    if text_cells(text) <= width:
        return text
    room, parts = width - text_cells(ellipsis), []
    for part, cells in clusters(text):
        if cells > room:
            break
        parts.append(part)
        room -= cells
    return "".join(parts) + ellipsis
