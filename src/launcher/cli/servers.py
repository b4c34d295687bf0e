"""Which of the servers that run a command is about."""

from __future__ import annotations

from pathlib import Path

from launcher.errors import UsageError
from launcher.paths import folders
from launcher.server.registry import running
from launcher.server.types import ServerRecord


def one_server(port: int | None, command: str) -> ServerRecord:
    """The server on a port, or the only one.

    Raises:
        UsageError: none runs, none on this port, or several and no port was named.
    """
    record = server_if_any(port, command)
    if record is None:
        where = "" if port is None else f" on port {port}"
        raise UsageError(f"no server runs{where}", hint="gpt-oss ps" if port is not None else "gpt-oss serve --detach")
    return record


def server_if_any(port: int | None, command: str) -> ServerRecord | None:
    """The server on a port, or the only one; None where none runs.

    Raises:
        UsageError: several, and no port was named.
    """
    servers = tuple(record for record in running(folders().state) if port is None or record.port == port)
    if len(servers) > 1:
        names = ", ".join(f"{record.port} ({record.model})" for record in servers)
        again = ("gpt-oss", command, "--port", str(servers[0].port))
        raise UsageError(f"several servers run: {names}", hint=" ".join(again))
    return servers[0] if servers else None


def log_of(port: int | None) -> tuple[Path, ServerRecord | None]:
    """The log of a server that runs, else that of the last one on this port, or of all.

    Raises:
        UsageError: several run and no port was named; or there never was one.
    """
    record = server_if_any(port, "logs")
    if record is not None:
        return record.log_path, record
    folder = folders().state / "logs"
    found = sorted(folder.glob("server-*.log" if port is None else f"server-{port}.log"), key=_changed)
    if not found:
        raise UsageError("no server has run here", hint="gpt-oss serve --detach")
    return found[-1], None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
