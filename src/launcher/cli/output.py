"""Where reports go: stdout for data, stderr for talk. One JSON form, one kind of table."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

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


def talk_console() -> Console:
    """Console for talk on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """One line of talk on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
