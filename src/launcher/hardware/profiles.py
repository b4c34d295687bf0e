"""Machines that are not here, as TOML: the shipped ones in configs/hardware/, and a person's own."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.configs import configs_dir
from launcher.errors import UsageError
from launcher.hardware.profile_lines import Lines
from launcher.hardware.saved import load_hardware
from launcher.hardware.types import Cpu, Device, DeviceKind, EngineBuild, Hardware, HostMemory
from launcher.units import parse_bytes, parse_rate

_SYSTEMS = {"linux": "Linux", "macos": "Darwin", "windows": "Windows"}
_BACKENDS = {"cuda": "CUDA", "metal": "MTL", "vulkan": "Vulkan", "rocm": "ROCm", "sycl": "SYCL"}
_X86 = ("SSE3", "SSSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2")
_AVX512 = (*_X86, "AVX512")
_VNNI = (*_AVX512, "AVX512_VNNI")
_ISA: dict[str, tuple[str, ...]] = {
    "avx2": _X86,
    "avx512": _AVX512,
    "avx512_vnni": _VNNI,
    "amx": (*_VNNI, "AMX_INT8"),
    # Every ARM core of a machine that holds these models has the dot product.
    "neon": ("NEON", "ARM_FMA", "FP16_VA", "DOTPROD"),
}
# MATMUL_INT8 came with the M2 of Apple, and the Cortex-X925 of GB10 has it. Other ARM processors are not told apart.
_MATMUL_INT8 = re.compile(r"Apple M([2-9]|\d\d)|GB10", re.IGNORECASE)
_MEMORY = ("dedicated", "unified")
_KEYS: dict[str, dict[str, bool]] = {
    "": {"name": True, "os": True, "cpu": True, "ram": True, "device": False},
    "cpu": {"physical_cores": True, "performance_cores": False, "isa": False, "name": False},
    "ram": {"total": True, "available": True, "bandwidth": False},
    "device": {
        **dict.fromkeys(("name", "description", "backend", "memory", "total", "free"), True),
        **dict.fromkeys(("bandwidth", "tflops"), False),
    },
}
"""Keys of each table; True for those that must be there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A machine by name."""

    slug: str
    """What is typed: `rtx-4090-64gb`."""
    name: str
    hardware: Hardware


def open_hardware(text: str) -> Profile:
    """A shipped profile by its name, a profile's file, or a file that `gpt-oss hardware --save` wrote.

    Raises:
        UsageError: no such profile, or one that is not as it should be; every problem is told with its line.
        DamagedFileError: a saved record that cannot be read.
    """
    path = Path(text)
    if path.suffix == ".json":
        return Profile(slug=path.stem, name=path.stem, hardware=load_hardware(path))
    if path.suffix == ".toml" or "/" in text or "\\" in text or path.is_file():
        return read_profile(path)
    shipped = {found.stem: found for found in _shipped()}
    if text.lower() in shipped:
        return read_profile(shipped[text.lower()])
    close = difflib.get_close_matches(text.lower(), shipped, n=3, cutoff=0.5)
    details = (f"did you mean {', '.join(close)}?",) if close else ()
    raise UsageError(f"no profile is called {text!r}", hint="gpt-oss plan --hardware all", details=details)


def list_profiles() -> tuple[Profile, ...]:
    """Every shipped profile: machines without a GPU first, then by the memory of their devices, then of the host."""
    return tuple(sorted(map(read_profile, _shipped()), key=_size))


def _shipped() -> list[Path]:
    return sorted((configs_dir() / "hardware").glob("*.toml"))


def _size(profile: Profile) -> tuple[bool, int, int, str]:
    hardware = profile.hardware
    unified = any(device.unified for device in hardware.devices)
    total = sum(device.total_bytes for device in hardware.devices)
    return unified, total, hardware.memory.total_bytes, profile.slug


def read_profile(path: Path) -> Profile:
    """Read a profile's file.

    Raises:
        UsageError: it cannot be read, is no TOML, or says what cannot be; each problem with its line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", hint=_HINT) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}", hint=_HINT) from error
    return parse_profile(data, Lines(text), slug=path.stem, source=str(path))


