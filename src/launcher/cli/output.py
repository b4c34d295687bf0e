"""Where reports go: stdout for data, stderr for talk. One JSON form, one kind of table."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import LauncherError
from launcher.records import to_jsonable

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
"""Version of every JSON document that a command prints."""
NARROWEST = 20
_COLUMNS = re.compile(r"\S {2,}\S")
_HEAD = re.compile(r" *(?:\S+ )+ +")
"""`  note      `: what follows goes on under itself."""
_COMMAND = re.compile(
    r"`[^`]+`|(?:^|(?<=[:;] )|(?<=  ))(?:[A-Z_]+=\S+ )*(?:gpt-oss|sudo|uv|hf|journalctl|loginctl|winget) [^;`]+"
)
"""In backticks, or from its program to the end of the part."""
_GLUE = "\0"


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
    """One line of talk on stderr; on a terminal folded at words."""
    width = stderr_width()
    sys.stderr.write("\n".join(fold(line, width) for line in text.split("\n")) + "\n")
    sys.stderr.flush()


def stderr_width() -> int | None:
    """Columns of the terminal on stderr; None where it is piped, or so narrow that folding helps nobody."""
    if not sys.stderr.isatty():
        return None
    asked = os.environ.get("COLUMNS", "")
    try:
        columns = int(asked) if asked.isdecimal() else os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # closed, or no file
        return None
    return columns if columns >= NARROWEST else None


def fold(line: str, width: int | None, *, indent: str | None = None) -> str:
    """A line with breaks between words. Commands stay whole, so that they can be copied, and so do columns.

    Args:
        line: without breaks.
        width: None: as it is.
        indent: of all but the first; that of the line, or of what stands beside its name.
    """
    if width is None or len(line) <= width:
        return line
    head = line[: len(line) - len(line.lstrip(" "))]
    named = _HEAD.match(line)
    if named is not None and len(named[0]) <= width / 2:
        head, indent = named[0], " " * len(named[0])
    if _COLUMNS.search(line.removeprefix(head)):
        return line
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _GLUE), line)
    parts = textwrap.wrap(
        whole[len(head) :],
        width,
        initial_indent=head,
        subsequent_indent=head if indent is None else indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(parts).replace(_GLUE, " ")
