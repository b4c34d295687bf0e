"""The prompt where nothing can be drawn: a dumb terminal, a pipe. One line at a time, with readline where it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import TextIO

from launcher.chat.prompt.history import HistoryFile
from launcher.chat.prompt.text import clean, ends_with_backslash, finished, needs_more

MARK = ">>> "
CONTINUED = "... "


class PlainPrompt:
    """Reads lines with `ask`, which is given the mark to show: `input`, or a test's."""

    def __init__(self, *, history: HistoryFile, ask: Callable[[str], str], readline: ModuleType | None = None) -> None:
        self._history = history
        self._ask = ask
        self._readline = readline
        if readline is not None:
            for entry in history.load():
                if "\n" not in entry:  # readline would show the rest over the line below
                    readline.add_history(entry)
            with suppress(AttributeError):  # libedit has no such switch
                readline.set_auto_history(False)

    def read(self, default: str = "") -> str:
        r"""A question; a line that ends with `\` goes on, and so does a block that begins with `\"\"\"`.

        Where the text cannot be edited in place, `default` is what an empty line stands for.

        Raises:
            EOFError: the input ends.
            KeyboardInterrupt: Ctrl-C.
        """
        default = clean(default)
        if default and (self._readline is None or "\n" in default):
            return self._read(f"(an empty line sends this again)\n{default}\n{MARK}", "") or default
        return self._read(MARK, default)

    def _read(self, mark: str, default: str) -> str:
        text = self._line(mark, default)
        while needs_more(text):
            if ends_with_backslash(text) and not needs_more(text[:-1]):
                text = text[:-1]
            text = f"{text}\n{self._line(CONTINUED, '')}"
        if text.strip():
            self._history.append(text)
            if self._readline is not None and "\n" not in text:
                self._readline.add_history(text)
        return finished(text)

    def _line(self, mark: str, default: str) -> str:
        if self._readline is None or not default:
            return clean(self._ask(mark))
        self._readline.set_startup_hook(lambda: self._insert(default))
        try:
            return clean(self._ask(mark))
        finally:
            self._readline.set_startup_hook()

    def _insert(self, text: str) -> None:
        if self._readline is not None:
            self._readline.insert_text(text)


def asker(stdin: TextIO, out: TextIO) -> Callable[[str], str]:
    """Reads lines of `stdin`, with the mark on `out`: for where stdout is a file, which holds answers alone."""

    def ask(mark: str) -> str:
        out.write(mark)
        out.flush()
        line = stdin.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n")

    return ask
