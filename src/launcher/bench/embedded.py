"""The embedded engine as a bench session: a child process that measures and answers line by line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.bench.child import Child, open_child
from launcher.bench.memory import peak_rss_bytes
from launcher.bench.probe import Probe, Timing
from launcher.bench.session import Case, Sample
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable, to_jsonable

_END_S = 10.0
"""For a child to free its memory once its stdin ends; 60 GB take a few seconds."""


class EmbeddedSession:
    """A running child. Made by `open_embedded`."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._facts: Mapping[str, Any] = {}

    def load(self, model: Path, params: LoadParams) -> None:
        """Load the model. Raises EngineError where llama.cpp refuses."""
        self._facts = self._child.ask({"model": str(model), "load_params": to_jsonable(params)})["facts"]

    def measure(self, case: Case) -> Sample:
        """One repetition of a test."""
        answer = self._child.ask(to_jsonable(case.test))
        return Sample(
            ns=answer["ns"],
            start_ns=answer["start_ns"],
            pid=self._child.pid,
            peak_bytes=peak_rss_bytes(self._child.pid),
            fields=self._facts,
        )

    def probe(self, probe: Probe) -> Timing:
        """One test under its own settings. Raises EngineError where llama.cpp refuses them or died of them."""
        return from_jsonable(Timing, self._child.ask({"probe": to_jsonable(probe)})["timing"])


@contextmanager
def open_embedded(
    model: Path, params: LoadParams, *, site: str | None = None, python: str = sys.executable
) -> Iterator[EmbeddedSession]:
    """Load the model in a child process, by the build in `site`; it ends with the block.

    Raises:
        EngineError: llama.cpp cannot load it, or died of it.
    """
    with open_child("launcher.bench.embedded_child", python=python, site=site) as child:
        session = EmbeddedSession(child)
        session.load(model, params)
        yield session
        child.leave(_END_S)
