"""What a turn consists of besides Markdown: text as it is, and thoughts that are folded away. Pure."""

from __future__ import annotations

from typing import Protocol

from launcher.chat.screen.leaves import lines_of
from launcher.chat.screen.spans import Line, Row, Span
from launcher.chat.screen.theme import DIM, Theme
from launcher.chat.screen.wrap import Wrapper

_PROSE = 120
_N_SHOWN = 3


class Section(Protocol):
    """A part of a turn that grows: final lines, and a tail."""

    def feed(self, text: str) -> None:
        """Take a piece of text."""
        ...

    def take(self) -> list[Line]:
        """Lines that will never change."""
        ...

    def tail(self) -> list[Line]:
        """Lines after those, as they look now."""
        ...

    def finish(self) -> list[Line]:
        """All that is left."""
        ...

    def resize(self, width: int, max_rows: int) -> None:
        """Go on in a window of another size."""
        ...


class TextSection:
    """Text as it is, in one style."""

    def __init__(self, sgr: str, width: int) -> None:
        self.sgr = sgr
        self._wrapper = Wrapper(min(width, _PROSE))
        self._rows: list[Row] = []

    def feed(self, text: str) -> None:
        """Take a piece of text."""
        self._rows += self._wrapper.push((Span(text, self.sgr),))

    def take(self) -> list[Line]:
        """Lines that will never change."""
        rows, self._rows = self._rows, []
        return lines_of(rows)

    def tail(self) -> list[Line]:
        """The row that is being written."""
        return lines_of(self._wrapper.clone().rest())

    def finish(self) -> list[Line]:
        """All that is left, without empty rows at the end."""
        rows = [*self._rows, *self._wrapper.rest()]
        self._rows = []
        while rows and not rows[-1]:
            rows.pop()
        return lines_of(rows)

    def resize(self, width: int, max_rows: int) -> None:
        """Go on at another width."""
        del max_rows
        self._rows += self._wrapper.resize(min(width, _PROSE))


class FoldedSection:
    """Thoughts: the last rows while they come, one line when they are over."""

    def __init__(self, theme: Theme, width: int) -> None:
        self._text = TextSection(DIM, width)
        self._theme = theme
        self._recent: list[Line] = []
        self.elapsed_s = 0.0
        """What the heading tells; the owner has the clock."""
        self.summary = ""
        """The line that stays; the owner knows its facts."""

    def feed(self, text: str) -> None:
        """Take a piece of text."""
        self._text.feed(text)
        self._recent = [*self._recent, *(line for line in self._text.take() if line.spans)][-_N_SHOWN:]

    def take(self) -> list[Line]:
        """Nothing stays before the end."""
        return []

    def tail(self) -> list[Line]:
        """A heading, and the last rows."""
        sign = "▾" if self._theme.unicode else "v"
        heading = Line(spans=(Span(f"{sign} thinking {int(self.elapsed_s)} s", DIM),))
        return [heading, *[*self._recent, *self._text.tail()][-_N_SHOWN:]]

    def finish(self) -> list[Line]:
        """The line that stays."""
        return [Line(spans=(Span(self.summary, DIM),))] if self.summary else []

    def resize(self, width: int, max_rows: int) -> None:
        """Go on at another width."""
        self._text.resize(width, max_rows)


class HiddenSection:
    """Thoughts that are not shown."""

    def feed(self, text: str) -> None:
        """Nothing of it is seen."""

    def take(self) -> list[Line]:
        """Nothing."""
        return []

    def tail(self) -> list[Line]:
        """Nothing."""
        return []

    def finish(self) -> list[Line]:
        """Nothing."""
        return []

    def resize(self, width: int, max_rows: int) -> None:
        """Nothing."""
