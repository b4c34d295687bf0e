"""Who holds memory of AMD's and Intel's GPUs: the kernel tells it of every file of a GPU that a process has open.

Sources: the kernel's Documentation/gpu/drm-usage-stats.rst (keys, units, one client behind several files), and
Documentation/gpu/xe/xe-drm-usage-stats.rst. amdgpu calls a card's memory `vram`, xe `vram0`, i915 `local0`;
`drm-memory-` is what amdgpu had before `drm-resident-` was agreed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.doctor.sources import Sources
from launcher.doctor.types import DrmMemory, Holder
from launcher.hardware import sysfs
from launcher.hardware.seen import normalise_pci_id, read_text
from launcher.server.registry import running

DEADLINE_S = 3.0
"""A desktop with 550 processes takes some ten milliseconds; this bounds machines with files by the hundred thousand."""

_DRIVERS = frozenset({"amdgpu", "i915", "xe"})
_ON_THE_CARD = re.compile(r"drm-(resident|memory)-(vram|local)\d*")
_SIZE = re.compile(r"(\d+)\s*(KiB|MiB)?")
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """What one open file of a GPU tells."""

    pci_id: str
    number: str
    """`drm-client-id`: the same behind files that were duplicated, or handed to another process."""
    used_bytes: int


def read_holders(sources: Sources, *, deadline_s: float = DEADLINE_S) -> DrmMemory:
    """Programs with memory of a card, the largest first. Files of other people are closed to all but root."""
    machine = sources.machine
    linux = machine.system == "Linux"
    gpus = [gpu for gpu in sysfs.read_gpus(machine.root) if gpu.vendor in {"AMD", "Intel"}] if linux else []
    if not gpus:
        return DrmMemory(n_gpus=0)
    names = {gpu.pci_id: gpu.description for gpu in gpus}
    used = [gpu.total_bytes - gpu.free_bytes for gpu in gpus if gpu.total_bytes and gpu.free_bytes is not None]
    end_s = sources.clock_s() + deadline_s
    held: dict[tuple[int, str], int] = {}
    counted: set[tuple[str, str]] = set()
    n_closed = 0
    complete = True
    for pid in _newest_first(machine.root):
        try:
            for client in _clients(machine.root / "proc" / str(pid), lambda: sources.clock_s() > end_s):
                if (client.pci_id, client.number) in counted or client.pci_id not in names:
                    continue
                counted.add((client.pci_id, client.number))
                held[pid, client.pci_id] = held.get((pid, client.pci_id), 0) + client.used_bytes
        except PermissionError:
            n_closed += 1
        except TimeoutError:
            complete = False
            break
        except OSError:  # it has ended meanwhile
            continue
    ports = {record.server_pid: record.port for record in running(sources.folders.state)} if held else {}
    holders = [
        Holder(gpu=names[pci_id], pid=pid, name=sources.process_name(pid), used_bytes=used_bytes, port=ports.get(pid))
        for (pid, pci_id), used_bytes in held.items()
        if used_bytes
    ]
    holders.sort(key=lambda holder: -holder.used_bytes)
    return DrmMemory(
        n_gpus=len(gpus),
        holders=tuple(holders),
        used_bytes=sum(used) if used else None,
        n_closed=n_closed,
        complete=complete,
    )


def _newest_first(root: Path) -> list[int]:
    """Processes by falling number: a session's manager keeps copies of files that it opened for a later process."""
    try:
        return sorted((int(child.name) for child in (root / "proc").iterdir() if child.name.isdecimal()), reverse=True)
    except OSError:
        return []


def _clients(process: Path, is_late: Callable[[], bool]) -> Iterator[Client]:
    """Clients behind the files of a GPU that a process has open.

    Raises:
        OSError: they may not be seen, or the process has ended.
        TimeoutError: it is late.
    """
    for file in (process / "fd").iterdir():
        if is_late():
            raise TimeoutError
        try:
            opened = file.readlink()
        except FileNotFoundError:  # closed meanwhile
            continue
        if opened.is_relative_to("/dev/dri"):
            found = parse_client(read_text(process / "fdinfo" / file.name) or "")
            if found is not None:
                yield found


def parse_client(text: str) -> Client | None:
    """One file of fdinfo; None of a file that is no GPU's, or tells nothing of memory on a card."""
    values = {
        key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in text.splitlines()) if colon
    }
    pci_id = normalise_pci_id(values.get("drm-pdev", ""))
    number = values.get("drm-client-id")
    if pci_id is None or number is None or values.get("drm-driver") not in _DRIVERS:
        return None
    return Client(pci_id=pci_id, number=number, used_bytes=_on_the_card(values))


def _on_the_card(values: Mapping[str, str]) -> int:
    """Bytes in a card's own memory. Where both spellings are there, they tell of the same bytes."""
    totals = {"resident": 0, "memory": 0}
    for key, value in values.items():
        region, size = _ON_THE_CARD.fullmatch(key), _SIZE.fullmatch(value)
        if region and size:
            totals[region[1]] += int(size[1]) * _UNITS[size[2] or ""]
    return max(totals.values())
