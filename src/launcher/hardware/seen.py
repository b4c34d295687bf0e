"""A GPU as a probe of the machine saw it, before it is compared with what the engine can use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Vendor = Literal["NVIDIA", "AMD", "Intel", "Apple"]
INTEL_INTEGRATED = "0000:00:02.0"
"""The address of Intel's integrated graphics on every generation."""

Probe = Literal["nvml", "sysfs", "device-tree", "system_profiler", "cim", "registry"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenGpu:
    """What NVML, the system or a device tree tell of one GPU. None is what they do not tell."""

    description: str
    vendor: Vendor
    probe: Probe
    pci_id: str | None
    """PCI address as ggml writes it: `0000:01:00.0`."""
    total_bytes: int | None
    free_bytes: int | None
    compute_capability: str | None = None
    driver: str | None = None
    """Driver's version (NVML) or kernel module (sysfs); None where none is loaded."""


def normalise_pci_id(text: str) -> str | None:
    """`00000000:C1:00.0` (NVML) or `0000:c1:00.0` (sysfs) as ggml writes it: `0000:c1:00.0`. None for anything else."""
    domain, _, rest = text.strip().lower().partition(":")
    bus, _, slot = rest.partition(":")
    device, _, function = slot.partition(".")
    try:
        numbers = [int(part, 16) for part in (domain, bus, device, function)]
    except ValueError:
        return None
    if min(numbers) < 0:
        return None
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*numbers)


def read_text(path: Path) -> str | None:
    """The text of a small file of the kernel's; None where it is missing or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def parse_int(text: str | None) -> int | None:
    """A file that holds one decimal number; None for anything else."""
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
