"""Markdown that is rendered while it streams: final lines, and a tail of a few that may still change. Pure.

A line is tried on a copy of the state as long as it is not complete, so what is shown is what the text would be if it
ended there. Nothing depends on how the text was cut.
"""

from __future__ import annotations

from launcher.chat.screen import containers
from launcher.chat.screen.blocks import CLOSING_MARKS, FENCE, FORMULA, HEADING, Kind, kind_of, untabbed
from launcher.chat.screen.containers import Stack
from launcher.chat.screen.leaves import Code, Formula, Grid, Leaf, Paragraph, prefixed
from launcher.chat.screen.spans import EMPTY, Line, Row, Span
from launcher.chat.screen.table import Table, alignments, cells_of, is_delimiter, may_be_delimiter
from launcher.chat.screen.theme import DIM, Theme
from launcher.chat.screen.width import row_cells

_DECIDED = 200
"""Characters after which a line is what it began as; one that begins with a bar is waited for longer."""
_DECIDED_ROW = 2000
_PROSE = 120
"""Cells of a row of text at most: longer ones are hard to read."""
_RULE = 40


class MarkdownStream:
    """Text in, lines out."""

    def __init__(self, theme: Theme, *, width: int, max_rows: int) -> None:
        self.theme = theme
        self.width = width
        self.max_rows = max_rows
        """Rows that a block may keep waiting: what the window can show, or less."""
        self._stack: Stack = ()
        self._fresh = 0
        """Containers whose marker is not on the screen yet."""
        self._leaf: Leaf | None = None
        self._out: list[Line] = []
        self._blank: Row | None = None
        """Begins the empty row that comes before the next line."""
        self._begun = False
        self._line = ""
        """The line that is being written, as long as it may become anything."""
        self._in_line = False
        """It is decided what the line is, and its rest goes to the block."""
        self._fed = False
        """The line is text of the block, which is told of its end."""
        self._held: str | None = None
        """A line that is the header of a table if the next one says so."""

    def feed(self, text: str) -> None:
        """Take a piece."""
        while text:
            line, end, text = text.partition("\n")
            self._part(line)
            if end:
                self._end_line()

    def take(self) -> list[Line]:
        """Lines that will never change."""
        lines, self._out = self._out, []
        return lines

    def tail(self) -> list[Line]:
        """Lines after those, as they look now."""
        trial = self._clone()
        trial._try_line()  # noqa: SLF001  # the same class
        if trial._leaf is not None:  # noqa: SLF001
            trial._emit(trial._leaf.tail())  # noqa: SLF001
        return trial._out  # noqa: SLF001

    def finish(self) -> list[Line]:
        """All that is left; the stream begins anew."""
        if self._line or self._in_line:
            self._end_line()
        self._release_held()
        self._close_to(0)
        lines = self.take()
        self._blank, self._begun = None, False
        return lines

    def resize(self, width: int, max_rows: int) -> None:
        """Go on in a window of another size."""
        self.width, self.max_rows = width, max_rows
        if self._leaf is not None:
            self._emit(self._leaf.resize(self._room(prose=not isinstance(self._leaf, Grid))))

    def _clone(self) -> MarkdownStream:
        other = object.__new__(MarkdownStream)
        other.__dict__.update(self.__dict__)
        other._out = []
        other._leaf = self._leaf.clone() if self._leaf is not None else None
        return other

    # Lines

    def _part(self, text: str) -> None:
        """A part of a line, without its end."""
        if self._in_line:
            if self._fed and self._leaf is not None:
                self._emit(self._leaf.feed(text))
            return
        self._line += text
        begins_row = self._line.lstrip(" >\t")[:1] == "|" or isinstance(self._leaf, Grid)
        bound = _DECIDED_ROW if begins_row else _DECIDED
        if len(self._line) > bound:
            # Cut where it is decided, so that what comes of it does not depend on the piece that it came in.
            line, rest = self._line[:bound], self._line[bound:]
            self._line = ""
            self._open(line, complete=True, whole=False)
            self._in_line = True
            self._part(rest)

    def _end_line(self) -> None:
        if not self._in_line:
            line, self._line = self._line, ""
            self._open(line, complete=True, whole=True)
        self._in_line = False
        leaf = self._leaf
        if leaf is None or not self._fed:
            return
        self._emit(leaf.end_line())
        if (isinstance(leaf, Formula) and leaf.closed) or (isinstance(leaf, Paragraph) and leaf.inline.base):
            self._close_leaf()

    def _try_line(self) -> None:
        """Read the line that is not complete."""
        line, self._line = self._line, ""
        if line and not self._in_line:
            self._open(line, complete=False, whole=True)
        self._release_held()

    def _open(self, line: str, *, complete: bool, whole: bool) -> None:
        """Begin a line: leave what it is not in any more, enter what it begins, give its text to the block.

        `whole`: no more of the line comes than is here, as far as is known.
        """
        self._fed = False
        leaf = self._leaf
        line = untabbed(line)
        depth, rest = containers.unprefixed(self._stack, line, lenient=isinstance(leaf, Code) and bool(leaf.fence))
        within = depth == len(self._stack)
        if isinstance(leaf, Code) and within and self._in_code(leaf, rest, complete=complete, whole=whole):
            return
        if whole and not rest.strip():
            if complete:
                self._empty_line(depth)
            return
        if self._held is not None and within and whole and self._as_delimiter(rest, complete=complete):
            return
        if isinstance(leaf, Formula) and within:
            self._feed(rest)
            return
        self._in_blocks(depth, rest, complete=complete, whole=whole)

    def _in_code(self, leaf: Code, rest: str, *, complete: bool, whole: bool) -> bool:
        """A line within code; False where it is none of it."""
        if not leaf.fence:
            if not rest.startswith("    ") or not rest.strip():
                return False
            self._feed(rest[4:])
            return True
        code = rest[min(leaf.indent, containers.spaces_of(rest)) :]
        if whole and leaf.is_end(rest):
            if complete:
                self._close_leaf()
        elif complete or not leaf.may_be_end(rest):
            self._feed(code)
        return True

    def _empty_line(self, depth: int) -> None:
        self._release_held()
        if depth < len(self._stack):
            self._close_to(depth)
        else:
            self._close_leaf()
        self._blank = containers.quotes_of(self._stack)

    def _as_delimiter(self, rest: str, *, complete: bool) -> bool:
        """The line below the header of a table, if it is one."""
        header = self._held or ""
        if complete and not is_delimiter(rest, header):
            return False
        if not complete and not may_be_delimiter(rest):
            return False
        self._held = None
        self._close_leaf()
        if self._begun and self._blank is None and not self._fresh:
            self._blank = containers.quotes_of(self._stack)
        aligns = alignments(rest) if complete else ("left",) * len(cells_of(header))
        table = Table(self.theme, self._room(prose=False), aligns)
        table.add(header)
        self._leaf = Grid(table, self.max_rows)
        return True

    def _in_blocks(self, depth: int, rest: str, *, complete: bool, whole: bool) -> None:
        in_paragraph = isinstance(self._leaf, Paragraph) or self._held is not None
        new: Stack = ()
        while found := containers.opened(
            rest, self.theme, depth + len(new), in_paragraph=in_paragraph and not new,
            in_list=depth < len(self._stack), complete=complete,
        ):  # fmt: skip
            new, rest = (*new, found[0]), found[1]
        within = not new and depth == len(self._stack)
        kind = kind_of(rest, indented=not new and not in_paragraph and self._in_no_item(depth), whole=whole)
        if kind is None and not new and in_paragraph:
            self._text(rest, complete=complete, whole=whole)  # also where it is not indented as the paragraph is
        elif kind is None and within and whole and isinstance(self._leaf, Grid) and "|" in rest:
            self._feed(rest.strip())
        else:
            self._release_held()
            self._close_to(depth)
            self._stack = (*self._stack, *new)
            self._fresh += len(new)
            if kind is not None:
                self._begin(kind, rest, complete=complete, whole=whole)
            elif rest.strip() or not whole:
                self._text(rest, complete=complete, whole=whole)

    def _in_no_item(self, depth: int) -> bool:
        return all(container.is_quote for container in self._stack[:depth])

    def _begin(self, kind: Kind, rest: str, *, complete: bool, whole: bool) -> None:
        if kind == "heading" and (found := HEADING.match(rest)):
            if self._begun and self._blank is None and not self._stack:
                self._blank = ()
            self._leaf = Paragraph(self.theme, self._room(), self.theme.heading(len(found[1])))
            text = rest[found.end() :]
            self._feed(CLOSING_MARKS.sub("", text) if whole else text)
        elif kind == "fence" and (found := FENCE.match(rest)):
            code = Code(self.theme, found[1], found[2], containers.spaces_of(rest), lexed=complete)
            self._emit(code.opening())
            self._leaf = code
        elif kind == "rule":
            self._emit([Line(spans=(Span(self.theme.rule * min(_RULE, self._room()), DIM),))])
        elif kind == "formula" and (found := FORMULA.match(rest)):
            opening, text = found[1], rest[found.end() :]
            closing = "$$" if opening == "$$" else r"\]"
            if closing in text:
                self._text(rest, complete=True, whole=False)  # on one line: it may be a part of a sentence
                return
            formula = Formula(self.theme, closing, self._room())
            self._emit(formula.opening(opening))
            self._leaf = formula
            self._feed(text)
        else:
            self._leaf = Code(self.theme, "", "", 4)
            self._feed(rest[4:])

    # Text and what is around it

    def _text(self, rest: str, *, complete: bool, whole: bool) -> None:
        self._release_held()
        rest = rest.lstrip()
        if complete and whole and "|" in rest:
            if not isinstance(self._leaf, Paragraph):
                self._close_leaf()
            self._held = rest
            return
        self._paragraph()
        self._feed(rest)

    def _paragraph(self) -> None:
        if not isinstance(self._leaf, Paragraph):
            self._close_leaf()
            self._leaf = Paragraph(self.theme, self._room())

    def _release_held(self) -> None:
        """It was no header: it is text."""
        if self._held is None:
            return
        held, self._held = self._held, None
        self._paragraph()
        if self._leaf is not None:
            self._emit(self._leaf.feed(held))
            self._emit(self._leaf.end_line())

    def _feed(self, text: str) -> None:
        self._fed = True
        if self._leaf is not None:
            self._emit(self._leaf.feed(text))

    def _close_to(self, depth: int) -> None:
        """End the block, and all containers but the outer `depth`."""
        self._close_leaf()
        if depth < len(self._stack):
            if self._fresh:
                self._emit([EMPTY])  # an item without text is still an item
            self._stack = self._stack[:depth]

    def _close_leaf(self) -> None:
        leaf = self._leaf
        if leaf is None:
            return
        self._emit(leaf.finish())
        self._leaf = None
        if isinstance(leaf, Code):
            self._emit(leaf.closing())
        elif isinstance(leaf, Grid):
            self._blank = containers.quotes_of(self._stack)

    def _emit(self, lines: list[Line]) -> None:
        for line in lines:
            if self._blank is not None and self._begun:
                self._out.append(Line(spans=self._blank))
            self._blank, self._begun = None, True
            self._out.append(prefixed(self._prefix(), line))
            self._fresh = 0

    def _prefix(self) -> Row:
        return containers.prefix_of(self._stack, self._fresh, self.width)

    def _room(self, *, prose: bool = True) -> int:
        """Cells of a row within what it is in."""
        return max(1, (min(self.width, _PROSE) if prose else self.width) - row_cells(self._prefix()))
