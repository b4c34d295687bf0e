"""Lock files between processes: the system frees them when their holder ends, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


class BusyError(Exception):
    """Another process has a lock."""


@contextmanager
def held(
    path: Path,
    *,
    wait_s: float = 0.0,
    waiting: Callable[[], None] | None = None,
    poll_s: float = 1.0,
    mode: int = 0o644,
    plain: bool = False,
) -> Iterator[bool]:
    """Hold a lock file. Yields whether others are kept away: False where the file system has no such locks.

    Args:
        path: of the file, which stays; its folder must be there.
        wait_s: how long another process may have it.
        waiting: called each `poll_s` while another process has it; then there is no end to the waiting.
        poll_s: see there.
        mode: permissions of a new file.
        plain: where there are no locks, hold a file that is there or not. It is weaker: nobody frees it after a kill.

    Raises:
        BusyError: another process has it.
        OSError: the file cannot be made.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    lock: BaseFileLock = FileLock(path, mode=mode)
    while True:
        try:
            lock.acquire(timeout=wait_s)
            break
        except Timeout:
            if waiting is None:
                raise BusyError(path) from None
            waiting()
            wait_s = poll_s
        except NotImplementedError:
            if not plain:
                break
            lock = SoftFileLock(path)
    try:
        yield lock.is_locked
    finally:
        lock.release()
