"""llama-server's log: a file of bounded size, and which of its lines a person should see."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 32 * 1024 * 1024
"""From then on a new file is begun; the last one is kept as `.1`."""

_LEVEL = re.compile(r"^\d+\.\d+\.\d+\.\d+ ([DIWE]) ")
_EXPECTED = (
    "setting token '",  # llama.cpp retypes Harmony's tokens
    "special_eog_ids contains both",
    "server default port will be changed",
    "chat template supports preserving reasoning",
    "cache_reuse is not supported",
    "model loaded in no_alloc",
    "need to evaluate at least 1 token",  # a prompt that is all in the cache
    "n_past was set to",
    "cancel task, id_task",  # a client that went away
    "unparsed peg-native output",  # a turn that the shield finishes; with the turn's text
    "does not match the expected peg-native format",
)
"""Warnings that every GPT OSS model, or every other request, brings, and that say nothing to its user."""


def is_warning(line: str) -> bool:
    """Whether a line of the log warns of something that is not always so."""
    found = _LEVEL.match(line)
    return found is not None and found[1] in "WE" and not any(text in line for text in _EXPECTED)


def message_of(line: str) -> str:
    """A line without its time and level."""
    return _LEVEL.sub("", line).strip()


class LogFile:
    """Appends lines, each written out at once; begins a new file where one grows too large."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = self._limit = max_bytes
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self._open()

    def _open(self) -> BinaryIO:
        self._path.touch(mode=0o600)
        return self._path.open("ab", buffering=0)

    def write(self, line: str) -> None:
        """Add a line."""
        with self._lock:
            if self._file.closed:
                return
            if self._file.tell() > self._limit:
                self._file.close()
                with suppress(OSError):  # Windows keeps a name that somebody reads: the file goes on
                    self._path.replace(self._path.with_suffix(self._path.suffix + ".1"))
                self._file = self._open()
                self._limit = self._file.tell() + self._max_bytes
            self._file.write(line.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        """No more lines."""
        with self._lock:
            self._file.close()
