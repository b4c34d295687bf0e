"""Published memory bandwidth and compute of GPUs and processors, from configs/bandwidth.toml."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from launcher.configs import configs_dir
from launcher.errors import DamagedFileError
from launcher.units import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TELLING = frozenset(
    {"ti", "super", "xt", "xtx", "gre", "laptop", "mobile", "max", "pro", "ultra", "sff", "nvl", "server"}
)
"""Words that make another model of the same number: a description with one needs an entry with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bandwidth:
    """A memory bandwidth and where it comes from. Shaped like `planner.types.Estimate`."""

    bytes_per_s: float
    basis: str
    """`published: 1008 GB/s (NVIDIA's specification of the card, RTX 4090)`, or `assumed: ...` for a processor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuEntry:
    """One [[cpu]] of the table. `pattern` is searched in the processor's name."""

    pattern: str
    gb_per_s: float
    memory: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceEntry:
    """One name of the table with its words in lower case."""

    name: str
    words: frozenset[str]
    gb_per_s: float
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeEntry:
    """One name of [tflops] with its words in lower case."""

    name: str
    words: frozenset[str]
    tflops: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BandwidthTable:
    """The whole table."""

    devices: tuple[DeviceEntry, ...]
    cpus: tuple[CpuEntry, ...]
    default_cpu: CpuEntry
    tflops: tuple[ComputeEntry, ...]


def parse_table(data: dict[str, Any]) -> BandwidthTable:
    """The table from its TOML. Raises KeyError, TypeError or ValueError where it is not as it should be."""
    devices = [
        DeviceEntry(name=name, words=_words(name), gb_per_s=float(value), source=str(group["source"]))
        for group in data["group"]
        for name, value in group["gb_per_s"].items()
    ]
    cpus = [
        CpuEntry(pattern=str(entry["pattern"]), gb_per_s=float(entry["gb_per_s"]), memory=str(entry["memory"]))
        for entry in data["cpu"]
    ]
    default = data["default_cpu"]
    return BandwidthTable(
        devices=tuple(devices),
        cpus=tuple(cpus),
        default_cpu=CpuEntry(pattern="", gb_per_s=float(default["gb_per_s"]), memory=str(default["memory"])),
        tflops=tuple(
            ComputeEntry(name=name, words=_words(name), tflops=float(value)) for name, value in data["tflops"].items()
        ),
    )


@cache
def load_table(path: Path | None = None) -> BandwidthTable:
    """Read the shipped table, once per process. Raises DamagedFileError where it is missing or broken."""
    path = configs_dir() / "bandwidth.toml" if path is None else path
    try:
        return parse_table(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(
            f"{path} cannot be read: {error!r}", path=str(path), hint="uv sync --reinstall-package gpt-oss-launcher"
        ) from error


def device_bandwidth(
    description: str, total_bytes: int | None = None, *, table: BandwidthTable | None = None
) -> Bandwidth | None:
    """Published bandwidth of a GPU, by the name that ggml gives it; None for one that the table does not list.

    Some names were sold with several memories, told apart by size (`RTX 3060 12GB`): `total_bytes` adds that word.
    """
    best = _entry((table or load_table()).devices, description, total_bytes)
    if best is None:
        return None
    return Bandwidth(
        bytes_per_s=best.gb_per_s * 1e9, basis=f"published: {best.gb_per_s:g} GB/s ({best.source}, {best.name})"
    )


def device_tflops(
    description: str, total_bytes: int | None = None, *, table: BandwidthTable | None = None
) -> tuple[float, str] | None:
    """Published dense f16 TFLOPS of a GPU with their basis, by the name that ggml gives it; None where not listed."""
    best = _entry((table or load_table()).tflops, description, total_bytes)
    return None if best is None else (best.tflops, f"published: {best.tflops:g} TFLOPS ({best.name})")


_Entry = TypeVar("_Entry", DeviceEntry, ComputeEntry)


def _entry(entries: Sequence[_Entry], description: str, total_bytes: int | None) -> _Entry | None:
    """The entry with the most words of those whose words are all in the description, and no telling one is missing."""
    words = _words(description)
    if total_bytes is not None:
        words |= {f"{round(total_bytes / GIB)}gb"}
    fitting = [entry for entry in entries if entry.words <= words and not (words - entry.words) & _TELLING]
    return max(fitting, key=lambda entry: len(entry.words), default=None)


def host_bandwidth(cpu_name: str | None, *, table: BandwidthTable | None = None) -> Bandwidth:
    """Bandwidth of the RAM behind a processor: an upper bound, since what is plugged in cannot be read without root.

    Apple's chips are listed among the devices, with which they share their memory. A processor that is not listed
    gets the table's default, and its basis says `assumed`.
    """
    table = table or load_table()
    name = cpu_name or ""
    apple = device_bandwidth(name, table=table) if name.startswith("Apple ") else None
    if apple is not None:
        return apple
    for entry in table.cpus:
        if re.search(entry.pattern, name, re.IGNORECASE):
            return Bandwidth(
                bytes_per_s=entry.gb_per_s * 1e9,
                basis=f"published: {entry.gb_per_s:g} GB/s at most ({entry.memory}, the specification of {name})",
            )
    default = table.default_cpu
    known = f"{name} is not in the table" if name else "the processor's name is not known"
    return Bandwidth(
        bytes_per_s=default.gb_per_s * 1e9, basis=f"assumed: {default.gb_per_s:g} GB/s ({default.memory}; {known})"
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9_]+", text.lower()))
