"""Records of the servers that this person runs: one small file each, in the state folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import psutil

from launcher.paths import write_atomic
from launcher.records import from_jsonable, to_jsonable
from launcher.server.types import ServerRecord

_SAME_START_S = 1.0  # psutil derives start times from clock ticks


def servers_dir(state_dir: Path) -> Path:
    """Where the records lie."""
    return state_dir / "servers"


def process_started_s(pid: int) -> float | None:
    """When a process began; None where there is none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def is_alive(record: ServerRecord) -> bool:
    """Whether the launcher that wrote the record still runs."""
    started = process_started_s(record.pid)
    return started is not None and abs(started - record.pid_started_s) <= _SAME_START_S


def save(state_dir: Path, record: ServerRecord) -> None:
    """Write a record, readable by its owner alone."""
    text = json.dumps({"schema": 1, **to_jsonable(record)}, indent=2) + "\n"
    write_atomic(servers_dir(state_dir) / f"{record.port}.json", text, mode=0o600)


def remove(state_dir: Path, port: int) -> None:
    """Forget a server."""
    (servers_dir(state_dir) / f"{port}.json").unlink(missing_ok=True)


def running(state_dir: Path) -> tuple[ServerRecord, ...]:
    """Servers that run, by port. Records of processes that are gone are removed; those that cannot be read too."""
    found = []
    for path in sorted(servers_dir(state_dir).glob("*.json")):
        record = _read(path)
        if record is None or not is_alive(record):
            path.unlink(missing_ok=True)
        else:
            found.append(record)
    return tuple(sorted(found, key=lambda record: record.port))


def _read(path: Path) -> ServerRecord | None:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, Mapping):
            return None
        return from_jsonable(ServerRecord, {key: value for key, value in table.items() if key != "schema"})
    except (OSError, ValueError, TypeError, KeyError):
        return None
