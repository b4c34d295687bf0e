"""Puts lines on a terminal: final ones once, below them a tail that is extended, or drawn anew where it changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from launcher.chat.screen.spans import Line, Span, merged, text_of
from launcher.chat.screen.width import clusters, end_cells, is_sure

Size = Callable[[], tuple[int, int]]
"""Columns and rows of the window, now."""

# Everything that is ever written besides text: colours (SGR), links (OSC 8), and these.
_RESET = "\x1b[0m"
_ERASE_BELOW, _ERASE_REST = "\x1b[J", "\x1b[K"
_SYNC, _END_SYNC = "\x1b[?2026h", "\x1b[?2026l"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"


def window_of(out: TextIO) -> Size:
    """Asks the terminal of a stream for its size; 80 columns of 24 rows where it does not tell."""

    def size() -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(out.fileno())
        except (OSError, ValueError):
            return 80, 24
        return columns or 80, rows or 24

    return size


class Painter:
    """Owns the rows from the tail to the end of the screen. Nobody else may write while a tail is shown."""

    def __init__(self, out: TextIO, size: Size) -> None:
        self.out = out
        self.size = size
        self._shown: list[Line] = []
        """The tail on the screen; the cursor is behind its last character."""
        self._in_row = False
        """The row of the cursor has something in it: the next line begins with a line break."""
        self._end = 0
        """Where the last final line ended, for one that is joined to it."""

    def paint(self, final: Sequence[Line], tail: Sequence[Line]) -> None:
        """Show `final` for good in place of the tail, and the new tail below."""
        columns, rows = self.size()
        columns, rows = max(1, columns), max(2, rows)
        new = [*final, *self._fitting(tail, columns, rows - 1)]
        parts: list[str] = []
        same = _common(self._shown, new)
        if same < len(self._shown):
            grown = _extension(self._shown[same], new[same]) if same == len(self._shown) - 1 and new[same:] else None
            if grown is not None:
                parts.append(_guarded(new[same], columns, grown))
                same += 1
            else:
                parts.append(self._rewritten(same, new[same:], columns))
                same = len(new)
        parts += [self._next(line, columns) for line in new[same:]]
        if text := "".join(parts):
            self._write(f"{_SYNC}{text}{_END_SYNC}" if "\r" in text else text)
        for line in final:
            self._end = end_cells(line.spans, columns, self._end if line.joined else 0)
        self._shown = new[len(final) :]

    def close(self) -> None:
        """Leave what is shown, and the cursor at the beginning of an empty row."""
        if self._in_row:
            self._write("\n")
        self._shown, self._in_row, self._end = [], False, 0

    def leave_row(self) -> None:
        """Go to a new row from one that somebody else wrote."""
        self._write("\n")

    def _write(self, text: str) -> None:
        try:
            self.out.write(text)
        except UnicodeEncodeError:
            encoding = self.out.encoding or "ascii"
            self.out.write(text.encode(encoding, "replace").decode(encoding))
        self.out.flush()

    def _next(self, line: Line, columns: int) -> str:
        """A line below all others, or where the last one ends."""
        text = _guarded(line, columns, line.spans)
        if self._in_row and not line.joined:
            text = f"\n{text}"
        self._in_row = True
        return text

    def _rewritten(self, first: int, new: Sequence[Line], columns: int) -> str:
        """Replace the tail from one of its lines on.

        Rows are written over and the rest of each is erased, so that nothing blinks where a terminal shows both steps,
        and no terminal takes the rows for a cleared screen that belongs into its history.
        """
        old = self._shown[first:]
        start = self._end if first == 0 and old[0].joined else 0
        up = min(_rows(old, columns, start) - 1, self.size()[1] - 1)
        column = start % columns
        self._in_row = column > 0
        parts = ["\r", f"\x1b[{up}A" if up else "", f"\x1b[{column}C" if column else ""]
        erased = any(_must_be_erased_first(line, columns, start) for line in new)
        if erased or not new:
            parts.append(_ERASE_BELOW if up else _ERASE_REST)
        for line in new:
            parts += (self._next(line, columns), "" if erased else _ERASE_REST)
        if not erased and new and _rows(new, columns, start) < up + 1:
            parts.append(_ERASE_BELOW)
        return "".join(parts)

    def _fitting(self, tail: Sequence[Line], columns: int, rows: int) -> list[Line]:
        """The last lines of the tail that the window can hold: what has scrolled out of it could not be erased."""
        taken: list[Line] = []
        for line in reversed(tail):
            start = self._end if line.joined else 0
            needed = _rows([line], columns, start)
            if needed > rows:
                return taken or [_cut(line, rows * columns - start % columns)]
            rows -= needed
            taken.insert(0, line)
        return taken


def _last_row(end: int, columns: int) -> int:
    return max(0, end - 1) // columns


def _must_be_erased_first(line: Line, columns: int, start: int) -> bool:
    """Whether the rest of its rows cannot be erased after it is written.

    Behind a full row the cursor still stands on its last cell; and a wide character that does not fit leaves one free.
    """
    end = end_cells(line.spans, columns, start if line.joined else 0)
    return end > 0 and (end % columns == 0 or (end > columns and not text_of(line).isascii()))


def _rows(lines: Sequence[Line], columns: int, start: int) -> int:
    """Rows that lines take, from the one in which the first begins."""
    rows, end = -(start // columns), start
    for index, line in enumerate(lines):
        if index and not line.joined:
            rows += _last_row(end, columns) + 1
            end = 0
        end = end_cells(line.spans, columns, end)
    return max(1, rows + _last_row(end, columns) + 1)


def _cut(line: Line, room: int) -> Line:
    """The first cells of a line."""
    spans: list[Span] = []
    for span in line.spans:
        parts = []
        for text, cells in clusters(span.text):
            room -= cells
            if room < 0:
                break
            parts.append(text)
        spans.append(span._replace(text="".join(parts)))
        if room < 0:
            break
    return Line(spans=merged(spans), joined=line.joined)


def _common(old: Sequence[Line], new: Sequence[Line]) -> int:
    """How many lines both begin with."""
    n = 0
    while n < len(old) and n < len(new) and old[n] == new[n]:
        n += 1
    return n


def _extension(old: Line, new: Line) -> tuple[Span, ...] | None:
    """What the new line has more; None if it differs from the old one."""
    if not old.spans:
        return new.spans if old.joined == new.joined else None
    at = len(old.spans) - 1
    if len(new.spans) <= at or old.joined != new.joined or old.spans[:at] != new.spans[:at]:
        return None
    before, after = old.spans[at], new.spans[at]
    if (before.sgr, before.url) != (after.sgr, after.url) or not after.text.startswith(before.text):
        return None
    more = after._replace(text=after.text[len(before.text) :])
    rest = (more, *new.spans[at + 1 :]) if more.text else new.spans[at + 1 :]
    # A mark changes the character before it, which not every terminal takes back.
    if rest and not is_sure(before.text[-1] + rest[0].text[0]):
        return None
    return rest


def _guarded(line: Line, columns: int, spans: Iterable[Span]) -> str:
    """Spans as they are written; where terminals disagree on widths, none may begin a row of its own."""
    text = encoded(spans)
    if not line.joined and not is_sure(text_of(line)) and end_cells(line.spans, columns) <= columns:
        return f"{_NO_WRAP}{text}{_WRAP}"
    return text


def encoded(spans: Iterable[Span]) -> str:
    """Spans with the escape sequences of their styles and links; no style is left on."""
    parts: list[str] = []
    sgr = url = ""
    for span in spans:
        if span.url != url:
            parts.append(f"\x1b]8;;{span.url}\x1b\\")
            url = span.url
        if span.sgr != sgr:
            if not span.sgr:
                parts.append(_RESET)
            else:
                parts.append(f"\x1b[0;{span.sgr}m" if sgr else f"\x1b[{span.sgr}m")
            sgr = span.sgr
        parts.append(span.text)
    if sgr:
        parts.append(_RESET)
    if url:
        parts.append("\x1b]8;;\x1b\\")
    return "".join(parts)
