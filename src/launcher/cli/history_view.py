"""Conversations for a person: what others said reaches a terminal as plain text."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

from launcher.history.conversations import columns, shortened
from launcher.history.export import about_line, heading, shown
from launcher.history.types import About, Hit, SavedConversation
from launcher.text import printable

_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_DATE_AFTER_D = 14
_MIN_TITLE = 12
_GOOD_TITLE = 32
_MAX_MODEL = 16
_N_DOOMED = 10
_GAP = 2
_MAX_NAME_BYTES = 120


def print_list(found: Sequence[About], now: datetime) -> None:
    """A table on stdout: as wide as the terminal, titles cut; whole where it is piped."""
    for text in _table(found, now, _width(sys.stdout), styled=_styled(sys.stdout)):
        sys.stdout.write(text + "\n")


def print_hits(hits: Sequence[Hit], now: datetime) -> None:
    """Each conversation with the place where the words are."""
    width, styled = _width(sys.stdout), _styled(sys.stdout)
    n_id = max(len(str(hit.about.id)) for hit in hits)
    for hit in hits:
        when = age(hit.about.updated_at, now)
        title = _cut(line(hit.about.title), None if width is None else width - n_id - len(when) - 2 * _GAP)
        head = f"{hit.about.id!s:>{n_id}}  {_in(_BOLD, title, styled=styled)}  {_in(_DIM, when, styled=styled)}"
        sys.stdout.write(head + "\n")
        if hit.role is not None:
            snippet = _cut(hit.snippet, None if width is None else width - n_id - _GAP)
            sys.stdout.write(" " * (n_id + _GAP) + (_marked(snippet, hit) if styled else snippet) + "\n")


def print_conversation(saved: SavedConversation, *, reasoning: bool) -> None:
    """All that was said."""
    out, styled = sys.stdout, _styled(sys.stdout)
    out.write(_in(_BOLD, f"{saved.about.id}  {line(saved.about.title)}", styled=styled) + "\n")
    out.write(_in(_DIM, about_line(saved.about), styled=styled) + "\n")
    for kept in saved.messages:
        message = kept.message
        out.write("\n" + _in(_BOLD, f"{printable(heading(kept))}:", styled=styled) + "\n")
        if reasoning and message.reasoning:
            thoughts = f"(reasoning)\n{shown(message.reasoning)}" + ("\n(answer)" if message.content else "")
            out.write(_in(_DIM, thoughts, styled=styled) + "\n")
        if message.content:
            out.write(shown(message.content) + "\n")
        for call in message.tool_calls:
            out.write(_in(_DIM, f"calls {line(call.name)} {line(call.arguments)}", styled=styled) + "\n")
        if kept.finish_reason in ("length", "cancelled"):
            out.write(_in(_DIM, "(cut off)", styled=styled) + "\n")


def print_doomed(found: Sequence[About], now: datetime) -> None:
    """What a deletion would delete, on stderr."""
    for text in _table(found[:_N_DOOMED], now, _width(sys.stderr), styled=_styled(sys.stderr)):
        sys.stderr.write(text + "\n")
    if len(found) > _N_DOOMED:
        sys.stderr.write(f"and {len(found) - _N_DOOMED} more\n")


def age(changed: str, now: datetime) -> str:
    """`now`, `7 min`, `3 h`, `2 d`, and a date from two weeks on."""
    seconds = (now - datetime.fromisoformat(changed)).total_seconds()
    if seconds < _MINUTE_S:  # also where a clock was set back
        return "now"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    if seconds < _DATE_AFTER_D * _DAY_S:
        return f"{seconds / _DAY_S:.0f} d"
    return datetime.fromisoformat(changed).astimezone().strftime("%Y-%m-%d")


def line(text: str) -> str:
    """Text of others on one line."""
    return " ".join(printable(text).split())


def file_name(about: About, extension: str) -> str:
    """`0012-what-is-the-weather.md`."""
    words = re.sub(r"[\W_]+", "-", about.title.lower()).strip("-").encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
    return f"{about.id or 0:04d}{'-' if words else ''}{words}.{extension}"


def _table(found: Sequence[About], now: datetime, width: int | None, *, styled: bool) -> list[str]:
    rows = [("id", "when", "messages", "model", "title")]
    rows += [
        (
            str(about.id),
            age(about.updated_at, now),
            str(about.n_messages),
            _cut(line(about.model or "-"), None if width is None else _MAX_MODEL),
            line(about.title),
        )
        for about in found
    ]
    shown_columns = [0, 1, 2, 3, 4]
    widths = [max(columns(row[column]) for row in rows) for column in range(5)]
    for dropped in (3, 2):  # a narrow terminal is for titles
        if width is not None and _room(widths, shown_columns, width) < min(_GOOD_TITLE, widths[4]):
            shown_columns.remove(dropped)
    room = None if width is None else max(_MIN_TITLE, _room(widths, shown_columns, width))
    lines = []
    for row in rows:
        cells = [_pad(row[column], widths[column], right=column in (0, 2)) for column in shown_columns[:-1]]
        lines.append((" " * _GAP).join([*cells, _cut(row[4], room)]))
    return [_in(_DIM, lines[0], styled=styled), *lines[1:]]


def _room(widths: Sequence[int], shown_columns: Sequence[int], width: int) -> int:
    """Columns that are left for the title, which comes last."""
    return width - sum(widths[column] + _GAP for column in shown_columns[:-1])


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - columns(text))
    return space + text if right else text + space


def _cut(text: str, width: int | None) -> str:
    return text if width is None else shortened(text, max(1, width))


def _marked(snippet: str, hit: Hit) -> str:
    for begin, end in reversed(hit.marks):
        if end <= len(snippet) - 1 or snippet == hit.snippet:
            snippet = snippet[:begin] + _BOLD + snippet[begin:end] + _RESET + snippet[end:]
    return snippet


def _width(stream: TextIO) -> int | None:
    """Columns of a terminal; None: piped, and nothing is cut."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def _styled(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _in(style: str, text: str, *, styled: bool) -> str:
    """Each line in the style: one that is cut by a pager must not dim what follows."""
    return "\n".join(f"{style}{part}{_RESET}" for part in text.split("\n")) if styled else text
