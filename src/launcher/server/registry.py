"""Records of the servers that this person runs: one small file each, in the state folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from launcher.paths import write_atomic
from launcher.records import from_jsonable, to_jsonable
from launcher.server.types import ServerRecord

_SAME_START_S = 1.0  # psutil derives start times from clock ticks


def servers_dir(state_dir: Path) -> Path:
    """Where the records lie."""
    return state_dir / "servers"


def process_started_s(pid: int) -> float | None:
    """When a process began, as psutil tells it; None where there is none.

    On Linux the system is asked itself: psutil takes longer to import than an attached chat needs for all the rest.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            boot = Path("/proc/stat").read_bytes()
            # The name of the program, in brackets, may hold spaces and brackets of its own.
            fields = stat.rpartition(b")")[2].split()
            booted_s = next(int(line.split()[1]) for line in boot.splitlines() if line.startswith(b"btime "))
            started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK") + booted_s
        except FileNotFoundError:
            return None
        except (OSError, ValueError, IndexError, StopIteration):
            pass  # a container that hides it: psutil may know a way
        else:
            return None if fields[0] == b"Z" else started_s
    import psutil

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
        record = read_record(path)
        if record is None or not is_alive(record):
            with suppress(OSError):  # a folder, or a state folder that may only be read
                path.unlink(missing_ok=True)
        else:
            found.append(record)
    return tuple(sorted(found, key=lambda record: record.port))


def read_record(path: Path) -> ServerRecord | None:
    """One record; None where it is damaged or of another version."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, Mapping):
            return None
        return from_jsonable(ServerRecord, {key: value for key, value in table.items() if key != "schema"})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
