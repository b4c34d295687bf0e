"""A real pseudo-terminal with a program in it, and the screen that a person would see."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pyte
import pytest

WAIT_S = 30.0
"""For something to come to the screen: a model loads in a tenth of a second, and a machine may be busy."""
CTRL_C, CTRL_D, CTRL_O, CTRL_R, ENTER, ALT_ENTER = "\x03", "\x04", "\x0f", "\x12", "\r", "\x1b\r"
_KILL = 9
GPT_OSS = Path(sys.executable).with_name("gpt-oss")


class Terminal:
    """Types into a program and reads its screen; lines that scrolled away are kept."""

    def __init__(self, child: pexpect.spawn[bytes], columns: int, rows: int) -> None:
        self._child = child
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=1)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def type(self, text: str) -> None:
        """Send keys."""
        self._child.send(text)

    def line(self, text: str) -> None:
        """Send a line."""
        self.type(text + ENTER)

    def pump(self, timeout_s: float = 0.05) -> bool:
        """Read what has come; False where the program has ended."""
        try:
            data = self._child.read_nonblocking(1 << 16, timeout=timeout_s)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self._stream.feed(data)
        # A prompt asks where the cursor is, and waits for an answer as from a terminal.
        for _ in range(data.count(b"\x1b[6n")):
            self._child.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")
        return True

    def wait_for(self, pattern: str, *, after: int = 0) -> re.Match[str]:
        """Read until the text matches, from a position on that `mark` gave."""
        until = time.monotonic() + WAIT_S
        while True:
            alive = self.pump()
            found = re.compile(pattern).search(self.text, after)
            if found:
                return found
            assert alive, f"it ended before {pattern!r} came:\n{self.text}"
            assert time.monotonic() < until, f"{pattern!r} never came:\n{self.text}"

    def mark(self) -> int:
        """Where the last prompt stands: what is typed there, and all that follows, comes after it."""
        return max(0, self.text.rfind(">>>"))

    def end(self) -> int | None:
        """Read to the end; the exit code, or minus a signal."""
        until = time.monotonic() + WAIT_S
        while self.pump():
            assert time.monotonic() < until, f"it never ended:\n{self.text}"
        self._child.close()
        signalled: int | None = self._child.signalstatus
        status: int | None = self._child.exitstatus
        return status if signalled is None else -signalled

    def kill(self) -> None:
        """kill -9."""
        self._child.kill(_KILL)
        self._child.close()

    @property
    def text(self) -> str:
        """All lines so far, those that scrolled away first."""
        above = [self._row(row) for row in self.screen.history.top]
        return "\n".join([*above, *(line.rstrip() for line in self.screen.display)]).rstrip()

    def _row(self, row: Mapping[int, pyte.screens.Char]) -> str:
        return "".join(row[column].data for column in range(self.screen.columns)).rstrip()


@contextmanager
def terminal(
    *words: str, env: Mapping[str, str], cwd: Path, columns: int = 100, rows: int = 40, program: str | None = None
) -> Iterator[Terminal]:
    """`gpt-oss WORDS` in a terminal, or a Python program with these arguments; killed at the end."""
    if sys.platform == "win32":
        pytest.skip("a terminal as POSIX has it")
    command, own = (str(GPT_OSS), list(words)) if program is None else (sys.executable, ["-c", program, *words])
    child = pexpect.spawn(
        command, own, env={**env, "TERM": env.get("TERM", "xterm-256color")}, cwd=str(cwd),
        dimensions=(rows, columns), timeout=WAIT_S,
    )  # fmt: skip
    child.delaybeforesend = None
    try:
        yield Terminal(child, columns, rows)
    finally:
        if child.isalive():
            os.kill(child.pid, _KILL)
        child.close(force=True)
