"""The last tunes, kept for `--explain`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError
from launcher.hardware.identity import machine_record, same_machine
from launcher.hardware.types import Hardware
from launcher.paths import write_atomic
from launcher.planner.types import Purpose
from launcher.records import RecordError, from_jsonable, to_jsonable
from launcher.tune.types import SCHEMA, TuneResult

_FILE = "tune-results.json"
_KEPT = 16
"""The newest of all machines and models together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    machine: dict[str, Any]
    result: TuneResult

    def is_for(self, hardware: Hardware, model: str, size_bytes: int, purpose: Purpose) -> bool:
        """Whether it is of this machine, file and purpose."""
        result = self.result
        same = (result.model, result.size_bytes, result.workload.purpose) == (model, size_bytes, purpose)
        return same and same_machine(self.machine, hardware)


def save_result(hardware: Hardware, result: TuneResult, *, state_dir: Path) -> None:
    """Keep a tune in the place of an earlier one of the same machine, file and purpose.

    Raises:
        LauncherError: the folder cannot be written.
    """
    key = (result.model, result.size_bytes, result.workload.purpose)
    others = [kept for kept in _read(state_dir) if not kept.is_for(hardware, *key)]
    rows: Sequence[_Kept] = [*others, _Kept(machine=machine_record(hardware), result=result)][-_KEPT:]
    try:
        write_atomic(state_dir / _FILE, json.dumps({"schema": SCHEMA, "results": to_jsonable(rows)}))
    except OSError as error:
        raise LauncherError(
            f"what was measured cannot be kept in {state_dir}: {error.strerror or error}",
            hint=f"ls -ld {shlex.quote(str(state_dir))}",
        ) from error


def load_result(
    hardware: Hardware, model: str, size_bytes: int, *, purpose: Purpose, state_dir: Path
) -> TuneResult | None:
    """The last tune here of this file for this purpose; None where there was none."""
    found = (kept.result for kept in _read(state_dir) if kept.is_for(hardware, model, size_bytes, purpose))
    return next(found, None)


def _read(state_dir: Path) -> list[_Kept]:
    """All that can be read. A damaged file holds none: it is worth no more than the time to measure again."""
    try:
        content = json.loads((state_dir / _FILE).read_text(encoding="utf-8"))
        rows = list(content["results"]) if content["schema"] == SCHEMA else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    found = []
    for row in rows:
        with suppress(RecordError):
            found.append(from_jsonable(_Kept, row))
    return found
