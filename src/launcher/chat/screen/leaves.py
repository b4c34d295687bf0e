"""The blocks that hold text: each takes lines, gives out what is final, and shows the rest. Pure."""

from __future__ import annotations

import re
from typing import Protocol

from launcher.chat.screen.code import PIECE, CodeStream, language_of
from launcher.chat.screen.inline import InlineStream
from launcher.chat.screen.spans import Line, Row, Span, append
from launcher.chat.screen.table import Table
from launcher.chat.screen.theme import DIM, Theme
from launcher.chat.screen.wrap import Wrapper

_FENCE_END = re.compile(r"[ ]{0,3}(`{3,}|~{3,})[ \t]*\Z")
_LABEL_RULE = 3


class Leaf(Protocol):
    """A block of text. `clone` is what a line that is not complete is tried on."""

    def feed(self, text: str) -> list[Line]:
        """Take a part of a line; gives what is final by it."""
        ...

    def end_line(self) -> list[Line]:
        """The line ends here."""
        ...

    def tail(self) -> list[Line]:
        """What is not final, as it looks now."""
        ...

    def finish(self) -> list[Line]:
        """The block ends here."""
        ...

    def clone(self) -> Leaf:
        """One that goes its own way."""
        ...

    def resize(self, width: int) -> list[Line]:
        """Another width."""
        ...


def lines_of(rows: list[Row]) -> list[Line]:
    """Rows as lines."""
    return [Line(spans=row) for row in rows]


class Paragraph:
    """Text with styles in it; a heading is one of a single line."""

    def __init__(self, theme: Theme, width: int, base: str = "") -> None:
        self.inline = InlineStream(theme, base)
        self.wrapper = Wrapper(width)
        self._ended = False

    def feed(self, text: str) -> list[Line]:
        """Take a part of a line."""
        if self._ended:
            text = "\n" + text
            self._ended = False
        return lines_of(self.wrapper.push(self.inline.feed(text)))

    def end_line(self) -> list[Line]:
        """The break is that of the next line, if one comes."""
        self._ended = True
        return []

    def tail(self) -> list[Line]:
        """The rows that text to come may change."""
        wrapper = self.wrapper.clone()
        return lines_of([*wrapper.push(self.inline.preview()), *wrapper.rest()])

    def finish(self) -> list[Line]:
        """All rows."""
        return lines_of([*self.wrapper.push(self.inline.finish()), *self.wrapper.rest()])

    def clone(self) -> Paragraph:
        """One that goes its own way."""
        other = object.__new__(Paragraph)
        other.inline, other.wrapper, other._ended = self.inline.clone(), self.wrapper.clone(), self._ended
        return other

    def resize(self, width: int) -> list[Line]:
        """Another width."""
        return lines_of(self.wrapper.resize(width))


class Code:
    """Fenced or indented code. Its lines are as long as they are, so that they can be copied."""

    def __init__(self, theme: Theme, fence: str, info: str, indent: int, *, lexed: bool = True) -> None:
        self.theme = theme
        self.fence = fence
        """What opened it; empty for indented code."""
        self.indent = indent
        """Spaces that are not part of the code, where a line has them."""
        self.language = language_of(info)
        self.stream = CodeStream(self.language if lexed else "", theme)
        self._line = ""
        self._joined = False
        """Pieces of this line were given out."""

    def opening(self) -> list[Line]:
        """The line above."""
        label = f" {self.language}" if self.language else ""
        return [Line(spans=(Span(f"{self.theme.rule * _LABEL_RULE}{label}", DIM),))] if self.fence else []

    def closing(self) -> list[Line]:
        """The line below."""
        return [Line(spans=(Span(self.theme.rule * _LABEL_RULE, DIM),))] if self.fence else []

    def is_end(self, line: str) -> bool:
        """Whether a line closes it."""
        found = _FENCE_END.match(line)
        return bool(found and self.fence and found[1][0] == self.fence[0] and len(found[1]) >= len(self.fence))

    def may_be_end(self, line: str) -> bool:
        """Whether a line may become the one that closes it."""
        return bool(self.fence and line.strip()) and not line.strip().strip(self.fence[0])

    def feed(self, text: str) -> list[Line]:
        """Take a part of a line."""
        self._line += text
        lines = []
        while len(self._line) > PIECE:
            # The tab stops of the whole line stay where they are: a piece is a multiple of them.
            lines.append(self._piece(self._line[:PIECE], self.stream, ends=False))
            self._line = self._line[PIECE:]
            self._joined = True
        return lines

    def end_line(self) -> list[Line]:
        """The line is complete."""
        line = self._piece(self._line, self.stream, ends=True)
        self._line, self._joined = "", False
        return [line]

    def tail(self) -> list[Line]:
        """The line that is being written."""
        return [self._piece(self._line, self.stream.clone(), ends=True)] if self._line else []

    def finish(self) -> list[Line]:
        """The block ends here; the stream draws the line below."""
        return self.end_line() if self._line or self._joined else []

    def clone(self) -> Code:
        """One that goes its own way."""
        other = object.__new__(Code)
        other.theme, other.fence, other.language = self.theme, self.fence, self.language
        other.indent, other.stream = self.indent, self.stream.clone()
        other._line, other._joined = self._line, self._joined
        return other

    def resize(self, width: int) -> list[Line]:
        """The window breaks its lines."""
        del width
        return []

    def _piece(self, text: str, stream: CodeStream, *, ends: bool) -> Line:
        return Line(spans=stream.line(text.expandtabs(4), ends=ends), joined=self._joined)


