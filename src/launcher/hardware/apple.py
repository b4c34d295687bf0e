"""What macOS tells of its processor and GPU: sysctl, and system_profiler where the engine shows no GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.hardware.seen import SeenGpu, Vendor, parse_int
from launcher.hardware.types import Cpu

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSCTL = (
    "sysctl",
    "machdep.cpu.brand_string",
    "hw.physicalcpu",
    "hw.logicalcpu",
    "hw.nperflevels",
    "hw.perflevel0.physicalcpu",
)
"""One call for all; a name that this Mac does not know goes to stderr and the others are still printed."""
SYSTEM_PROFILER = ("system_profiler", "-json", "SPDisplaysDataType")

_VENDORS: tuple[tuple[str, Vendor], ...] = (
    ("apple", "Apple"),
    ("amd", "AMD"),
    ("intel", "Intel"),
    ("nvidia", "NVIDIA"),
)


def parse_sysctl(text: str) -> dict[str, str]:
    """`name: value` lines."""
    values = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and value.strip():
            values[name.strip()] = value.strip()
    return values


def cpu_from_sysctl(values: Mapping[str, str], *, arch: str) -> Cpu | None:
    """The processor; None where sysctl told no core count. Performance cores are level 0 of two or more."""
    n_logical = parse_int(values.get("hw.logicalcpu"))
    if n_logical is None or n_logical < 1:
        return None
    levels = parse_int(values.get("hw.nperflevels")) or 1
    return Cpu(
        name=values.get("machdep.cpu.brand_string"),
        arch=arch,
        n_physical=parse_int(values.get("hw.physicalcpu")),
        n_logical=n_logical,
        n_performance=parse_int(values.get("hw.perflevel0.physicalcpu")) if levels > 1 else None,
        quota_cores=None,
        isa=(),
    )


def parse_displays(text: str) -> tuple[SeenGpu, ...]:
    """`system_profiler -json SPDisplaysDataType`: one entry per GPU, named by `sppci_model`. Any text is survived."""
    import json

    try:
        data: Any = json.loads(text)
    except ValueError:
        return ()
    entries = data.get("SPDisplaysDataType") if isinstance(data, dict) else None
    gpus = []
    for entry in entries if isinstance(entries, list) else ():
        name = entry.get("sppci_model") or entry.get("_name") if isinstance(entry, dict) else None
        vendor = _vendor(name) if isinstance(name, str) else None
        if isinstance(name, str) and vendor is not None:
            gpus.append(
                SeenGpu(
                    description=name,
                    vendor=vendor,
                    probe="system_profiler",
                    pci_id=None,
                    total_bytes=_vram_bytes(entry.get("spdisplays_vram")),
                    free_bytes=None,
                )
            )
    return tuple(gpus)


def _vendor(name: str) -> Vendor | None:
    lowered = name.lower()
    if "radeon" in lowered:
        return "AMD"
    return next((vendor for word, vendor in _VENDORS if word in lowered), None)


def _vram_bytes(value: Any) -> int | None:
    """`8 GB`, `1536 MB`: dedicated memory of a discrete GPU, in powers of 1024. Apple's own GPUs have none."""
    fields = value.split() if isinstance(value, str) else []
    amount = parse_int(fields[0]) if len(fields) == 2 else None
    factor = {"GB": 1024**3, "MB": 1024**2}.get(fields[1]) if len(fields) == 2 else None
    return amount * factor if amount is not None and factor is not None else None
