"""What the store does on the disk: locks, sizes, and files that outlive a power cut."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from launcher.errors import LauncherError, UsageError
from launcher.system.locks import BusyError, held


def size_bytes(folder: Path) -> int:
    """Bytes of the files in a folder; those with several names in it count once."""
    seen: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found = os.lstat(Path(parent, name))
                seen[found.st_dev, found.st_ino] = found.st_size
    return sum(seen.values())


def flush(folder: Path) -> None:
    """Have the system write every file: otherwise a power cut could leave empty ones under the name of a build."""
    if os.name == "nt":  # a file must be open for writing there
        return
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


@contextmanager
def locked(folder: Path, name: str) -> Iterator[bool]:
    """Keep others from a name. Raises UsageError where one has it: what it does may take half an hour.

    Yields whether others are kept away: False where the file system has no locks.
    """
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            with told(folder):
                alone = stack.enter_context(held(folder / f".{name}.lock"))
        except BusyError:
            raise UsageError(
                f"another process is making or removing {name}: wait for it", hint="gpt-oss engine list"
            ) from None
        yield alone


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """A failure of the system as an error for a person."""
    try:
        yield
    except OSError as error:
        raise LauncherError(
            f"{error.filename or folder}: {error.strerror or error}", hint=f"ls -ld {shlex.quote(str(folder))}"
        ) from error