_HINT = "gpt-oss plan --hardware all"


def parse_profile(data: dict[str, Any], lines: Lines, *, slug: str, source: str) -> Profile:
    """A profile from its TOML. Pure.

    Args:
        data: the parsed document.
        lines: where its keys stand.
        slug: what it is called.
        source: its file, for messages.

    Raises:
        UsageError: `details` holds every problem with its line, its key and what is allowed.
    """
    reader = _Reader(lines)
    top = reader.table(data, "", 0)
    cpu = reader.table(top.get("cpu"), "cpu", 0)
    ram = reader.table(top.get("ram"), "ram", 0)
    listed = top.get("device", [])
    if not isinstance(listed, list):
        reader.problem("", 0, "device", "is a list of tables: [[device]]")
        listed = []
    name = reader.text(top, "", 0, "name")
    system = reader.one_of(top, "", 0, "os", tuple(_SYSTEMS))
    n_physical = reader.count(cpu, "cpu", "physical_cores")
    n_performance = reader.count(cpu, "cpu", "performance_cores")
    if n_physical and n_performance and n_performance > n_physical:
        reader.problem("cpu", 0, "performance_cores", f"{n_performance} is more than physical_cores {n_physical}")
    cpu_name = reader.text(cpu, "cpu", 0, "name")
    isa = reader.one_of(cpu, "cpu", 0, "isa", tuple(_ISA)) or ("neon" if system == "macos" else "avx2")
    total, available = reader.pair(ram, "ram", 0, "total", "available")
    devices = [
        device
        for i, entry in enumerate(listed)
        if (device := reader.device(reader.table(entry, "device", i), i)) is not None
    ]
    names = [device.name for device in devices]
    for i, device in enumerate(devices):
        if device.name in names[:i]:
            reader.problem("device", i, "name", f"{device.name!r} stands twice")
    bandwidth = reader.rate(ram, "ram", 0)
    if reader.problems:
        raise UsageError(
            f"{source} is no profile of a machine",
            hint=_HINT,
            details=tuple(f"line {line}: {what}" for line, what in sorted(reader.problems, key=lambda found: found[0])),
        )
    cores = n_physical or 1
    arm = isa == "neon"
    matmul_int8 = arm and any(_MATMUL_INT8.search(said or "") for said in (cpu_name, *(d.description for d in devices)))
    return Profile(
        slug=slug,
        name=name or slug,
        hardware=Hardware(
            os=_SYSTEMS[system or "linux"],
            cpu=Cpu(
                name=cpu_name,
                arch="arm64" if arm else "x86_64",
                n_physical=cores,
                n_logical=cores if arm else 2 * cores,
                n_performance=n_performance,
                quota_cores=None,
                isa=(*_ISA[isa], *(("MATMUL_INT8",) if matmul_int8 else ())),
            ),
            memory=HostMemory(
                total_bytes=total,
                available_bytes=available,
                used_bytes=total - available,
                limit_bytes=None,
                limit_source=None,
                swap_total_bytes=0,
                bandwidth_bytes_per_s=bandwidth,
            ),
            devices=tuple(devices),
            idle_devices=(),
            engine=EngineBuild(
                version=None,
                llama_cpp_commit=None,
                backends=(*dict.fromkeys(device.backend for device in devices), "CPU"),
                supports_rpc=None,
                bin_dir=None,
            ),
            notes=(),
        ),
    )


