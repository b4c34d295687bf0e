"""Whether a server that runs has a model open, and notes of models that are loaded."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from launcher.errors import UsageError
from launcher.paths import folders
from launcher.server.registry import running
from launcher.server.types import ServerRecord
from launcher.store.cache import is_sha256
from launcher.store.hashes import HashRecord, write_hash
from launcher.store.used import note_use


def note_loaded(path: Path) -> None:
    """Note that a model is loaded now: `gpt-oss models` tells when each was used last."""
    note_use(folders().state, path, at=datetime.now(UTC).isoformat(timespec="seconds"))


def note_verified(paths: Iterable[Path]) -> None:
    """Note that files of the hub's cache had the hash that they are called by, as they arrived."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for path in paths:
        blob = path.resolve()
        with suppress(OSError):  # gone or moved since: then there is nothing to note
            found = blob.stat()
            if is_sha256(blob.name):
                record = HashRecord(
                    path=str(blob),
                    size_bytes=found.st_size,
                    mtime_ns=found.st_mtime_ns,
                    sha256=blob.name,
                    hashed_at=now,
                    expected=blob.name,
                )
                write_hash(folders().cache, record)


def server_of(names: Iterable[str], paths: Iterable[Path], *, state_dir: Path | None = None) -> ServerRecord | None:
    """The server that has a model open.

    Args:
        names: of the model, or of its repository, as a server may have been started with.
        paths: its files: where the system tells, also those are known that a server has mapped.
        state_dir: where the records of servers are; None: this person's.
    """
    paths = tuple(paths)
    called = {*names, *map(str, paths)}
    files = {str(path.resolve()) for path in paths}
    for record in running(state_dir or folders().state):
        if record.file in called or record.file.rpartition(":")[0] in called:
            return record
        if record.server_pid is not None and files & _mapped(record.server_pid):
            return record
    return None


def refuse_if_served(names: Iterable[str], paths: Iterable[Path]) -> None:
    """Raise UsageError where a server that runs has a model open."""
    record = server_of(names, paths)
    if record is not None:
        raise UsageError(
            f"a server on port {record.port} uses {record.file}", hint=f"gpt-oss stop --port {record.port}"
        )


def _mapped(pid: int, *, proc: Path = Path("/proc")) -> set[str]:
    """Files that a process has mapped, where the system tells."""
    try:
        text = (proc / str(pid) / "maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return set()
    fields = (line.split(maxsplit=5) for line in text.splitlines())
    return {line[5] for line in fields if len(line) == 6 and line[5].startswith("/")}
