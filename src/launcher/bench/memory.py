"""How much memory another process holds: RAM as the system tells, and that of a GPU as its driver does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.hardware.seen import parse_int, read_text


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


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryGauge:
    """Tells how much of a device's memory is in use."""

    name: str
    """ggml's name of the device."""
    used: Callable[[], int | None]
    """Bytes of all processes together."""
    by_process: Callable[[], Mapping[int, int]] = dict
    """Bytes by process, of those that are told apart; in a container and on Windows mostly none is."""


def amd_gauge(root: Path, pci_id: str, name: str) -> MemoryGauge | None:
    """What the kernel's driver of AMD's GPUs tells: all processes together."""
    path = root / "sys/bus/pci/devices" / pci_id / "mem_info_vram_used"

    def used() -> int | None:
        return parse_int(read_text(path))

    return None if used() is None else MemoryGauge(name=name, used=used)
