"""Ctrl-C, readers that leave, and a conversation on a terminal: the real command in pipes and pseudo-terminals."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.cli.chat_engine import loaded
from launcher.planner.types import LoadParams
from tests.cli.sandbox import TIMEOUT_S, Sandbox
from tests.engines.demo import load_params
from tests.systems import POSIX

CAPITAL = "What is the capital of France?"


def fill(descriptor: int) -> int:
    """Write to a pipe until not a byte more goes in; gives how many went."""
    if sys.platform == "win32":
        pytest.skip("pipes of Windows always block")
    os.set_blocking(descriptor, False)
    filled = 0
    for size in (65536, 1):
        while True:
            try:
                filled += os.write(descriptor, b"x" * size)
            except BlockingIOError:
                break
    os.set_blocking(descriptor, True)
    return filled


@POSIX
def test_ctrl_c_during_an_answer_keeps_what_came(sandbox: Sandbox) -> None:
    """The pipe for stdout is full, so the answer waits at its first word until the test has pressed Ctrl-C."""
    reader, writer = os.pipe()
    filled = fill(writer)
    with sandbox.start("chat", "--demo", CAPITAL, stdout=writer) as process:
        os.close(writer)
        assert process.stderr is not None
        process.stderr.readline()  # what the demo is
        assert process.stderr.readline().strip(), "the reasoning; its line ends where the answer begins"
        process.send_signal(signal.SIGINT)
        with os.fdopen(reader, "rb") as stdout:
            answer = stdout.read()[filled:].decode()
        err = process.stderr.read().decode()
        assert process.wait(TIMEOUT_S) == 130
    assert answer.strip()
    assert "The capital of France is Paris.".startswith(answer.strip())
    assert "stopped" in err
    assert "Traceback" not in err


def test_a_reader_that_leaves_is_no_failure(sandbox: Sandbox) -> None:
    for words in (("chat", "--demo", CAPITAL), ("hardware", "--json"), ("--help",)):
        reader, writer = os.pipe()
        os.close(reader)
        with sandbox.start(*words, stdout=writer) as process:
            os.close(writer)
            _, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, err
        assert b"Traceback" not in err
        assert b"Exception ignored" not in err
        assert b"error" not in err


REPEAT_S = 3  # longer than a loaded machine takes to answer, so that two interrupts never meet


@contextmanager
def on_a_terminal(sandbox: Sandbox, *words: str, **env: str) -> Iterator[Terminal]:
    """The command with a pseudo-terminal for stdin, stdout and stderr."""
    if sys.platform == "win32":
        pytest.skip("a terminal as POSIX has it")
    import pty

    ours, theirs = pty.openpty()
    process = sandbox.start(
        *words,
        env={"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", "TTY": os.ttyname(theirs), **env},
        # The first terminal that the leader of a session opens becomes its own: Ctrl-C typed there reaches it.
        shell='exec "$@" <"$TTY" >"$TTY" 2>&1',
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


class Terminal:
    """Types and reads."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self._process = process
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def wait_for(self, pattern: str) -> str:
        """Read until `pattern` shows up; what came since the last time, up to its end."""
        deadline = time.monotonic() + TIMEOUT_S
        while (match := re.search(pattern, self.seen)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not come: {self.seen!r}"
            ready, _, _ = select.select([self._descriptor], [], [], left)
            if ready:
                try:
                    self.seen += os.read(self._descriptor, 65536).decode("utf-8", "replace")
                except OSError:  # EIO: the other side is closed
                    raise AssertionError(f"it ended before {pattern!r} came: {self.seen!r}") from None
        found, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return found

    def interrupt_until(self, pattern: str) -> None:
        """Type Ctrl-C until `pattern` answers it.

        A signal that comes after readline has shown its prompt and before it waits for input stays pending until the
        next key (CPython's readline_until_enter_or_signal): a person types again, and so does this.
        """
        for _ in range(round(TIMEOUT_S / REPEAT_S)):
            self.type("\x03")
            deadline = time.monotonic() + REPEAT_S
            while (left := deadline - time.monotonic()) > 0:
                ready, _, _ = select.select([self._descriptor], [], [], left)
                if ready:
                    self.seen += os.read(self._descriptor, 65536).decode("utf-8", "replace")
                if re.search(pattern, self.seen):
                    self.wait_for(pattern)
                    return
        raise AssertionError(f"{pattern!r} did not come: {self.seen!r}")

    def code(self) -> int:
        """How the command ended. Reads meanwhile: a full terminal would hold it up."""
        deadline = time.monotonic() + TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            ready, _, _ = select.select([self._descriptor], [], [], 0.05)
            if ready:
                try:
                    self.seen += os.read(self._descriptor, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        return self._process.wait(TIMEOUT_S)


def plain(text: str) -> str:
    """Without escape sequences, which may stand between any two words of what is painted as it comes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_conversation_on_a_terminal(sandbox: Sandbox) -> None:
    with on_a_terminal(sandbox, "chat", "--demo", "--ctx-size", "512", "--reasoning") as terminal:
        terminal.wait_for(r"/help lists the commands\.")
        terminal.wait_for(">>>")
        terminal.type(f"{CAPITAL}\r")
        turn = terminal.wait_for(r"tok/s")
        assert "\x1b[2m" in turn, "reasoning is dimmed"
        assert "The capital of France is Paris." in plain(turn)
        terminal.wait_for(">>>")
        terminal.interrupt_until("/quit leaves")
        terminal.wait_for(">>>")
        terminal.type("/nonsense\r")
        terminal.wait_for("There is no /nonsense")
        terminal.wait_for(">>>")
        terminal.type("word " * 400 + "\r")
        terminal.wait_for("error: the last message makes a prompt of")
        terminal.wait_for(">>>")
        terminal.type("/quit\r")
        assert terminal.code() == 0


def test_a_terminal_without_colour(sandbox: Sandbox) -> None:
    with on_a_terminal(sandbox, "chat", "--demo", "--temp", "0", CAPITAL, NO_COLOR="1") as terminal:
        turn = terminal.wait_for("prompt [0-9]+, ")
        assert not re.search(r"\x1b\[[0-9;]*?(3[0-7]|4[0-7]|9[0-7]|38|48)[;m]", turn)
        assert "The capital of France is Paris." in plain(turn)
        assert terminal.code() == 0


def test_ctrl_d_at_the_question_before_a_download(online: Sandbox) -> None:
    with on_a_terminal(online, "pull", "ggml-org/gpt-oss-20b-GGUF") as terminal:
        asked = terminal.wait_for("Go ahead?")
        assert "1.2 MiB" in asked
        terminal.wait_for(": ")
        terminal.type("\x04")
        assert terminal.code() == 130
        assert "Traceback" not in terminal.seen


def test_saying_no_to_a_download(online: Sandbox) -> None:
    with on_a_terminal(online, "pull", "ggml-org/gpt-oss-20b-GGUF") as terminal:
        terminal.wait_for("Go ahead?")
        terminal.type("n\n")
        terminal.wait_for("not downloaded")
        assert terminal.code() == 2


@POSIX
def test_ctrl_c_while_loading_stops_the_load() -> None:
    """In process: the demo loads too fast for a signal to hit. A load that goes on asks whether it should."""
    asked = []

    @contextmanager
    def slow(path: Path, params: LoadParams, *, progress: Callable[[float], bool]) -> Iterator[str]:
        asked.append(progress(0.1))
        os.kill(os.getpid(), signal.SIGINT)
        asked.append(progress(0.5))
        raise KeyboardInterrupt  # as a load does that was told to stop
        yield ""

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), loaded(Path("x.gguf"), load_params(), opener=slow):
        raise AssertionError("it must not begin")
    assert asked == [True, False]
    assert signal.getsignal(signal.SIGINT) is before


@POSIX
def test_ctrl_c_after_the_last_question_of_a_load_still_counts() -> None:
    closed = []

    @contextmanager
    def quick(path: Path, params: LoadParams, *, progress: Callable[[float], bool]) -> Iterator[str]:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            yield "engine"
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt), loaded(Path("x.gguf"), load_params(), opener=quick):
        raise AssertionError("it must not begin")
    assert closed == [True]
