"""A terminal of the few sequences that the painter may write; any other one is an error."""

from __future__ import annotations

import re

from launcher.chat.screen.width import clusters

_SEQUENCE = re.compile(
    r"\x1b\[(?P<sgr>[0-9;]*)m|\x1b\[(?P<n>\d*)(?P<move>[ACJK])|\x1b\[\?(?P<mode>2026|7)(?P<on>[hl])"
    r"|\x1b\]8;;(?P<url>[!-~]*)\x1b\\"
)


class Emulator:
    """Rows of text with a cursor; what scrolls out is kept, as in a scrollback."""

    encoding = "utf-8"

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self.lines: list[list[str]] = [[]]
        """All rows ever, cells of one character each; the screen is the last `rows` of them."""
        self.row = self.column = 0
        self.sgr = self.url = ""
        self.synchronized = False
        self.wraps = True
        self.n_bytes = 0
        self.n_rewrites = 0
        self.styles: set[str] = set()

    def write(self, text: str) -> int:
        """What a TextIO does."""
        self.n_bytes += len(text.encode())
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = _SEQUENCE.match(text, at)
                assert found, f"a sequence that is none of ours: {text[at : at + 20]!r}"
                self._obey(found)
                at = found.end()
                continue
            end = at
            while end < len(text) and text[end] >= " ":
                end += 1
            if end == at:
                assert text[at] in "\r\n", f"{text[at]!r} would be obeyed"
                self.column = 0
                if text[at] == "\n":
                    self._down()
                else:
                    self.n_rewrites += 1
                at += 1
            else:
                for cluster, cells in clusters(text[at:end]):
                    self._put(cluster, cells)
                at = end
        return len(text)

    def flush(self) -> None:
        assert not self.synchronized, "a painting ends what it began"
        assert self.wraps
        assert not self.sgr, "no style is left on"
        assert not self.url

    def _obey(self, found: re.Match[str]) -> None:
        if found["sgr"] is not None:
            self.sgr = "" if found["sgr"] in ("0", "") else found["sgr"].removeprefix("0;")
            self.styles.add(self.sgr)
        elif found["mode"] == "2026":
            self.synchronized = found["on"] == "h"
        elif found["mode"] == "7":
            self.wraps = found["on"] == "h"
        elif found["url"] is not None:
            self.url = found["url"]
            assert not self.url or re.match("https?://", self.url)
        elif found["move"] == "A":
            self.row -= int(found["n"])
            assert self.row >= max(0, len(self.lines) - self.rows), "above the screen"
            self.column = min(self.column, self.columns - 1)
        elif found["move"] == "C":
            self.column += int(found["n"])
            assert self.column < self.columns
        else:
            assert self.column < self.columns, "erasing behind a full row takes its last cell"
            del self.lines[self.row][self.column :]
            if found["move"] == "J":
                del self.lines[self.row + 1 :]

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def _put(self, text: str, cells: int) -> None:
        if self.column + cells > self.columns:
            assert self.wraps
            self.column = 0
            self._down()
        line = self.lines[self.row]
        line += " " * (self.column - len(line))
        if cells:
            line[self.column : self.column + cells] = [text, *[""] * (cells - 1)]
            self.column += cells
        elif self.column:
            line[self.column - 1] += text

    def text(self) -> str:
        """All rows, without spaces at their ends."""
        return "\n".join("".join(line).rstrip() for line in self.lines).rstrip("\n")
