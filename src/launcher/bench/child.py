"""A child process that works on the engine and answers line by line in JSON; how any process of an engine ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from launcher.engines.active import child_environ
from launcher.errors import EngineCrashError, EngineError
from launcher.hardware.crashes import crash_of_status, is_about_memory
from launcher.system.children import OWN_GROUP, python_itself

LOG_LINES = 20
"""Of llama.cpp's log, what a child sends along with a refusal."""
_SHOWN_LINES = 5


class Child:
    """A running child. Made by `open_child`."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def order(self, order: Mapping[str, Any]) -> None:
        """Say what is to be done. A child that died is told by the answer that does not come."""
        assert self._process.stdin is not None  # noqa: S101  # a pipe was asked for
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any] | None:
        """The next line; None where it ended instead."""
        assert self._process.stdout is not None  # noqa: S101  # a pipe was asked for
        line = self._process.stdout.readline()
        # Who is killed while it writes leaves half a line.
        answer: dict[str, Any] | None = json.loads(line) if line.endswith("\n") else None
        return answer

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers to an order. Raises EngineError where it refuses, or died of it."""
        self.order(order)
        answer = self.answer()
        if answer is None:
            raise self.death()
        if "refused" in answer:
            raise refusal_of(answer["refused"], answer["log"])
        return answer

    def death(self, doing: str = "") -> EngineError:
        """Why no answer came."""
        return death_of(self._process.wait(), log_of(self._errors), doing)

    def leave(self, within_s: float) -> None:
        """Let it free its memory and end by itself."""
        assert self._process.stdin is not None  # noqa: S101  # a pipe was asked for
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)


@contextmanager
def open_child(module: str, *, python: str, site: str | None = None) -> Iterator[Child]:
    """Start a module as a process, which is killed at the end of the block where it has not left before.

    It computes with the build of llama.cpp in `site`; None: with the environment's.
    """
    with tempfile.TemporaryFile() as errors:
        program, environ = python_itself(python, child_environ(os.environ, site))  # its memory is looked at by its id
        process = subprocess.Popen(
            [program, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environ,
            # Ctrl-C on the terminal is the launcher's: it prints what was measured, and ends the child.
            start_new_session=True,
            creationflags=OWN_GROUP,
        )
        try:
            yield Child(process, errors)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()


def answering() -> Callable[[Mapping[str, Any]], None]:
    """In the child: how it answers. What else is printed would be taken for an answer, and goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(table: Mapping[str, Any]) -> None:
        answers.write(json.dumps(table) + "\n")
        answers.flush()

    return answer


def log_of(file: IO[bytes]) -> tuple[str, ...]:
    """The lines that a process left on stderr."""
    file.seek(0)
    return tuple(file.read().decode("utf-8", "replace").strip().splitlines())


def death_of(status: int, log: Sequence[str], doing: str = "") -> EngineError:
    """`the engine crashed (Aborted) while ...`, or how it ended otherwise, with its last words."""
    crash = crash_of_status(status)
    if crash is not None and not is_about_memory(log):
        message = f"the engine crashed ({crash}){doing}"
        return EngineCrashError(message, how=crash, log=tuple(log), details=_shown(log), hint="gpt-oss plan")
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return refusal_of(f"the engine {how}{doing}", log)


def refusal_of(message: str, log: Sequence[str]) -> EngineError:
    """What an engine would not do, with the end of its log."""
    return EngineError(message, log=tuple(log), details=_shown(log), hint="gpt-oss plan")


def _shown(log: Sequence[str]) -> tuple[str, ...]:
    return tuple(log[-_SHOWN_LINES:])
