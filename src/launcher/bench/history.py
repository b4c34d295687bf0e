"""The records that every bench leaves in the state folder, by run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.bench.types import BenchRecord
from launcher.errors import DamagedFileError, UsageError
from launcher.records import RecordError, from_jsonable

FILE_NAME = "bench.jsonl"
"""In the state folder: one record a line, the newest last."""

_LAST = re.compile(r"last(?:~(\d{1,9}))?")
_N_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One `gpt-oss bench`: its records in the order they were kept."""

    run_id: str
    records: tuple[BenchRecord, ...]

    @property
    def started_at(self) -> str:
        """RFC 3339, UTC: when its first test began."""
        return min(record.test_time for record in self.records)


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """What the file holds."""

    runs: tuple[Run, ...]
    """The newest last."""
    problems: tuple[str, ...]
    """One sentence for each line that was passed over."""


def read_history(state_dir: Path) -> History:
    """All runs. A line that cannot be read is passed over and told; the file is left as it is.

    Raises:
        DamagedFileError: the file is there and cannot be opened.
    """
    path = state_dir / FILE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return History(runs=(), problems=())
    except OSError as error:
        raise DamagedFileError(
            f"cannot read {path}: {error.strerror or error}", path=str(path), hint=f"ls -ld {shlex.quote(str(path))}"
        ) from error
    return parse_history(data)


def parse_history(data: bytes) -> History:
    """Runs out of lines: records of one run may be apart where two benches wrote at the same time."""
    runs: dict[str, list[BenchRecord]] = {}
    problems = []
    for n, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = from_jsonable(BenchRecord, json.loads(line))
        except RecordError as error:
            problems.append(f"line {n} of {FILE_NAME} is passed over: {error}")
        except (ValueError, RecursionError):  # bytes that are no UTF-8 as well
            problems.append(f"line {n} of {FILE_NAME} is passed over: it is damaged")
        else:
            runs.setdefault(record.run_id, []).append(record)
    found = [Run(run_id=run_id, records=tuple(records)) for run_id, records in runs.items()]
    return History(runs=tuple(sorted(found, key=lambda run: run.started_at)), problems=tuple(problems))


def find_run(runs: Sequence[Run], which: str) -> Run:
    """The run that is meant: `last`, `last~1` (the one before), an id or the beginning of one.

    Raises:
        UsageError: there is none, or several begin so.
    """
    if not runs:
        raise UsageError("no bench has been kept yet", hint="gpt-oss bench --help")
    back = _LAST.fullmatch(which)
    if back:
        n = int(back.group(1) or 0)
        if n >= len(runs):
            raise UsageError(f"{which}: only {len(runs)} runs are kept", hint="gpt-oss bench history")
        return runs[-1 - n]
    exact = [run for run in runs if run.run_id == which]
    found = exact or [run for run in runs if which and run.run_id.startswith(which)]
    if not found:
        raise UsageError(f"no file and no run is called {which}", hint="gpt-oss bench history")
    if len(found) > 1:
        names = ", ".join(run.run_id for run in found[-_N_SHOWN:])
        raise UsageError(f"{len(found)} runs begin with {which}: {names}", hint="gpt-oss bench history")
    return found[0]
