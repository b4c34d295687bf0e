"""What was typed before, across runs: a file of one JSON string a line, oldest first."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from launcher.paths import write_atomic

MAX_ENTRIES = 5_000
MAX_BYTES = 4 << 20
"""Read at every start: more would be felt."""
MAX_ENTRY_BYTES = 64 << 10
"""A question with a larger paste is remembered for this run, and not in the file."""
_SLACK = 500
"""Entries over the limit before the file is written anew, so that this is no work of every start."""


class HistoryFile:
    """The history file; without a path, or where it cannot be used, it remembers nothing.

    `warn` is told once why. Several chats may append at the same time: each entry is one write.
    """

    def __init__(self, path: Path | None, *, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn

    def load(self) -> list[str]:
        """The newest entries, oldest first. A file that is broken is kept aside, and what is readable of it stays."""
        if self._path is None:
            return []
        try:
            return self._load(self._path)
        except OSError as error:
            self._give_up(error)
            return []

    def append(self, text: str) -> None:
        """Remember one more entry."""
        if self._path is None:
            return
        line = _line(text)
        if len(line) > MAX_ENTRY_BYTES:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Without O_BINARY Windows would end each line by two characters.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._give_up(error)

    def _load(self, path: Path) -> list[str]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        with suppress(OSError):  # another owner's, or a file system without modes: still readable
            path.chmod(0o600)
        lines = data.split(b"\n")
        unfinished = lines.pop()  # empty, unless a crash cut the last entry
        read = [_entry(line) for line in lines if line.strip()]
        entries = [entry for entry in read if entry is not None]
        if len(entries) < len(read):
            aside = _free_name(path)
            path.replace(aside)
            self._warn(f"The history was damaged: {aside} keeps it as it was, and what could be read goes on.")
        kept = _newest(entries)
        if len(entries) < len(read) or unfinished or len(entries) > MAX_ENTRIES + _SLACK or len(data) > 2 * MAX_BYTES:
            write_atomic(path, b"".join(map(_line, kept)))
        return kept

    def _give_up(self, error: OSError) -> None:
        self._warn(f"The history is not kept: {self._path}: {error.strerror or error}")
        self._path = None


def _line(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _entry(line: bytes) -> str | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):  # not JSON, or not even UTF-8
        return None
    return entry if isinstance(entry, str) else None


def _newest(entries: list[str]) -> list[str]:
    """As many of the newest as the limits allow."""
    kept: list[str] = []
    size = 0
    for entry in reversed(entries[-MAX_ENTRIES:]):
        size += len(_line(entry))
        if size > MAX_BYTES:
            break
        kept.append(entry)
    return kept[::-1]


def _free_name(path: Path) -> Path:
    n = 1
    while (aside := path.with_name(f"{path.name}.broken{'' if n == 1 else f'-{n}'}")).exists():
        n += 1
    return aside
