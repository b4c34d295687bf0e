"""Energy as the machine's own meters tell it: counters of CPUs and RAM (RAPL), and what GPUs tell through hwmon.

Sources: the kernel's Documentation/power/powercap/powercap.rst and Documentation/hwmon/sysfs-interface.rst. A package
is one socket with all its cores and its own GPU; RAM is beside it; `psys` is all of them and more, as the maker of the
machine wired it, and is not added. Reading needs root since Linux 5.10 (CVE-2020-8694). A Mac tells root alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from launcher.hardware.seen import parse_int, read_text

POWERCAP = "sys/class/powercap"
ALLOW: Final = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
"""Lets everybody read the counters until the next start of the machine."""
SHORTEST_S: Final = 0.5
"""Of a sample that is over sooner, readings a tenth of a second apart tell too little."""
_MOST_W = 20_000.0
"""No meter of one machine shows more. A counter that seems to was set back, and has not run over."""

Reading = tuple[int, float]
"""When (`time.perf_counter_ns`), and what a meter showed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Meter:
    """Something that tells energy, or the power of the moment."""

    name: str
    """`package-0`, `dram-0`, or ggml's name of a device."""
    kind: Literal["joules", "watts"]
    read: Callable[[], float | None]
    """None where it does not answer."""
    range_j: float | None = None
    """Where a counter of joules begins again from 0; None where it never does."""


def counted_zones(names: Mapping[str, str]) -> dict[str, str]:
    """Of powercap's zones those that add up to the CPUs and the RAM: the folder of each, by the name it is told by.

    Args:
        names: what the file `name` holds, by folder (`intel-rapl:0:2`). Their numbers mean nothing: on some machines
            with two sockets `intel-rapl:1` is `psys`. The same sockets may be there twice, by another way to the
            counters (`intel-rapl-mmio`).
    """
    found: dict[str, str] = {}
    for folder in sorted(names, key=lambda folder: (not folder.startswith("intel-rapl:"), folder)):
        name, above = names[folder], names.get(folder.rpartition(":")[0], "")
        if name.startswith("package-"):
            found.setdefault(name, folder)
        elif name == "dram" and above.startswith("package-"):
            found.setdefault(f"dram-{above.removeprefix('package-')}", folder)
    return dict(sorted(found.items(), key=lambda item: (item[0].startswith("dram"), item[0])))


def cpu_meters(root: Path, read: Callable[[Path], object] = Path.read_bytes) -> tuple[tuple[Meter, ...], bool]:
    """What may be read of CPUs and RAM, and whether there are counters that only root may read."""
    try:
        folders = [path for path in (root / POWERCAP).iterdir() if path.name.startswith("intel-rapl")]
    except OSError:
        return (), False
    names = {path.name: (read_text(path / "name") or "").strip() for path in folders}
    meters, refused = [], False
    for name, folder in counted_zones(names).items():
        counter = root / POWERCAP / folder / "energy_uj"
        try:
            read(counter)
        except PermissionError:
            refused = True
        except OSError:
            continue
        else:
            range_uj = parse_int(read_text(counter.with_name("max_energy_range_uj")))
            meters.append(
                Meter(name=name, kind="joules", read=_millionths(counter), range_j=range_uj / 1e6 if range_uj else None)
            )
    return tuple(meters), refused


def gpu_meter(root: Path, pci_id: str, name: str) -> Meter | None:
    """What the kernel's driver tells of a GPU: Intel's the energy, AMD's the power (`power1_input` since RDNA 3)."""
    for folder in sorted((root / "sys/bus/pci/devices" / pci_id / "hwmon").glob("hwmon*")):
        energy = _millionths(folder / "energy1_input")
        if energy() is not None:
            return Meter(name=name, kind="joules", read=energy)
        for file in ("power1_average", "power1_input"):
            power = _millionths(folder / file)
            if power() is not None:
                return Meter(name=name, kind="watts", read=power)
    return None


def _millionths(path: Path) -> Callable[[], float | None]:
    """A file of microjoules or microwatts, as joules or watts."""

    def read() -> float | None:
        value = parse_int(read_text(path))
        return None if value is None else value / 1e6

    return read


def joules_between(meter: Meter, readings: Sequence[Reading], start_ns: int, end_ns: int) -> float | None:
    """Joules from one moment to another; between two readings power is taken as even.

    None where the readings do not reach around both moments, or where the counter was set back.
    """
    totals = _added_up(readings) if meter.kind == "watts" else _unwrapped(readings, meter.range_j)
    if totals is None or len(totals) < 2 or not totals[0][0] <= start_ns <= end_ns <= totals[-1][0]:
        return None
    return _total_at(totals, end_ns) - _total_at(totals, start_ns)


def _unwrapped(readings: Sequence[Reading], range_j: float | None) -> list[Reading] | None:
    """Readings of a counter as one that never begins again."""
    if not readings:
        return None
    totals = [(readings[0][0], 0.0)]
    for (before_ns, before), (now_ns, now) in pairwise(readings):
        grown = now - before
        if grown < 0:
            if range_j is None:
                return None
            grown += range_j
        if not 0 <= grown <= _MOST_W * (now_ns - before_ns) / 1e9:
            return None
        totals.append((now_ns, totals[-1][1] + grown))
    return totals


def _added_up(readings: Sequence[Reading]) -> list[Reading] | None:
    """Power over time as energy: a line from each reading to the next."""
    if not readings:
        return None
    totals = [(readings[0][0], 0.0)]
    for (before_ns, before), (now_ns, now) in pairwise(readings):
        totals.append((now_ns, totals[-1][1] + (before + now) / 2 * (now_ns - before_ns) / 1e9))
    return totals


def _total_at(totals: Sequence[Reading], at_ns: int) -> float:
    i = min(max(bisect_right(totals, at_ns, key=lambda reading: reading[0]), 1), len(totals) - 1)
    (left_ns, left), (right_ns, right) = totals[i - 1], totals[i]
    return right if right_ns == left_ns else left + (right - left) * (at_ns - left_ns) / (right_ns - left_ns)
