"""The prompt on a pseudo-terminal: a real process, a real line discipline."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.systems import POSIX

pty = pytest.importorskip("pty", reason="a terminal as POSIX has it")
termios = pytest.importorskip("termios", reason="a terminal as POSIX has it")
pytestmark = pytest.mark.timeout(60)
TIMEOUT_S = 20.0

PROGRAM = """
import sys
from pathlib import Path
from launcher.chat.prompt import Status, open_prompt

with open_prompt(
    say=print, history=Path(sys.argv[1]),
    status=lambda: Status(model="gpt-oss-20b", n_context=5, n_ctx=100),
) as prompt:
    while True:
        try:
            text = prompt.read()
        except EOFError:
            print("left")
            break
        except KeyboardInterrupt:
            print("interrupted")
            continue
        print("got", ascii(text))
        if text == "fail":
            raise ValueError("of the program")
"""


class Terminal:
    """A process on a terminal of 60 columns; what it shows is read until a text is there."""

    def __init__(self, history: Path, **environ: str) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (20, 60))
        self.before = termios.tcgetattr(self.slave)
        env = {**os.environ, "TERM": "xterm", "NO_COLOR": "", **environ}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(history)],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, env=env, start_new_session=True,
        )  # fmt: skip
        self.shown = b""
        self.all = b""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, text: str) -> str:
        """What came until `text` was there."""
        deadline = time.monotonic() + TIMEOUT_S
        while text.encode() not in self.shown:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} did not come; there was {self.shown!r}"
            came = os.read(self.master, 65536)
            self.shown += came
            self.all += came
        before, _, self.shown = self.shown.partition(text.encode())
        return before.decode()

    def prompted(self) -> None:
        """Wait until the prompt reads keys: earlier ones would meet a terminal in another mode."""
        self.wait_for("5/100 (5 %)")

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path / "chat_history")
    yield terminal
    terminal.close()


def test_a_conversation(terminal: Terminal) -> None:
    terminal.prompted()
    terminal.type("one\x1b\rtwo\\\rthree\r")
    assert "... " in terminal.wait_for(r"got 'one\ntwo\nthree'")
    terminal.prompted()
    whole = "".join(f"line {n}\n" for n in range(50))
    # A terminal sends what is pasted as it would send what is typed: with a carriage return for each line.
    terminal.type("\x1b[200~" + whole.replace("\n", "\r") + "\x1b[201~")
    terminal.wait_for("[pasted 50 lines, 390 B]")
    terminal.type("\r")
    terminal.wait_for("got " + ascii(whole))
    terminal.prompted()
    terminal.type("\x12tw")
    terminal.wait_for("three")
    terminal.type("\r!\r")
    terminal.wait_for(r"got 'one\n!two\nthree'")
    terminal.prompted()
    terminal.type("Z")
    terminal.wait_for("Z")
    terminal.type("\x03\x03")
    terminal.wait_for("interrupted")
    terminal.prompted()
    terminal.type("\x04")
    terminal.wait_for("left")
    assert terminal.process.wait(TIMEOUT_S) == 0
    assert termios.tcgetattr(terminal.slave) == terminal.before
    assert b"\x1b[6n" not in terminal.all, "the terminal is asked nothing, so nothing comes late"


def test_no_color(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "chat_history", NO_COLOR="1")
    try:
        terminal.prompted()
        terminal.type("\x04")
        terminal.wait_for("left")
        assert not re.search(rb"\x1b\[[0-9;]*[34]8;", terminal.all)
    finally:
        terminal.close()


def test_the_terminal_is_given_back_after_a_failure(terminal: Terminal) -> None:
    terminal.prompted()
    terminal.type("fail\r")
    terminal.wait_for("ValueError: of the program")
    assert terminal.process.wait(TIMEOUT_S) == 1
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_the_terminal_is_given_back_when_the_process_is_ended(terminal: Terminal) -> None:
    terminal.prompted()
    assert termios.tcgetattr(terminal.slave) != terminal.before
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(TIMEOUT_S) == 128 + signal.SIGTERM
    assert termios.tcgetattr(terminal.slave) == terminal.before
    terminal.wait_for("\x1b[?2004l")  # pastes come as they are again


@POSIX
def test_a_signal_is_like_ctrl_c(terminal: Terminal) -> None:
    terminal.prompted()
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("interrupted")


def test_a_dumb_terminal_gets_no_escape_sequences(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "chat_history", TERM="dumb")
    try:
        terminal.wait_for(">>> ")
        terminal.type("a\\\n")
        terminal.wait_for("... ")
        terminal.type("b\n")
        shown = terminal.wait_for(r"got 'a\nb'")
        assert not re.search(r"\x1b", shown)
        terminal.wait_for(">>> ")
        terminal.type("\x04")
        terminal.wait_for("left")
        assert terminal.process.wait(TIMEOUT_S) == 0
    finally:
        terminal.close()
