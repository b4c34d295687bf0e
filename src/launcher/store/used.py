"""When a model was last loaded by the launcher, noted as it happens: file times are not to be trusted with that."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from launcher.store.small import read_small, write_json


def note_use(state_dir: Path, path: Path, *, at: str) -> None:
    """Note that a model is loaded now (`at`, ISO with zone). A folder that cannot be written costs the note."""
    with suppress(OSError):
        write_json(_note_path(state_dir, path), {"schema": 1, "path": os.path.realpath(path), "at": at})


def last_used(state_dir: Path, path: Path) -> str | None:
    """When a model was last loaded; None where that was never, or not by the launcher."""
    try:
        note = json.loads(read_small(_note_path(state_dir, path)))
    except (OSError, ValueError, RecursionError):
        return None
    at = note.get("at") if isinstance(note, dict) and note.get("path") == os.path.realpath(path) else None
    return at if isinstance(at, str) else None


def forget_use(state_dir: Path, path: Path) -> None:
    """Forget a model that is removed."""
    with suppress(OSError):
        _note_path(state_dir, path).unlink(missing_ok=True)


def _note_path(state_dir: Path, path: Path) -> Path:
    name = hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()[:40]
    return state_dir / "used" / f"{name}.json"
