"""`engine.json`, which makes a folder a build: what it says, and what it says of another machine or launcher."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from launcher.builds.types import Build, BuildRecord
from launcher.paths import write_atomic
from launcher.records import RecordError, from_jsonable, to_jsonable

RECORD = "engine.json"
SITE = "site"
_SCHEMA = 1


class NewerError(ValueError):
    """A newer launcher made it."""


def read_build(folder: Path) -> Build:
    """The build in a folder.

    Raises:
        NewerError: only a newer launcher can read it.
        RecordError: it is none.
        OSError: it cannot be read.
    """
    try:
        table = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{RECORD} is not there") from None
    except ValueError as error:  # UnicodeDecodeError too
        raise RecordError(f"{RECORD} cannot be read: {error}") from error
    schema = table.pop("schema", None) if isinstance(table, dict) else None
    if isinstance(schema, int) and schema > _SCHEMA:
        raise NewerError("a newer launcher made it, and this one cannot read it")
    if schema != _SCHEMA:
        raise RecordError(f"{RECORD} is no record of an engine")
    record = from_jsonable(BuildRecord, table)
    site = folder / SITE
    if not (site / "llama_cpp" / "__init__.py").is_file():
        raise RecordError(f"{site / 'llama_cpp'} is not there")
    return Build(name=folder.name, site=site, record=record, elsewhere=_elsewhere(record))


def _elsewhere(record: BuildRecord) -> str | None:
    here = (platform.system(), platform.machine())
    return None if (record.system, record.arch) == here else f"{record.system} on {record.arch}"


def write_record(folder: Path, record: BuildRecord) -> None:
    """Put a record into the folder of a build. Raises OSError."""
    text = json.dumps({"schema": _SCHEMA, **to_jsonable(record)}, indent=2) + "\n"
    write_atomic(folder / RECORD, text, mode=0o644)
