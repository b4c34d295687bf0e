"""What a person names to `bench compare`, `plot` and `share`: files, runs of the history, one engine of either."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.bench.history import Run, find_run, read_history
from launcher.bench.rows import Row, RowError, row_of, rows_of_text
from launcher.bench.types import ENGINES
from launcher.cli.output import say
from launcher.errors import DamagedFileError, UsageError
from launcher.paths import folders
from launcher.records import to_jsonable

if TYPE_CHECKING:
    from launcher.bench.history import History

_PATHLIKE = re.compile(r"[/\\]|\.(json|jsonl|txt|csv|md|sql)$", re.IGNORECASE)
_MAX_BYTES = 256 * 1024 * 1024
"""Of a file. The largest history of years is a hundredth of it; more is some other file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Rows, and where they are from."""

    name: str
    """As it was typed."""
    started_at: str | None
    """RFC 3339; None where no row tells it."""
    rows: tuple[Row, ...]


def find_source(typed: str) -> Source:
    """Rows of a file, of stdin (`-`) or of a run (`last`, `last~1`, an id), of one engine where `@ENGINE` follows.

    Raises:
        UsageError: no file and no run is called so, or nothing of that engine is in it.
        DamagedFileError: the file cannot be read, or holds something else.
    """
    name, engine = typed, None
    before, at, after = typed.rpartition("@")
    if at and after in ENGINES and not _exists(Path(typed)):
        name, engine = before, after
    rows = _rows(name)
    kept = tuple(row for row in rows if engine is None or row.engine == engine)
    if not kept:
        there = ", ".join(dict.fromkeys(row.engine for row in rows))
        raise UsageError(f"{name} holds nothing of {engine}, only of {there}", hint="gpt-oss bench history")
    times = [row.test_time for row in kept if row.test_time]
    return Source(name=typed, started_at=min(times, default=None), rows=kept)


def kept_runs() -> tuple[Run, ...]:
    """The history, the newest last. Lines that were passed over are told on stderr."""
    return told(read_history(folders().state)).runs


def told(history: History) -> History:
    """The same, its problems said."""
    for problem in history.problems:
        say(problem)
    return history


def _rows(name: str) -> Sequence[Row]:
    path = Path(name)
    if name == "-":
        return _parsed(sys.stdin.buffer.read(_MAX_BYTES), name)
    if name and not re.fullmatch(r"last(~\d+)?", name) and _exists(path):
        return _parsed(_content(path), name)
    if _PATHLIKE.search(name):
        raise DamagedFileError(f"{name}: no such file", path=name, hint="gpt-oss bench history")
    return [row_of(to_jsonable(record)) for record in find_run(kept_runs(), name).records]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than any name may be, or in a folder that is closed
        return False


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise DamagedFileError(
            f"cannot read {path}: {error.strerror or error}", path=str(path), hint=f"ls -ld {shlex.quote(str(path))}"
        ) from error


def _parsed(data: bytes, name: str) -> Sequence[Row]:
    hint = "gpt-oss bench compare --help"
    try:
        return rows_of_text(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{name}: it is no text", path=name, hint=hint) from error
    except RowError as error:
        raise DamagedFileError(f"{name}: {error}", path=name, hint=hint) from error
