"""The disk that models lie on: room, file system, speed; and the folders that the launcher writes to."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from launcher.doctor.types import Disk, DiskSpeed, Folder
from launcher.hardware.seen import read_text

READ_BYTES = 256 * 1024**2
"""At most so much of a model is read, and no longer than `READ_S`."""
SCRATCH_BYTES = 64 * 1024**2
READ_S = 1.0
CHUNK_BYTES = 4 * 1024**2
_MOST_ENTRIES = 2_000
"""Of a folder with more, only so many are looked at: a hub cache of many models has a few hundred."""
_SECRET_NAMES = frozenset({"mcp.json", "history.sqlite3", "token"})


def nearest(folder: Path) -> Path:
    """The folder, or the one above it that is there already."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def models_in(folder: Path) -> Iterator[Path]:
    """GGUF files of a hub cache, largest folders of others left alone."""
    for path in folder.glob("models--*/snapshots/*/**/*.gguf"):
        with contextlib.suppress(OSError):
            if path.is_file():
                yield path


def read_disk(folder: Path, root: Path) -> Disk:
    """Room on the disk of `folder`, there or not."""
    here = nearest(folder)
    usage = shutil.disk_usage(here)
    return Disk(
        folder=folder,
        total_bytes=usage.total,
        free_bytes=usage.free,
        file_system=file_system(read_text(root / "proc/self/mountinfo") or "", here.resolve()),
        n_models=sum(1 for _ in models_in(folder)),
    )


def file_system(mountinfo: str, path: Path) -> str | None:
    """The type of file system that a path is on; the last mount over the longest part of the path counts."""
    best, found = -1, None
    for line in mountinfo.splitlines():
        left, dash, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if not dash or len(fields) < 5 or not kind:
            continue
        mounted = Path(fields[4].replace("\\040", " "))
        depth = len(mounted.parts)
        if depth >= best and (path == mounted or mounted in path.parents):
            best, found = depth, kind[0]
    return found


def read_speed(folder: Path, clock_s: Callable[[], float]) -> DiskSpeed:
    """How fast the disk of `folder` reads: a second of the largest model there, else of a scratch file.

    The scratch file has no name where the system can do that, so that nothing stays behind whatever happens.
    """
    models = sorted(models_in(folder), key=lambda path: path.stat().st_size)
    if models and models[-1].stat().st_size >= CHUNK_BYTES:
        with models[-1].open("rb", buffering=0) as file:
            direct = _past_cache(file.fileno())
            rate = timed_read(file.fileno(), READ_BYTES, clock_s)
        return DiskSpeed(read_bytes_per_s=rate, read_of="model", cached=not direct, problem=None)
    here = nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=here, prefix=".gpt-oss-doctor-", buffering=0) as scratch:
            _fill(scratch.fileno(), clock_s)
            direct = _past_cache(scratch.fileno())
            rate = timed_read(scratch.fileno(), SCRATCH_BYTES, clock_s)
    except OSError as error:
        problem = error.strerror or type(error).__name__
        return DiskSpeed(read_bytes_per_s=None, read_of="scratch file", cached=False, problem=problem)
    return DiskSpeed(read_bytes_per_s=rate, read_of="scratch file", cached=not direct, problem=None)


def _fill(descriptor: int, clock_s: Callable[[], float]) -> None:
    block = os.urandom(CHUNK_BYTES)  # a disk that compresses would store zeros in no time
    end_s = clock_s() + READ_S
    for _ in range(SCRATCH_BYTES // CHUNK_BYTES):
        os.write(descriptor, block)
        if clock_s() >= end_s:
            break
    os.fsync(descriptor)
    os.lseek(descriptor, 0, os.SEEK_SET)


def _past_cache(descriptor: int) -> bool:
    """Let reads go past the system's cache, which holds what was read lately. False where it can't be done."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, fcntl.F_NOCACHE, 1)
        else:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_DIRECT)
    except OSError:  # a file system in memory has nothing else
        return False
    return True


def timed_read(descriptor: int, most_bytes: int, clock_s: Callable[[], float]) -> float | None:
    """Read from where the file stands to its end, `most_bytes` or a second; bytes per second. None for an empty file.

    Into memory that begins at a page, as reads past the cache need it.
    """
    n_bytes = 0
    start_s = clock_s()
    with mmap.mmap(-1, CHUNK_BYTES) as buffer, contextlib.suppress(OSError):  # an odd end can't be read that way
        while n_bytes < most_bytes and clock_s() - start_s < READ_S:
            got = _read_into(descriptor, buffer)
            n_bytes += got
            if got < CHUNK_BYTES:
                break
    return n_bytes / max(clock_s() - start_s, 1e-6) if n_bytes else None


def _read_into(descriptor: int, buffer: mmap.mmap) -> int:
    if sys.platform == "win32":
        return len(os.read(descriptor, len(buffer)))
    return os.readv(descriptor, [buffer])


def _user_id() -> int | None:
    return os.geteuid() if hasattr(os, "geteuid") else None


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK)


def read_folder(
    role: str,
    path: Path,
    *,
    private: bool,
    user_id: int | None = None,
    may_write: Callable[[Path], bool] = _may_write,
) -> Folder:
    """Whether a folder can be used, and whether something in it belongs to somebody else.

    A run with `sudo` leaves such things behind; later runs without it then fail in the middle of something.
    """
    user_id = _user_id() if user_id is None else user_id
    foreign = exposed = None
    if path.is_dir() and os.access(path, os.R_OK | os.X_OK):
        for entry in _entries(path):
            if foreign is None and _is_foreign(entry, user_id, may_write):
                foreign = entry
            if exposed is None and private and _is_exposed(entry):
                exposed = entry
    return Folder(
        role=role,
        path=path,
        exists=path.exists(),
        writable=may_write(nearest(path)) and (path.is_dir() or not path.exists()),
        foreign=foreign,
        exposed=exposed,
    )


def _entries(path: Path) -> Iterator[Path]:
    """The folder and what is in it, down two levels."""
    yield path
    left = _MOST_ENTRIES
    for pattern in ("*", "*/*"):
        for entry in path.glob(pattern):
            yield entry
            left -= 1
            if left == 0:
                return


def _is_foreign(path: Path, user_id: int | None, may_write: Callable[[Path], bool]) -> bool:
    """Of somebody else and not ours to write; links are left alone, since what they lead to counts by itself."""
    try:
        owner = path.lstat().st_uid
    except OSError:
        return False
    return user_id not in (None, 0, owner) and not path.is_symlink() and not may_write(path)


def _is_exposed(path: Path) -> bool:
    """Keys and conversations that everybody may read."""
    if sys.platform == "win32" or path.name not in _SECRET_NAMES:
        return False
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and bool(found.st_mode & stat.S_IROTH)
