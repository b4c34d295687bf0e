"""One engine with the model loaded, which is loaded again where a setting asks for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from launcher.bench.embedded import open_embedded
from launcher.bench.probe import Probe, Timing, same_load
from launcher.bench.types import BenchTest
from launcher.planner.types import LoadParams

_AFTER_LOAD = 64
"""Tokens of a prompt that touch nearly every expert of every block: of mapped weights the first read is a fault."""
_NEW_SETTING = 8
"""Enough for buffers that a setting uses for the first time."""


class Prober(Protocol):
    """An engine with the model loaded: `bench.embedded.EmbeddedSession`, or a test's."""

    def probe(self, probe: Probe) -> Timing:
        """One test under its own settings. Raises EngineError where the engine refuses them or died of them."""
        ...


OpenProber = Callable[[Path, LoadParams], AbstractContextManager[Prober]]


class Meter:
    """Measures tests under settings. A context manager: the engine's process ends with its block."""

    def __init__(self, model: Path, *, open_prober: OpenProber = open_embedded) -> None:
        self._model = model
        self._open = open_prober
        self._stack = ExitStack()
        self._loaded: tuple[LoadParams, Prober] | None = None
        self._warm: set[LoadParams] = set()

    def __enter__(self) -> Self:
        """Nothing is loaded yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the engine, so that its memory is free; the next test loads the model again."""
        self._loaded = None
        self._warm.clear()
        self._stack.close()

    def measure(self, params: LoadParams, test: BenchTest, n_streams: int = 1) -> Timing:
        """One repetition, after a warm-up where these settings have not run since the model was loaded.

        Raises:
            EngineError: the engine refused, or died; it is loaded again for the next test.
        """
        try:
            prober = self._prober(params)
            n_warm = 0 if params in self._warm else (_NEW_SETTING if self._warm else _AFTER_LOAD)
            timing = prober.probe(Probe(test=test, params=params, n_streams=n_streams, n_warm=n_warm))
        except BaseException as error:
            # Of an engine that stopped half way nothing more can be asked; it is not waited for either.
            self._loaded = None
            self._warm.clear()
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        self._warm.add(params)
        return timing

    def _prober(self, params: LoadParams) -> Prober:
        if self._loaded is None or not same_load(self._loaded[0], params):
            self.close()
            self._loaded = (params, self._stack.enter_context(self._open(self._model, params)))
        return self._loaded[1]
