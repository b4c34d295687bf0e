"""Which machine and engine a measurement holds for: what is kept of one says nothing of another. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from launcher.hardware.types import ENVIRONMENT, Hardware
from launcher.records import RecordError, from_jsonable, to_jsonable

_SAME_MEMORY = 0.02  # of the whole: a new kernel or driver keeps a little more or less of it to itself


@dataclass(frozen=True, kw_only=True, slots=True)
class _Device:
    name: str
    description: str
    total_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Machine:
    """What speeds depend on that no plan chooses."""

    cpu: str | None
    arch: str
    n_physical: int | None
    n_logical: int
    """Of this process: with another affinity mask the same machine is another one, as with another quota."""
    quota_cores: float | None
    isa: tuple[str, ...]
    """A virtual machine may show one name for the processor, and fewer instructions."""
    ram_bytes: int
    devices: tuple[_Device, ...]
    engine: str | None
    llama_cpp_commit: str | None
    backends: tuple[str, ...]
    build: str = ENVIRONMENT
    """Name of the llama.cpp build: two of one commit may be compiled in different ways."""
    made_at: str | None = None
    """So may two of one name, one after the other."""


def machine_record(hardware: Hardware) -> dict[str, Any]:
    """The identity of a machine with its engine, as JSON holds it: to be kept beside what was measured there."""
    record: dict[str, Any] = to_jsonable(_machine(hardware))
    return record


def same_machine(kept: Any, hardware: Hardware) -> bool:
    """Whether `kept`, a `machine_record` read back, is of this machine with this engine. Anything else is not."""
    try:
        then = from_jsonable(_Machine, kept)
    except RecordError:
        return False
    now = _machine(hardware)
    return _but_memory(then) == _but_memory(now) and all(
        abs(a - b) <= _SAME_MEMORY * max(a, b) for a, b in zip(_memories(then), _memories(now), strict=True)
    )


def _machine(hardware: Hardware) -> _Machine:
    cpu, engine = hardware.cpu, hardware.engine
    devices = (_Device(name=d.name, description=d.description, total_bytes=d.total_bytes) for d in hardware.devices)
    return _Machine(
        cpu=cpu.name,
        arch=cpu.arch,
        n_physical=cpu.n_physical,
        n_logical=cpu.n_logical,
        quota_cores=cpu.quota_cores,
        isa=cpu.isa,
        ram_bytes=hardware.memory.total_bytes,
        devices=tuple(devices),
        engine=engine.version,
        llama_cpp_commit=engine.llama_cpp_commit,
        backends=engine.backends,
        build=engine.name,
        made_at=engine.made_at,
    )


def _but_memory(machine: _Machine) -> tuple[object, ...]:
    devices = tuple((device.name, device.description) for device in machine.devices)
    cores = (machine.n_physical, machine.n_logical, machine.quota_cores)
    engine = (machine.engine, machine.llama_cpp_commit, machine.backends, machine.build, machine.made_at)
    return machine.cpu, machine.arch, cores, machine.isa, devices, engine


def _memories(machine: _Machine) -> tuple[int, ...]:
    return machine.ram_bytes, *(device.total_bytes for device in machine.devices)
