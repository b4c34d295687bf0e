"""The embedded engine as a bench session: a child process that measures and answers line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from launcher.bench.memory import peak_rss_bytes
from launcher.bench.probe import Probe, Timing
from launcher.bench.session import Case, Sample
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable, to_jsonable
from launcher.store.types import without_hub_login

_CHILD = ("-m", "launcher.bench.embedded_child")
_END_S = 10.0
"""For a child to free its memory once its stdin ends; 60 GB take a few seconds."""
_SHOWN_LINES = 5


class EmbeddedSession:
    """A running child. Made by `open_embedded`."""

    def __init__(self, child: subprocess.Popen[str], errors: IO[bytes]) -> None:
        self._child = child
        self._errors = errors
        self._facts: Mapping[str, Any] = {}

    def load(self, model: Path, params: LoadParams) -> None:
        """Load the model. Raises EngineError where llama.cpp refuses."""
        self._facts = self._ask({"model": str(model), "load_params": to_jsonable(params)})["facts"]

    def measure(self, case: Case) -> Sample:
        """One repetition of a test."""
        answer = self._ask(to_jsonable(case.test))
        return Sample(
            ns=answer["ns"],
            start_ns=answer["start_ns"],
            pid=self._child.pid,
            peak_bytes=peak_rss_bytes(self._child.pid),
            fields=self._facts,
        )

    def probe(self, probe: Probe) -> Timing:
        """One test under its own settings. Raises EngineError where llama.cpp refuses them or died of them."""
        return from_jsonable(Timing, self._ask({"probe": to_jsonable(probe)})["timing"])

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        assert self._child.stdin is not None  # noqa: S101  # pipes were asked for
        assert self._child.stdout is not None  # noqa: S101
        with suppress(BrokenPipeError):  # it died: the empty answer below says so
            self._child.stdin.write(json.dumps(order) + "\n")
            self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise self._death()
        answer: dict[str, Any] = json.loads(line)
        if "refused" in answer:
            log = tuple(answer["log"])
            raise EngineError(answer["refused"], log=log, details=log[-_SHOWN_LINES:], hint="gpt-oss plan")
        return answer

    def _death(self) -> EngineError:
        status = self._child.wait()
        self._errors.seek(0)
        log = tuple(self._errors.read().decode("utf-8", "replace").strip().splitlines())
        return EngineError(how_ended(status), log=log, details=log[-_SHOWN_LINES:], hint="gpt-oss plan")


def how_ended(status: int) -> str:
    """`the engine was ended by signal 6`."""
    return f"the engine was ended by signal {-status}" if status < 0 else f"the engine ended with status {status}"


@contextmanager
def open_embedded(model: Path, params: LoadParams, *, python: str = sys.executable) -> Iterator[EmbeddedSession]:
    """Load the model in a child process, which ends with the block.

    Raises:
        EngineError: llama.cpp cannot load it, or died of it.
    """
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [python, *_CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=without_hub_login(os.environ),
            # Ctrl-C on the terminal is the launcher's: it prints what was measured, and ends the child.
            start_new_session=True,
        )
        try:
            session = EmbeddedSession(child, errors)
            session.load(model, params)
            yield session
            assert child.stdin is not None  # noqa: S101
            with suppress(BrokenPipeError):
                child.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_END_S)
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()
