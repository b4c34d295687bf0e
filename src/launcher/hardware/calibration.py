"""Runs that were measured on this machine, kept for the planner to fit its costs to."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from launcher.hardware.identity import machine_record, same_machine
from launcher.hardware.types import ENVIRONMENT
from launcher.planner.types import MeasuredRun
from launcher.records import RecordError, from_jsonable, to_jsonable
from launcher.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from launcher.hardware.types import Hardware

SCHEMA = 2
FILE_NAME = "calibration.json"  # of the environment's build; others have their names in it
KEPT_OF_A_TEST = 3  # a test that is repeated daily must not crowd out the others; of three, one may be disturbed
KEPT_RUNS = 150  # all together: some ten models with their tests
_LARGEST_BYTES = 4 * MIB  # ten times what so many runs take
_MOST = 1e18  # of any figure: beyond every machine, and far from where arithmetic ends
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def file_name(build: str) -> str:
    """The file of one build of llama.cpp: what is measured with another one forgets nothing of it."""
    return FILE_NAME if build == ENVIRONMENT else f"calibration-{build}.json"


def kept_runs(hardware: Hardware, *, state_dir: Path) -> tuple[MeasuredRun, ...]:
    """Runs of this machine with this engine, the oldest first; none where the file is another's, older or damaged."""
    path = state_dir / file_name(hardware.engine.name)
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_BYTES:  # a pipe would never end
            return ()
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["schema"] != SCHEMA or not same_machine(kept["machine"], hardware):
            return ()
        runs = [from_jsonable(MeasuredRun, run) for run in kept["runs"]]
    except (OSError, ValueError, KeyError, TypeError, RecordError, RecursionError):
        return ()
    return bounded([run for run in runs if is_sane(run)])


def is_sane(run: MeasuredRun) -> bool:
    """Whether a run can have been measured: a file that was changed by hand may hold any number. Pure."""
    amounts = [amount for step in run.work for way in step for _, amount in way]
    return (
        0 < run.ts < _MOST
        and 0 < run.n_tokens < _MOST
        and (run.predicted_ts is None or 0 < run.predicted_ts < _MOST)
        and bool(amounts)
        and all(0 < amount < _MOST for amount in amounts)
        and _DATE.fullmatch(run.date) is not None
    )


def keep_runs(hardware: Hardware, runs: Sequence[MeasuredRun], *, state_dir: Path) -> tuple[MeasuredRun, ...]:
    """Add runs to those that are kept, and give all of them. Runs of another machine or engine build are forgotten.

    Raises:
        OSError: the folder cannot be written.
        ValueError: a run that cannot have been measured.
    """
    from launcher.paths import write_atomic

    if not all(is_sane(run) for run in runs):
        raise ValueError("speeds and amounts are above 0")
    kept = bounded([*kept_runs(hardware, state_dir=state_dir), *runs])
    record = {"schema": SCHEMA, "machine": machine_record(hardware), "runs": [to_jsonable(run) for run in kept]}
    write_atomic(state_dir / file_name(hardware.engine.name), json.dumps(record))
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
    """Forget all runs, of whatever machine and build. Gives whether there was a file.

    Raises:
        OSError: it cannot be removed.
    """
    there = False
    for path in state_dir.glob(file_name("*")):
        with suppress(FileNotFoundError):
            path.unlink()
            there = True
    with suppress(FileNotFoundError):
        (state_dir / FILE_NAME).unlink()
        there = True
    return there
