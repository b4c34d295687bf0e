"""Machines of tests/data/doctor/machines.toml, as the doctor's probes see them."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.doctor.sources import Sources
from launcher.hardware.detect import Machine
from launcher.hardware.engine_devices import EngineDevice, EngineReport
from launcher.paths import Folders
from launcher.units import GIB
from tests.builders import cpu, host_memory
from tests.fakes.nvml import FakeGpu, FakeNvml
from tests.hardware import trees

DATA = Path(__file__).parent.parent / "data" / "doctor" / "machines.toml"
MACHINES: dict[str, Any] = tomllib.loads(DATA.read_text(encoding="utf-8"))
NOW_S = 1_790_000_000.0
"""September 2026."""
_FLAGS = "fpu pni ssse3 fma avx f16c avx2 bmi2"
_ISA = ("SSE3", "SSSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2", "OPENMP", "REPACK")


def sources(name: str, root: Path) -> Sources:
    """A machine, its files under `root`."""
    data = MACHINES[name]
    system = data.get("system", "Linux")
    if system == "Linux":
        _plant(data, root)
    have = frozenset(data.get("have", ()))
    closed = frozenset(data.get("closed", ()))
    processes = data.get("processes", {})
    machine = Machine(
        system=system,
        arch=data.get("arch", "x86_64"),
        root=root,
        environ=data.get("environ", {}),
        affinity=lambda: frozenset(range(8)),
        run=lambda command: _printed(data, command),
        load_nvml=lambda: _nvml(data),
        engine=lambda: _engine(data.get("engine", {})),
        host_memory=lambda: host_memory(64.0, 48.0),
        host_cpu=lambda **known: replace(cpu(), **known),
        install=data.get("install", "checkout"),
        python="/venv/bin/python",
    )
    return Sources(
        machine=machine,
        folders=Folders(config=root / "config", data=root / "data", state=root / "state", cache=root / "cache"),
        which=lambda program: f"/usr/bin/{program}" if program in have else None,
        may_use=lambda path: path.relative_to(root).as_posix() not in closed,
        is_root=lambda: False,
        groups=lambda: ("video",),
        process_name=lambda pid: processes.get(str(pid)),
        glibc=lambda: data.get("glibc", "2.39") or None,
        now_s=lambda: NOW_S,
        wanted_engine=lambda: "0.3.36",
    )


def _plant(data: dict[str, Any], root: Path) -> None:
    if "tree" in data:
        trees.plant(data["tree"], root)
    else:
        total, available = data.get("ram", (64, 48))
        lines = f"MemTotal: {int(total * 1024**2)} kB\nMemAvailable: {int(available * 1024**2)} kB\n"
        trees.write(root, "proc/meminfo", lines + "SwapTotal: 0 kB\nSwapFree: 0 kB\n")
        model, flags = data.get("cpu", ("AMD Ryzen 7 5800X 8-Core Processor", _FLAGS))
        trees.write(root, "proc/cpuinfo", f"model name\t: {model}\nflags\t\t: {flags}\n")
    distro, version = data["os"]
    trees.write(root, "etc/os-release", f'NAME="{distro}"\nID={distro}\nVERSION_ID="{version}"\n')
    for address, line in data.get("pci", {}).items():
        folder = f"sys/bus/pci/devices/{address}"
        kind, vendor, device, *driver = line.split()
        for file, value in (("class", kind), ("vendor", vendor), ("device", device)):
            trees.write(root, f"{folder}/{file}", value + "\n")
        for module in driver:
            (root / "sys/bus/pci/drivers" / module).mkdir(parents=True, exist_ok=True)
            (root / folder / "driver").symlink_to(root / "sys/bus/pci/drivers" / module)
    for path, content in data.get("files", {}).items():
        trees.write(root, path, content)
    for path, target in data.get("links", {}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)
    if "nvml" in data:
        trees.write(root, "dev/nvidiactl", "")


def _printed(data: dict[str, Any], command: Any) -> str | None:
    """What a tool prints; None for one that is not there."""
    program = Path(command[0]).name
    if tuple(command[1:]) == ("-n", "sysctl.proc_translated"):
        return "1\n" if data.get("translated") else "0\n"
    if program in data.get("recorded", {}):
        return trees.text(data["recorded"][program])
    found = data.get("tools", {}).get(program)
    return None if found is None else str(found)


def _nvml(data: dict[str, Any]) -> FakeNvml:
    told = data.get("nvml")
    if told is None:
        raise ImportError("NVML Shared Library Not Found")
    gpus = []
    for gpu in told.get("gpus", ()):
        total = gpu.get("total", 24)
        gpus.append(
            FakeGpu(
                name=gpu.get("name", "NVIDIA GeForce RTX 4090"),
                bus_id=gpu.get("address", "0000:01:00.0") or None,
                total_bytes=round(total * GIB) if total else None,
                free_bytes=round(gpu.get("free", total - 1) * GIB) if total else None,
                compute_capability=tuple(gpu.get("capability", (8, 9))),
                mig=gpu.get("mig"),
                answers=gpu.get("answers", True),
                computing=[(pid, n_gib * GIB) for pid, n_gib in gpu.get("computing", ())],
            )
        )
    return FakeNvml(gpus=gpus, driver=told.get("driver"), cuda=told.get("cuda"), init_error=told.get("error"))


def _engine(data: dict[str, Any]) -> EngineReport:
    """The pinned engine; CPU-only where nothing else is said."""
    note = data.get("note")
    devices = tuple(
        EngineDevice(
            name=each["name"],
            description=each.get("description", "NVIDIA GeForce RTX 4090"),
            type=each.get("type", "GPU"),
            backend=each.get("backend", "CUDA"),
            free_bytes=round(each.get("free", 22) * GIB),
            total_bytes=round(each.get("total", 24) * GIB),
            device_id=each.get("address", "0000:01:00.0") or None,
        )
        for each in data.get("devices", ())
    )
    return EngineReport(
        version=data.get("version", "0.3.36") or None,
        commit=None if note else "0c1e570",
        bin_dir="/venv/bin",
        devices=None if note else devices,
        backends=() if note else tuple(data.get("backends", ("RPC", "CPU"))),
        cpu_features=() if note else tuple(data.get("features", _ISA)),
        supports_rpc=None if note else True,
        note=note,
    )
