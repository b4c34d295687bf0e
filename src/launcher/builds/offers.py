"""What was answered when an engine for an idle GPU was offered, and when it may be offered again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from launcher.paths import write_atomic
from launcher.records import RecordError, from_jsonable, to_jsonable

FILE_NAME = "engine-offer.json"
AGAIN_AFTER = timedelta(days=14)
"""After a no: long enough to be no nuisance, and a month has two of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer that was no yes."""

    never: bool
    """Whether it is never to be offered again."""
    date: str
    """ISO date and time, UTC."""
    launcher: str
    """The launcher's version then: a later one may have better engines."""
    gpus: tuple[str, ...]
    """The idle GPUs then."""


def read_answer(state_dir: Path) -> Answer | None:
    """The last one; None where there was none, or its file is damaged."""
    try:
        table = json.loads((state_dir / FILE_NAME).read_text(encoding="utf-8"))
        if table.pop("schema") != 1:
            return None
        answer = from_jsonable(Answer, table)
        datetime.fromisoformat(answer.date)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecordError):
        return None
    return answer


def keep_answer(state_dir: Path, answer: Answer) -> None:
    """Remember an answer.

    Raises:
        OSError: it cannot be written.
    """
    write_atomic(state_dir / FILE_NAME, json.dumps({"schema": 1, **to_jsonable(answer)}) + "\n")


def is_due(answer: Answer | None, *, launcher: str, gpus: Sequence[str], now: datetime) -> bool:
    """Whether it may be offered: not again after a never, nor for the same GPUs within the fortnight after a no."""
    if answer is None:
        return True
    if answer.never:
        return False
    if (answer.launcher, sorted(answer.gpus)) != (launcher, sorted(gpus)):
        return True
    since = now - datetime.fromisoformat(answer.date)
    # A clock that was set back is no reason to be silent for years.
    return since >= AGAIN_AFTER or since < timedelta(0)
