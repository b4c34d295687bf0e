"""Memory that a server really takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True, slots=True)
class HostUsage:
    """Resident memory of a process. `mapped_bytes` is None where the system does not tell it apart."""

    anonymous_bytes: int
    mapped_bytes: int | None


def host_usage(pid: int, *, proc: Path = Path("/proc")) -> HostUsage | None:
    """What a process has in RAM: allocated, and mapped from files; None where there is no such process."""
    try:
        text = (proc / str(pid) / "status").read_text(encoding="ascii")
    except OSError:
        return _total(pid)
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if "RssAnon" not in fields:
        return _total(pid)
    kib = {name: int(fields[name].split()[0]) for name in ("RssAnon", "RssFile")}
    return HostUsage(anonymous_bytes=kib["RssAnon"] * 1024, mapped_bytes=kib["RssFile"] * 1024)


def _total(pid: int) -> HostUsage | None:
    try:
        return HostUsage(anonymous_bytes=psutil.Process(pid).memory_info().rss, mapped_bytes=None)
    except psutil.Error:
        return None
