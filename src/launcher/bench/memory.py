"""How much RAM another process has held at the most."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_rss_bytes(pid: int, *, proc: Path = Path("/proc")) -> int | None:
    """The most that a running process was ever resident with, mapped files included; None where nobody tells.

    Not from `getrusage`: what a child is said to have peaked at includes this process, from before it was another.
    """
    if sys.platform.startswith("linux"):
        try:
            return parse_peak((proc / str(pid) / "status").read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return None
    import psutil

    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return None
    return int(getattr(memory, "peak_wset", memory.rss))


def parse_peak(status: str) -> int | None:
    """`VmHWM` of a /proc status file, in bytes; a process that has ended has none."""
    for line in status.splitlines():
        name, _, rest = line.partition(":")
        if name == "VmHWM":
            return int(rest.split()[0]) * 1024
    return None
