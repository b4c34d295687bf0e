"""Tables: columns as wide as their content, or as the window allows; narrow windows get a list of fields. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from launcher.chat.screen.inline import parse_inline
from launcher.chat.screen.spans import Row, Span, merged
from launcher.chat.screen.theme import BOLD, DIM, Theme
from launcher.chat.screen.width import row_cells, text_cells
from launcher.chat.screen.wrap import padded, wrapped

_DELIMITER = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\Z")
_BEGUN = re.compile(r"[ \t]*\|?[ \t]*[:-][ \t:|-]*\Z")
_CELL = re.compile(r"(?:\\.|`[^`]*+`|[^|\\])*+", re.DOTALL)
_MAX_WORD = 12
"""A column is at least as wide as its longest word, if that is no longer than this."""
_STEP = 4
"""A cell that is being written widens its column by this many cells at once: each time the table is drawn anew."""
MAX_COLUMNS = 64


def cells_of(line: str) -> list[str]:
    """The cells of a row."""
    line = line.strip()
    line = line.removeprefix("|")
    cells: list[str] = []
    at = 0
    while at <= len(line) and len(cells) < MAX_COLUMNS:
        found = _CELL.match(line, at)
        end = max(found.end(), at) if found else at
        if end == len(line) and at == end and cells:
            break
        if end < len(line) and line[end] != "|":  # a backslash at the very end
            end = len(line)
        cells.append(line[at:end].strip().replace("\\|", "|"))
        at = end + 1
    return cells


def is_delimiter(line: str, header: str) -> bool:
    """Whether a line is the one below this header."""
    return "-" in line and bool(_DELIMITER.match(line)) and len(cells_of(line)) == len(cells_of(header))


def may_be_delimiter(line: str) -> bool:
    """Whether a line may become one."""
    return bool(_BEGUN.match(line))


def alignments(line: str) -> tuple[str, ...]:
    """Of each column, by the line below the header."""
    signs = {(True, True): "center", (False, True): "right"}
    return tuple(signs.get((cell.startswith(":"), cell.endswith(":")), "left") for cell in cells_of(line))


@dataclass(slots=True)
class Table:
    """A table that grows. Cells are parsed once; rows are laid out once for each set of widths."""

    theme: Theme
    width: int
    aligns: tuple[str, ...]
    rows: list[tuple[Row, ...]] = field(default_factory=list)
    """The header first."""
    fixed: tuple[int, ...] | None = None
    """Widths of the columns, once rows have been given out."""
    _laid: list[Row] = field(default_factory=list)
    _laid_for: tuple[int, ...] = ()
    _n_laid: int = 0
    _natural: tuple[int, ...] = ()
    """Of each column, the cells of its widest cell."""
    _words: tuple[int, ...] = ()
    """Of each column, the cells of its longest word."""

    def clone(self) -> Table:
        """One that goes its own way; what is laid out is laid out for both."""
        other = Table(self.theme, self.width, self.aligns, self.rows[:], self.fixed)
        other._laid, other._laid_for, other._n_laid = self._laid[:], self._laid_for, self._n_laid
        other._natural, other._words = self._natural, self._words
        return other

    def add(self, line: str, *, growing: bool = False) -> None:
        """Take one more row."""
        n = len(self.aligns)
        texts = (cells_of(line) + [""] * n)[:n]
        row = tuple(parse_inline(text, self.theme, BOLD if not self.rows else "") for text in texts)
        self.rows.append(row)
        widths = [_natural(cell) for cell in row]
        if growing:
            widths = [-(-cells // _STEP) * _STEP for cells in widths]
        none = (1,) * n
        self._natural = tuple(map(max, self._natural or none, widths))
        self._words = tuple(map(max, self._words or none, map(_longest_word, row)))

    def resize(self, width: int) -> None:
        """Another width of the window; rows that were given out stay as they are."""
        if width != self.width:
            self.width = width
            if self.fixed is not None:
                self.fixed = self._laid_for = self._widths()
                self._laid, self._n_laid = [], 1

    def take(self, max_rows: int) -> list[Row]:
        """Lines that need not change any more, because the table is higher than the window."""
        lines = self.lines()
        if self.fixed is None and len(lines) <= max_rows:
            return []
        self.fixed = self._laid_for
        self.rows, self._laid, self._n_laid = self.rows[:1], [], 1
        return lines

    def lines(self) -> list[Row]:
        """All lines that have not been given out."""
        widths = self.fixed if self.fixed is not None else self._widths()
        if widths != self._laid_for or self._n_laid > len(self.rows):
            self._laid, self._laid_for, self._n_laid = [], widths, 0
        for index in range(self._n_laid, len(self.rows)):
            self._laid += self._records(index) if not widths else self._lay(index, widths)
        self._n_laid = len(self.rows)
        return self._laid

    def _widths(self) -> tuple[int, ...]:
        """Of each column; none at all where the window is too narrow for columns."""
        n = len(self.aligns)
        room = self.width - 3 * (n - 1)
        natural = self._natural
        if sum(natural) <= room:
            return natural
        least = tuple(map(min, natural, self._words))
        if sum(least) > room:
            return ()
        # The widest columns give: all are cut to one width at which they fit, but none within its words.
        low, high = 1, room
        while low < high:
            middle = (low + high + 1) // 2
            if sum(_cut_to(natural, least, middle)) <= room:
                low = middle
            else:
                high = middle - 1
        widths = _cut_to(natural, least, low)
        for index in range(n):
            if sum(widths) < room and widths[index] < natural[index]:
                widths[index] += 1
        return tuple(widths)

    def _lay(self, index: int, widths: tuple[int, ...]) -> list[Row]:
        bar = Span(f" {self.theme.bar} ", DIM)
        cells = [
            [cell] if _natural(cell) <= width and not _has_breaks(cell) else wrapped(cell, width)
            for cell, width in zip(self.rows[index], widths, strict=True)
        ]
        lines: list[Row] = []
        for at in range(max(map(len, cells))):
            spans: list[Span] = []
            for column, (rows, width, align) in enumerate(zip(cells, widths, self.aligns, strict=True)):
                last = column == len(widths) - 1
                part = rows[at] if at < len(rows) else ()
                spans += padded(part, 0 if last and align == "left" else width, align)
                spans += () if last else (bar,)
            lines.append(merged(spans))
        if index == 0:
            cross = f"{self.theme.rule}{self.theme.cross}{self.theme.rule}"
            lines.append((Span(cross.join(self.theme.rule * width for width in widths), DIM),))
        return lines

    def _records(self, index: int) -> list[Row]:
        """One row as a list of `column: cell`, where columns do not fit side by side."""
        if index == 0:
            return []
        lines: list[Row] = []
        for name, cell in zip(self.rows[0], self.rows[index], strict=True):
            rows = wrapped((*name, Span(": ", BOLD), *cell), self.width - 2)
            lines += [rows[0], *(merged((Span("  "), *row)) for row in rows[1:])]
        lines.append((Span(self.theme.rule * min(3, self.width), DIM),))
        return lines


def _cut_to(natural: tuple[int, ...], least: tuple[int, ...], width: int) -> list[int]:
    return [max(few, min(cells, width)) for cells, few in zip(natural, least, strict=True)]


def _longest_word(cell: Row) -> int:
    words = "".join(span.text for span in cell).split()
    return min(_MAX_WORD, max(map(text_cells, words), default=1))


def _has_breaks(cell: Row) -> bool:
    return any("\n" in span.text for span in cell)


def _natural(cell: Row) -> int:
    """Cells of its longest line."""
    if not _has_breaks(cell):
        return max(1, row_cells(cell))
    return max(1, *(row_cells(row) for row in wrapped(cell, 1 << 30)))
