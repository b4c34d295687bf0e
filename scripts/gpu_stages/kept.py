"""What was measured, one line for each row, written as it comes; a stage's time; and the loop that goes on."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gpu_stages.records import SCHEMA
from launcher.records import from_jsonable, to_jsonable

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = TypeVar("Row")
RESULTS = "results.jsonl"


class Kept:
    """Rows by stage and key, in a file that is only ever added to. The last one of a key counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[tuple[str, str], Any] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole, _, torn = text.rpartition("\n")
        for line in whole.splitlines():
            table = json.loads(line)
            if table["schema"] != SCHEMA:
                raise ValueError(f"{path} is of another version of this script: remove it")
            self._rows[table["stage"], table["key"]] = table["row"]
        if torn:  # a line without its end was cut off
            path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")

    def has(self, stage: str, key: str) -> bool:
        """Whether it was measured."""
        return (stage, key) in self._rows

    def get(self, stage: str, key: str, row_type: type[Row]) -> Row | None:
        """One row."""
        row = self._rows.get((stage, key))
        return None if row is None else from_jsonable(row_type, row)

    def rows(self, stage: str, row_type: type[Row]) -> tuple[Row, ...]:
        """All of a stage, in the order they were first measured."""
        return tuple(from_jsonable(row_type, row) for (of, _), row in self._rows.items() if of == stage)

    def add(self, stage: str, key: str, row: Any) -> None:
        """Keep one more, on the disk before this returns."""
        table = to_jsonable(row)
        line = json.dumps({"schema": SCHEMA, "stage": stage, "key": key, "row": table}) + "\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._rows[stage, key] = table


class StageTimeError(Exception):
    """A stage's time is over in the middle of a case."""


@dataclass(kw_only=True, slots=True)
class Budget:
    """The time of one stage."""

    limit_s: float
    clock: Callable[[], float] = time.monotonic
    began_s: float = field(init=False)
    longest_s: float = field(init=False, default=0.0)
    """The longest case so far: what the next one may take."""

    def __post_init__(self) -> None:
        """The clock runs from here."""
        self.began_s = self.clock()

    @property
    def taken_s(self) -> float:
        """Since the stage began."""
        return self.clock() - self.began_s

    @property
    def left_s(self) -> float:
        """Until its end."""
        return self.limit_s - self.taken_s

    @property
    def has_room(self) -> bool:
        """Whether another case is likely to end in time."""
        return self.left_s > self.longest_s


@contextmanager
def hard_limit(seconds: float) -> Iterator[None]:
    """Raise StageTimeError in the block once the time is over, whatever it waits for. Windows has no alarm for it."""
    if sys.platform == "win32":
        yield
        return

    def over(_number: int, _frame: object) -> None:
        raise StageTimeError(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Keyed(Protocol):
    """A case with a name of its own."""

    @property
    def key(self) -> str:
        """In results.jsonl."""
        ...


CaseT = TypeVar("CaseT", bound=Keyed)


def each(
    stage: str,
    cases: Sequence[CaseT],
    measure: Callable[[CaseT], Any],
    *,
    kept: Kept,
    budget: Budget,
    tell: Callable[[str], None],
) -> int:
    """Measure what is not measured yet while there is time; how many cases were left out."""
    for i, case in enumerate(cases):
        if kept.has(stage, case.key):
            continue
        if not budget.has_room:
            return sum(not kept.has(stage, other.key) for other in cases[i:])
        began = budget.clock()
        row = measure(case)
        took = budget.clock() - began
        budget.longest_s = max(budget.longest_s, took)
        kept.add(stage, case.key, row)
        tell(f"  {i + 1} of {len(cases)}: {case.key}, {took:.1f} s")
    return 0
