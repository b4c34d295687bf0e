"""Servers for a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from launcher.cli.output import report_console
from launcher.planner.types import HOST
from launcher.server.types import ServerRecord
from launcher.server.usage import host_usage
from launcher.units import format_bytes

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def print_servers(servers: Sequence[ServerRecord]) -> None:
    """A table on stdout."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if report_console().is_terminal else None, pad_edge=False)
    for name in ("port", "model", "state", "up", "slots", "context", "RAM", "planned"):
        table.add_column(name, justify="left" if name in {"model", "state"} else "right")
    now = datetime.now(UTC)
    for record in servers:
        used = host_usage(record.server_pid) if record.server_pid is not None else None
        planned = (record.planned_bytes or {}).get(HOST)
        table.add_row(
            str(record.port),
            record.file,
            "sleeping" if record.sleeping else "ready" if record.ready else "loading",
            duration((now - datetime.fromisoformat(record.started_at)).total_seconds()),
            str(record.n_parallel),
            str(record.n_ctx),
            "-" if used is None else format_bytes(used.anonymous_bytes + (used.mapped_bytes or 0)),
            "-" if planned is None else format_bytes(planned),
        )
    report_console().print(table)


def duration(seconds: float) -> str:
    """`42s`, `7m`, `3h 20m`, `2d 4h`."""
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h {whole % _HOUR_S // _MINUTE_S}m"
    return f"{whole // _DAY_S}d {whole % _DAY_S // _HOUR_S}h"
