"""How far a compilation is, from what ninja and make print. Pure: the clock is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from launcher.builds.compile_types import Step

_NINJA = re.compile(r"^\[(\d+)/(\d+)\] (.*)")
_MAKE = re.compile(r"^\[ *(\d+)%\] (.*)")
_BEFOREHAND = ("Re-checking globbed directories", "Re-running CMake")
"""What ninja does before it knows its steps (Vulkan's shaders are a glob), counted on its own."""
_LEAST_SHARE = 0.02
"""Nothing is said of the time left before: the first files are small, and some come from a compiler's cache."""

_WEIGHTS = (
    ("template-instances/fattn-tile", 30.0),
    ("template-instances/fattn-mma", 25.0),
    ("template-instances/mmq", 40.0),
    ("template-instances/mmf", 25.0),
    ("template-instances/fattn-vec", 12.0),
    (".cu.o", 7.0),
    ("ggml-vulkan.cpp.o", 40.0),
    (".o", 4.0),
)
"""Seconds of one core that a file takes, by a part of its name (measured for one architecture; see README.md)."""


def weight(what: str) -> float:
    """How much of the work a step is, by ninja's line for it."""
    return next((seconds for part, seconds in _WEIGHTS if part in what), 0.3)


def planned_steps(dry_run: str) -> tuple[str, ...]:
    """What ninja has still to do, from `ninja -n`: a continued build has less of it. Empty where it cannot tell yet."""
    steps = tuple(found[3] for line in dry_run.splitlines() if (found := _NINJA.match(line)))
    return () if any(step.startswith(_BEFOREHAND) for step in steps) else steps


class Watch:
    """Reads a compilation line by line."""

    def __init__(self, planned: Iterable[str], clock: Callable[[], float]) -> None:
        self._total = sum(map(weight, planned))
        self._clock = clock
        self._since_s = clock()
        self._done = 0.0

    def read(self, line: str) -> Step | None:
        """What a line says; None for one that is no progress."""
        ninja = _NINJA.match(line)
        if ninja is not None and ninja[3].startswith(_BEFOREHAND):
            return None
        if ninja is not None:
            self._done += weight(ninja[3])
            done, total = int(ninja[1]), int(ninja[2])
            share = min(1.0, self._done / self._total) if self._total else done / max(1, total)
            return Step(done=done, total=total, share=share, left_s=self._left_s(share))
        make = _MAKE.match(line)
        if make is None:
            return None
        share = int(make[1]) / 100
        return Step(done=int(make[1]), total=100, share=share, left_s=self._left_s(share))

    def _left_s(self, share: float) -> float | None:
        if share < _LEAST_SHARE:
            return None
        return (self._clock() - self._since_s) * (1 - share) / share
