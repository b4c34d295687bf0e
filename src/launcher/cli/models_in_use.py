"""Whether a server that runs has a model open, and notes of models that are loaded."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from launcher.errors import UsageError
from launcher.paths import folders
from launcher.server.registry import running
from launcher.server.types import ServerRecord
from launcher.store.used import note_use


def note_loaded(path: Path) -> None:
    """Note that a model is loaded now: `gpt-oss models` tells when each was used last."""
    note_use(folders().state, path, at=datetime.now(UTC).isoformat(timespec="seconds"))


def server_of(name: str, paths: Iterable[Path], *, state_dir: Path | None = None) -> ServerRecord | None:
    """The server that has a model open: by the name it was started with, or by the files that it has mapped."""
    paths = tuple(paths)
    names = {name, *map(str, paths)}
    files = {str(path.resolve()) for path in paths}
    for record in running(state_dir or folders().state):
        if record.file in names or (record.server_pid is not None and files & _mapped(record.server_pid)):
            return record
    return None


def refuse_if_served(name: str, paths: Iterable[Path]) -> None:
    """Raise UsageError where a server that runs has a model open."""
    record = server_of(name, paths)
    if record is not None:
        raise UsageError(f"a server on port {record.port} uses {name}", hint=f"gpt-oss stop --port {record.port}")


def _mapped(pid: int, *, proc: Path = Path("/proc")) -> set[str]:
    """Files that a process has mapped, where the system tells."""
    try:
        text = (proc / str(pid) / "maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return set()
    fields = (line.split(maxsplit=5) for line in text.splitlines())
    return {line[5] for line in fields if len(line) == 6 and line[5].startswith("/")}
