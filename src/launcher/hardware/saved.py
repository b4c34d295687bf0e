"""Hardware as JSON: `gpt-oss hardware --save FILE` writes it, `gpt-oss plan --hardware FILE` plans for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from launcher.errors import DamagedFileError, UsageError
from launcher.hardware.types import Hardware
from launcher.records import RecordError, from_jsonable, to_jsonable

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
"""Raised when a field changes its meaning or goes; a new field with a default leaves it."""

_HINT = "gpt-oss hardware --save FILE"


def hardware_to_json(hardware: Hardware) -> dict[str, Any]:
    """The record as a JSON object, `schema` first; what is not known is null."""
    return {"schema": SCHEMA, **to_jsonable(hardware)}


def hardware_from_json(data: Any, *, source: str | None = None) -> Hardware:
    """The record from its JSON object. `source` is the file's path, for messages.

    Raises:
        DamagedFileError: not a hardware record, or one with a wrong value.
        UsageError: written by a launcher with another schema.
    """
    where = source or "the hardware record"
    if not isinstance(data, dict) or "schema" not in data:
        raise DamagedFileError(f"{where} holds no hardware record", path=source, hint=_HINT)
    if data["schema"] != SCHEMA:
        raise UsageError(
            f"{where} has schema {data['schema']!r}; this launcher reads schema {SCHEMA}",
            hint=_HINT,
        )
    try:
        return from_jsonable(Hardware, {name: value for name, value in data.items() if name != "schema"})
    except RecordError as error:
        raise DamagedFileError(f"{where} is damaged: {error}", path=source, hint=_HINT) from error


def load_hardware(path: Path) -> Hardware:
    """Read a file that `gpt-oss hardware --save` wrote.

    Raises:
        DamagedFileError: missing, not JSON, or not a hardware record.
        UsageError: written by a launcher with another schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DamagedFileError(f"{path} cannot be read: {reason}", path=str(path), hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is not JSON text", path=str(path), hint=_HINT) from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is not JSON: {error}", path=str(path), hint=_HINT) from error
    return hardware_from_json(data, source=str(path))
