"""What a bench asks of an engine: one repetition of one case at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from launcher.bench.types import BenchTest, EngineName


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A test on an engine, with so many requests at the same time."""

    engine: EngineName
    test: BenchTest
    n_streams: int = 1

    @property
    def name(self) -> str:
        """`llama-bench tg128 @ d4096`, `server pp512+tg128, 4 streams`."""
        streams = f", {self.n_streams} streams" if self.n_streams > 1 else ""
        return f"{self.engine} {self.test.name}{streams}"


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldMemory:
    """The most of a device's memory that was in use during a repetition."""

    n_bytes: int
    whole_device: bool
    """False: the engine's process alone. True: all that the device held more than before the engine came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What one repetition gave."""

    ns: int
    peak_bytes: int | None = None
    """The most that the engine's process was resident with so far."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What the engine says of itself, the model and the settings, by llama-bench's names."""
    ttft_ms: tuple[float, ...] = ()
    """Of the engine `server`: of each stream."""
    itl_ms: tuple[float, ...] = ()
    """Likewise: between any two tokens of a stream."""
    start_ns: int | None = None
    """When its clock began, by `time.perf_counter_ns`, which all processes of a machine share."""
    pid: int | None = None
    """The engine's process."""
    energy_j: float | None = None
    """While the clock ran; None where nothing tells it, or the sample was over too soon."""
    energy_of: tuple[str, ...] = ()
    """Names of the meters that `energy_j` adds up."""
    device_memory: Mapping[str, HeldMemory] = field(default_factory=dict)
    """By ggml's device name."""


class Session(Protocol):
    """An engine with the model loaded."""

    def measure(self, case: Case) -> Sample:
        """One repetition, after a warm-up of its own.

        Raises:
            EngineError: the engine refused or died; the session is of no further use then.
        """
        ...


OpenSession = Callable[[], AbstractContextManager[Session]]
"""Loads the model; raises EngineError where the engine cannot."""
