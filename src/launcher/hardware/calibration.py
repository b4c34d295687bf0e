"""Runs that were measured on this machine, kept for the planner to fit its costs to."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from launcher.hardware.identity import machine_record, same_machine
from launcher.planner.types import MeasuredRun
from launcher.records import RecordError, from_jsonable, to_jsonable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from launcher.hardware.types import Hardware

SCHEMA = 2
FILE_NAME = "calibration.json"
KEPT_OF_A_TEST = 3  # a test that is repeated daily must not crowd out the others; of three, one may be disturbed
KEPT_RUNS = 150  # all together: some ten models with their tests
_FULL = 0.5  # of a file's length that takes room on the disk: compression spares less, holes spare nearly all


def kept_runs(hardware: Hardware, *, state_dir: Path) -> tuple[MeasuredRun, ...]:
    """Runs of this machine with this engine, the oldest first; none where the file is another's, older or damaged."""
    try:
        kept = json.loads((state_dir / FILE_NAME).read_text(encoding="utf-8"))
        if kept["schema"] != SCHEMA or not same_machine(kept["machine"], hardware):
            return ()
        return tuple(from_jsonable(MeasuredRun, run) for run in kept["runs"])
    except (OSError, ValueError, KeyError, TypeError, RecordError, RecursionError):
        return ()


def keep_runs(hardware: Hardware, runs: Sequence[MeasuredRun], *, state_dir: Path) -> tuple[MeasuredRun, ...]:
    """Add runs to those that are kept, and give all of them. Runs of another machine or engine build are forgotten.

    Raises:
        OSError: the folder cannot be written.
        ValueError: a speed that is not above 0.
    """
    from launcher.paths import write_atomic

    if any(run.ts <= 0 or run.n_tokens <= 0 for run in runs):
        raise ValueError("speeds are above 0")
    kept = bounded([*kept_runs(hardware, state_dir=state_dir), *runs])
    record = {"schema": SCHEMA, "machine": machine_record(hardware), "runs": [to_jsonable(run) for run in kept]}
    write_atomic(state_dir / FILE_NAME, json.dumps(record))
    return kept


def bounded(runs: Sequence[MeasuredRun]) -> tuple[MeasuredRun, ...]:
    """The last runs of each test, and of these the last ones; the order stays. Pure."""
    seen: dict[tuple[str, ...], int] = {}
    kept: list[MeasuredRun] = []
    for run in reversed(runs):
        test = (run.recipe, run.settings, run.test, run.engine)
        seen[test] = seen.get(test, 0) + 1
        if seen[test] <= KEPT_OF_A_TEST and len(kept) < KEPT_RUNS:
            kept.append(run)
    return tuple(reversed(kept))


def forget_runs(*, state_dir: Path) -> bool:
    """Forget all runs, of whatever machine. Gives whether there was a file.

    Raises:
        OSError: it cannot be removed.
    """
    path = state_dir / FILE_NAME
    with suppress(FileNotFoundError):
        path.unlink()
        return True
    return False


def is_hollow(paths: Iterable[Path]) -> bool:
    """Whether one of the files is mostly holes, whose zeros run at another speed than weights do.

    False where a file system does not tell how much room a file takes.
    """
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            n_blocks = getattr(status, "st_blocks", None)
            if n_blocks is not None and n_blocks * 512 < _FULL * status.st_size:
                return True
    return False
