"""Open the file of the history: made for its owner alone, checked, and kept aside where it is broken."""

from __future__ import annotations

import os
import shlex
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from launcher.history.null import ForgivingHistory, NullHistory
from launcher.history.schema import (
    STEPS,
    BrokenHistoryError,
    HistoryError,
    LaterHistoryError,
    Step,
    migrate,
    refuse_later,
)
from launcher.history.store import SqliteHistory
from launcher.history.types import History
from launcher.paths import folders

FILE_NAME = "history.sqlite3"
"""In the launcher's folder for data."""
BUSY_TIMEOUT_S = 5.0
"""How long a write waits for another process. Each writes for milliseconds; only a stopped one takes longer."""
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_COMPANIONS = ("", "-wal", "-shm")


def history_path() -> Path:
    """The file of this person's conversations, there or not."""
    return folders().data / FILE_NAME


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@contextmanager
def open_history(
    path: Path,
    *,
    tell: Callable[[str], None],
    strict: bool = False,
    now: Callable[[], datetime] = utc_now,
    steps: Sequence[Step] = STEPS,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> Iterator[History]:
    """The history in the file `path`, which is made where there is none.

    A broken file is renamed, `tell` says so in one line, and a new one begins. For a conversation nothing else goes
    wrong either: where the file cannot be opened or written, `tell` says so in one line, and nothing is kept from
    there on.

    Args:
        path: The file; its folder is made too, for its owner alone.
        tell: Shows a line to the user.
        strict: For commands about the history itself: whatever fails is an error.
        now: The clock.
        steps: The versions of the tables.
        busy_timeout_s: How long another process is waited for.

    Raises:
        HistoryError: `strict`, and it cannot be opened.
    """
    try:
        connection = _connect(path, tell=tell, now=now, steps=steps, busy_timeout_s=busy_timeout_s)
    except HistoryError as error:
        if strict:
            raise
        tell(f"history is off: {error.message}")
        yield NullHistory()
        return
    try:
        store = SqliteHistory(connection, path, now=now)
        yield store if strict else ForgivingHistory(store, tell=tell)
    finally:
        # What is said is on the disk already; closing only tidies up.
        with suppress(sqlite3.Error):
            connection.close()


def _connect(
    path: Path,
    *,
    tell: Callable[[str], None],
    now: Callable[[], datetime],
    steps: Sequence[Step],
    busy_timeout_s: float,
) -> sqlite3.Connection:
    try:
        path = path.resolve()  # a link: the files beside it are beside its target
        _make_folder(path.parent)
        # One process at a time opens: otherwise two that find a broken file would each put one aside, the second time
        # the new one; and WAL can only be turned on by whoever is alone.
        with _alone(path.parent):
            _make_file(path)
            with suppress(BrokenHistoryError):
                return _checked(path, steps, busy_timeout_s, lambda why: tell(_put_aside(path, why, now())))
            _make_file(path)
            return _checked(path, steps, busy_timeout_s, tell)
    except LaterHistoryError:
        raise
    except (OSError, sqlite3.Error, BrokenHistoryError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise HistoryError(
            f"{path} cannot be opened: {what}", hint=f"ls -la {shlex.quote(str(path.parent))}"
        ) from error


def _checked(
    path: Path, steps: Sequence[Step], busy_timeout_s: float, on_broken: Callable[[str], None]
) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        refuse_later(connection, path, steps)
        _check(connection)
        migrate(connection, steps)
        # Where shared memory is missing (some network disks) it stays as it is, which is only slower.
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")  # an answer took longer than the disk takes
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is not to be found in the file
    except (sqlite3.DatabaseError, BrokenHistoryError) as error:
        broken = not isinstance(error, sqlite3.Error) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN
        if broken:
            # Before the file is closed: closing would write its -wal into it, and remove that.
            on_broken(str(error))
        connection.close()
        if broken:
            raise BrokenHistoryError(str(error)) from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise BrokenHistoryError(str(found).splitlines()[-1])


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # whatever the umask


def _make_file(path: Path) -> None:
    """An empty file for its owner alone; SQLite gives the files beside it the same permissions."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600)
    except FileExistsError:
        # One that came back from a backup, for instance, may be open to all.
        if path.stat().st_mode & 0o077:
            with suppress(OSError):
                path.chmod(0o600)
        return
    os.close(descriptor)


def _put_aside(path: Path, why: str, now: datetime) -> str:
    """Rename a broken file, and those beside it; says so in one line."""
    stamp = now.astimezone().strftime("%Y%m%d-%H%M%S")
    names = [f"{path.name}.broken-{stamp}", *(f"{path.name}.broken-{stamp}-{n}" for n in range(2, 100))]
    aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    for suffix in _COMPANIONS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return f"the history was broken ({why}); it is kept as {aside}, and a new one begins"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other launchers from opening a history in this folder, where the disk has such locks."""
    if sys.platform == "win32":
        from filelock import FileLock

        with FileLock(folder / "opening.lock"):
            yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # network disks may have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