class Formula:
    """A formula on lines of its own, as it was written."""

    def __init__(self, theme: Theme, closing: str, width: int) -> None:
        self.theme = theme
        self.close = closing
        self.closed = False
        self._wrapper = Wrapper(width)
        self._seen = ""

    def opening(self, text: str) -> list[Line]:
        """What opens it, which may look like what closes it."""
        return lines_of(self._wrapper.push((Span(text, self.theme.math),)))

    def feed(self, text: str) -> list[Line]:
        """Take a part of a line."""
        self._seen += text
        return lines_of(self._wrapper.push((Span(text, self.theme.math),)))

    def end_line(self) -> list[Line]:
        """The line is complete, and the formula with it if its end was there."""
        self.closed = self.close in self._seen
        self._seen = ""
        return lines_of(self._wrapper.rest() or [()])

    def tail(self) -> list[Line]:
        """The line that is being written."""
        return lines_of(self._wrapper.clone().rest())

    def finish(self) -> list[Line]:
        """The block ends here."""
        return lines_of(self._wrapper.rest())

    def clone(self) -> Formula:
        """One that goes its own way."""
        other = object.__new__(Formula)
        other.theme, other.close, other.closed = self.theme, self.close, self.closed
        other._wrapper, other._seen = self._wrapper.clone(), self._seen
        return other

    def resize(self, width: int) -> list[Line]:
        """Another width."""
        return lines_of(self._wrapper.resize(width))


class Grid:
    """A table as a block; it takes whole rows."""

    def __init__(self, table: Table, max_rows: int) -> None:
        self.table = table
        self._max_rows = max_rows
        self._row = ""

    def feed(self, text: str) -> list[Line]:
        """Take a part of a row."""
        self._row += text
        return []

    def end_line(self) -> list[Line]:
        """The row is complete."""
        if self._row:
            self.table.add(self._row)
            self._row = ""
        return lines_of(self.table.take(self._max_rows))

    def tail(self) -> list[Line]:
        """The table with the row that is being written."""
        table = self.table
        if self._row:
            table = table.clone()
            table.add(self._row, growing=True)
        return lines_of(table.lines())

    def finish(self) -> list[Line]:
        """The table ends here."""
        return [*self.end_line(), *lines_of(self.table.lines())]

    def clone(self) -> Grid:
        """One that goes its own way."""
        other = Grid(self.table.clone(), self._max_rows)
        other._row = self._row
        return other

    def resize(self, width: int) -> list[Line]:
        """Another width."""
        self.table.resize(width)
        return []


def prefixed(prefix: Row, line: Line) -> Line:
    """A line behind the bars and bullets of what it is in."""
    if not prefix or line.joined:
        return line
    row = list(prefix)
    for span in line.spans:
        append(row, span)
    return Line(spans=tuple(row))
