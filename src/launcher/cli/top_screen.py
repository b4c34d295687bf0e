"""The live page of `gpt-oss top`: look, draw, wait for a key."""

from __future__ import annotations

import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from launcher.cli.output import report_console
from launcher.cli.top_view import Page, page_now
from launcher.server.memory import read_memory
from launcher.server.metrics import Reading
from launcher.server.registry import running
from launcher.server.types import ServerRecord
from launcher.server.watch import Status, Watch, away

_HISTORY = 240
"""Readings that are kept: more than any line of the page is wide."""

_LOOK_S = 0.02
"""Between two looks for a key, where it cannot be waited for: shorter than anybody notices."""

Key = Callable[[float], str | None]
"""Waits for so many seconds; a key that was pressed, or None."""


def current(state_dir: Path, record: ServerRecord) -> ServerRecord | None:
    """The record of the server that has this port now; None where none runs."""
    return next((found for found in running(state_dir) if found.port == record.port), None)


def look(watch: Watch, state_dir: Path, record: ServerRecord) -> Status:
    """How the server on this port is, which may be another one than before, or gone."""
    found = current(state_dir, record)
    return away(record) if found is None else watch.look(found)


def take_page(
    watch: Watch,
    state_dir: Path,
    record: ServerRecord,
    *,
    interval_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Page:
    """One page of plain text: two looks, since a speed needs both."""
    first = look(watch, state_dir, record)
    if first.reading is not None:
        sleep(interval_s)
        first = look(watch, state_dir, record)
    return page_now(first, read_memory(first.record.server_pid, first.record.planned_bytes), live=False)


def show(watch: Watch, state_dir: Path, record: ServerRecord, *, interval_s: float, key: Key) -> None:
    """Draw until `q` is pressed. A server that goes away may come back: the page says so and goes on looking."""
    from rich.live import Live

    history: deque[Reading] = deque(maxlen=_HISTORY)
    with Live(console=report_console(), screen=True, auto_refresh=False) as screen:
        while True:
            began = time.monotonic()
            status = look(watch, state_dir, record)
            record = status.record
            if status.reading is not None:
                history.append(status.reading)
            page = page_now(status, read_memory(record.server_pid, record.planned_bytes), tuple(history), live=True)
            screen.update(page, refresh=True)
            if _asked_to_leave(screen.refresh, key, began + interval_s):
                return


def _asked_to_leave(redraw: Callable[[], None], key: Key, until: float) -> bool:
    """Wait for the time of the next look; whether `q` was pressed meanwhile. A resized terminal is drawn again."""
    size = os.get_terminal_size() if sys.stdout.isatty() else None
    while (left := until - time.monotonic()) > 0:
        pressed = key(min(left, 0.2))
        if pressed in {"q", "Q", "\x03"}:
            return True
        if size is not None and os.get_terminal_size() != size:
            size = os.get_terminal_size()
            redraw()
    return key(0) in {"q", "Q"}


@contextmanager
def keyboard() -> Iterator[Key]:
    """Keys as they are pressed, without Enter and without being shown; nothing where stdin is no terminal."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    if sys.platform == "win32":
        import msvcrt

        yield lambda timeout_s: pressed_at(msvcrt, timeout_s)
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)  # Ctrl-C still interrupts
    try:
        yield lambda timeout_s: _pressed(descriptor, timeout_s)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _no_key(timeout_s: float) -> str | None:
    time.sleep(timeout_s)
    return None


class Console(Protocol):
    """Windows' own console, as Python's msvcrt gives it."""

    def kbhit(self) -> bool:
        """Whether a key waits to be read."""
        ...

    def getwch(self) -> str:
        """The next key, not shown."""
        ...


def pressed_at(
    console: Console,
    timeout_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """A key of Windows' console, which cannot be waited for: it is looked for again and again."""
    until = clock() + timeout_s
    while not console.kbhit():
        if clock() >= until:
            return None
        sleep(_LOOK_S)
    key = console.getwch()
    if key in {"\0", "\xe0"}:  # an arrow, or another key that comes as two
        console.getwch()
        return None
    return key


def _pressed(descriptor: int, timeout_s: float) -> str | None:
    ready, _, _ = select.select([descriptor], [], [], timeout_s)
    if not ready:
        return None
    return os.read(descriptor, 1).decode(errors="replace") or "q"  # the terminal is gone
