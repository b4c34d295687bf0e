"""A log on stdout: its last lines, and those that come."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from launcher.errors import DamagedFileError
from launcher.text import printable

_STEP_S = 0.1


def print_tail(path: Path, n_lines: int) -> int:
    """Print the last lines. Gives the offset behind them.

    Raises:
        DamagedFileError: there is no log.
    """
    try:
        with path.open("rb") as file:
            lines = deque(file, maxlen=n_lines)
            offset = file.tell()
    except OSError as error:
        raise DamagedFileError("there is no log", path=str(path), hint="gpt-oss ps") from error
    for line in lines:
        _print(line)
    return offset


def follow(path: Path, *, n_lines: int, until: Callable[[], bool], sleep: Callable[[float], None] = time.sleep) -> None:
    """Print the last lines and all that come, until `until` says so. A log that is begun anew is read whole."""
    offset = print_tail(path, n_lines)
    while True:
        over = until()
        offset = _print_from(path, offset)
        if over:
            return
        sleep(_STEP_S)


def _print_from(path: Path, offset: int) -> int:
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < offset:
                offset = 0
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return offset
                _print(line)
                offset += len(line)
    except OSError:  # between one file and the next
        return 0
    return offset


def _print(line: bytes) -> None:
    """A line without what could command a terminal; its tabs stay."""
    cells = line.decode("utf-8", "replace").rstrip("\n").split("\t")
    sys.stdout.write("\t".join(map(printable, cells)) + "\n")
    sys.stdout.flush()
