"""What measured runs on this machine say of the planner's predictions, kept between runs."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from launcher.hardware.identity import machine_record, same_machine
from launcher.planner.types import Calibration, Correction, Tier
from launcher.records import RecordError, from_jsonable, to_jsonable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from launcher.hardware.types import Hardware

SCHEMA = 1
_FILE = "calibration.json"
_KEPT_RUNS = 5  # of each tier: the median of these forgives two that were disturbed
_FACTORS = (0.2, 5.0)  # a ratio beyond is a broken run, not a property of the machine


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredRun:
    """Tokens per second of one stream at an empty context: as measured, and as predicted without corrections."""

    tier: Tier
    date: str
    """ISO date."""
    tg_ts: float
    predicted_tg_ts: float
    pp_ts: float | None = None
    predicted_pp_ts: float | None = None


def corrections(runs: Sequence[MeasuredRun]) -> Calibration:
    """The median ratio of measured to predicted speed, for each tier that was run. Pure."""
    found = []
    for tier in dict.fromkeys(run.tier for run in runs):
        same = [run for run in runs if run.tier == tier][-_KEPT_RUNS:]
        prompts = [run.pp_ts / run.predicted_pp_ts for run in same if run.pp_ts and run.predicted_pp_ts]
        last = same[-1]
        found.append(
            Correction(
                tier=tier,
                tg_factor=_clamped(median(run.tg_ts / run.predicted_tg_ts for run in same)),
                pp_factor=_clamped(median(prompts)) if prompts else 1.0,
                basis=(
                    f"corrected by {len(same)} {'run' if len(same) == 1 else 'runs'} measured here, the last on "
                    f"{last.date}: {last.tg_ts:.1f} against {last.predicted_tg_ts:.1f} tok/s"
                ),
            )
        )
    return Calibration(corrections=tuple(found))


def _clamped(factor: float) -> float:
    return min(max(factor, _FACTORS[0]), _FACTORS[1])


def load_calibration(hardware: Hardware, *, state_dir: Path) -> Calibration | None:
    """Corrections by the runs kept of this machine and engine; None where there are none."""
    runs = _read(hardware, state_dir)
    return corrections(runs) if runs else None


def record_run(hardware: Hardware, run: MeasuredRun, *, state_dir: Path) -> Calibration:
    """Keep a run and give the corrections that follow. Runs of another machine or engine build are forgotten.

    A folder that cannot be written costs the correction of later plans, and nothing else.

    Raises:
        ValueError: a speed that is not above 0.
    """
    if run.tg_ts <= 0 or run.predicted_tg_ts <= 0:
        raise ValueError(f"speeds are above 0, not {run.tg_ts} and {run.predicted_tg_ts}")
    runs = [*_read(hardware, state_dir), run]
    kept = [r for i, r in enumerate(runs) if sum(later.tier == r.tier for later in runs[i:]) <= _KEPT_RUNS]
    from launcher.paths import write_atomic

    record = {"schema": SCHEMA, "machine": machine_record(hardware), "runs": [to_jsonable(r) for r in kept]}
    with suppress(OSError):
        write_atomic(state_dir / _FILE, json.dumps(record))
    return corrections(kept)


def _read(hardware: Hardware, state_dir: Path) -> list[MeasuredRun]:
    try:
        kept = json.loads((state_dir / _FILE).read_text(encoding="utf-8"))
        if kept["schema"] != SCHEMA or not same_machine(kept["machine"], hardware):
            return []
        return [from_jsonable(MeasuredRun, run) for run in kept["runs"]]
    except (OSError, ValueError, KeyError, TypeError, RecordError):
        return []
