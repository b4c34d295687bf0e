"""Where reports go: stdout for data, stderr for talk. One JSON form, one kind of table."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import LauncherError
from launcher.records import to_jsonable

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
"""Version of every JSON document that a command prints."""


def json_text(record: Any) -> str:
    """A record as one JSON document: `schema` first, unknown values null."""
    return json.dumps({"schema": SCHEMA, **to_jsonable(record)}, indent=2, ensure_ascii=False) + "\n"


def print_json(record: Any) -> None:
    """Print a record as JSON on stdout."""
    sys.stdout.write(json_text(record))


def report_console() -> Console:
    """Console for a report on stdout. When piped it prints plain text and never wraps a line."""
    from rich.console import Console

    piped = not sys.stdout.isatty()
    return Console(highlight=False, width=200 if piped else None, no_color=piped or None)


def save_text(path: Path, text: str | bytes) -> None:
    """Write a file that a person asked for, whole or not at all.

    Raises:
        LauncherError: the folder cannot be written.
    """
    from launcher.paths import write_atomic

    try:
        write_atomic(path, text, mode=0o644)
    except OSError as error:
        raise LauncherError(
            f"cannot write {path}: {error.strerror or error}", hint=f"ls -ld {shlex.quote(str(path.parent))}"
        ) from error


def talk_console() -> Console:
    """Console for talk on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """One line of talk on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