class _Reader:
    """Takes values out of tables, and gathers what is wrong with them instead of stopping at the first."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.problems: list[tuple[int, str]] = []
        """Line and what is wrong there."""

    def problem(self, table: str, index: int, key: str, what: str) -> None:
        """Note a problem with the line of its key, or of its table where the key is not there ("" for the table)."""
        name = ".".join(part for part in (table, key) if part)
        self.problems.append((self._lines.of(table, index, key), f"{name} {what}"))

    def table(self, value: Any, table: str, index: int) -> dict[str, Any]:
        """A table with its keys checked; what is missing or unknown is noted."""
        if value is None:
            return {}  # told as a missing key of the document
        if not isinstance(value, dict):
            self.problem(table, index, "", f"is {value!r}; it must be a table")
            return {}
        known = _KEYS[table]
        for key in value:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                expected = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
                self.problem(table, index, key, f"is not known{expected}")
        for key, needed in known.items():
            if needed and key not in value:
                self.problem(table, index, key, "is missing")
        return value

    def text(self, table: dict[str, Any], where: str, index: int, key: str) -> str | None:
        """Text that is not empty; None where it is missing."""
        value = table.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            self.problem(where, index, key, "is text that is not empty")
            return None
        return value

    def one_of(self, table: dict[str, Any], where: str, index: int, key: str, allowed: tuple[str, ...]) -> str | None:
        """One of some words; None where it is missing."""
        value = table.get(key)
        if value is not None and value not in allowed:
            self.problem(where, index, key, f"is {value!r}; allowed: {', '.join(allowed)}")
            return None
        return value

    def count(self, table: dict[str, Any], where: str, key: str) -> int | None:
        """A whole number above 0."""
        value = table.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 4096:
            self.problem(where, 0, key, f"is {value!r}; allowed: a whole number from 1 to 4096")
            return None
        return value

    def amount(self, table: dict[str, Any], where: str, index: int, key: str) -> int:
        """An amount of memory in bytes; 0 where it is missing or wrong."""
        value = table.get(key)
        if value is None:
            return 0
        try:
            found = parse_bytes(value) if isinstance(value, str) else 0
        except ValueError:
            found = 0
        if found <= 0:
            self.problem(where, index, key, f'is {value!r}; allowed: an amount above 0, such as "24 GiB"')
        return found

    def pair(self, table: dict[str, Any], where: str, index: int, total_key: str, part_key: str) -> tuple[int, int]:
        """A total and what is free of it."""
        total = self.amount(table, where, index, total_key)
        part = self.amount(table, where, index, part_key)
        if total and part > total:
            self.problem(where, index, part_key, f"{table[part_key]!r} is more than {total_key} {table[total_key]!r}")
        return total, part

    def rate(self, table: dict[str, Any], where: str, index: int) -> float | None:
        """`bandwidth` in bytes per second; None where it is missing or wrong."""
        value = table.get("bandwidth")
        if value is None:
            return None
        try:
            found = parse_rate(value) if isinstance(value, str) else 0.0
        except ValueError:
            found = 0.0
        if found <= 0:
            self.problem(where, index, "bandwidth", f'is {value!r}; allowed: a rate above 0, such as "80 GB/s"')
            return None
        return found

    def device(self, table: dict[str, Any], index: int) -> Device | None:
        """One [[device]]; None where something is wrong with it."""
        before = len(self.problems)
        name = self.text(table, "device", index, "name")
        description = self.text(table, "device", index, "description")
        backend = self.one_of(table, "device", index, "backend", tuple(_BACKENDS))
        memory = self.one_of(table, "device", index, "memory", _MEMORY)
        total, free = self.pair(table, "device", index, "total", "free")
        bandwidth = self.rate(table, "device", index)
        tflops = table.get("tflops")
        if tflops is not None and (
            not isinstance(tflops, int | float) or isinstance(tflops, bool) or not 0 < tflops < math.inf
        ):
            self.problem("device", index, "tflops", f"is {tflops!r}; allowed: a number above 0")
        if len(self.problems) > before or name is None or description is None or backend is None:
            return None
        unified = memory == "unified"
        # Metal calls every GPU discrete, as ggml does when it is asked on a Mac.
        kind: DeviceKind = "igpu" if unified and backend != "metal" else "gpu"
        return Device(
            name=name,
            description=description,
            backend=_BACKENDS[backend],
            kind=kind,
            total_bytes=total,
            free_bytes=free,
            device_id=None,
            unified=unified,
            bandwidth_bytes_per_s=bandwidth,
            flops=None if tflops is None else tflops * 1e12,
        )
