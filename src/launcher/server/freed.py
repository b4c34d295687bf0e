"""A machine as it is once a server has ended. Hardware in, hardware out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from launcher.hardware.types import Device, Hardware
from launcher.server.types import ServerRecord
from launcher.server.usage import host_usage


def with_memory_back(machines: Sequence[Hardware], record: ServerRecord) -> tuple[Hardware, ...]:
    """What the server holds is free again: of RAM what it has allocated, of devices what was planned for it.

    Pages that it maps count as available already. The devices are named as the server's build names them; another
    build's are told by their address.
    """
    planned = record.planned_bytes or {}
    theirs = next((machine for machine in machines if machine.engine.name == record.build), machines[0])
    by_address = {
        device.device_id: planned[device.name]
        for device in theirs.devices
        if device.device_id is not None and device.name in planned
    }
    return tuple(
        _freed(machine, record, planned if machine.engine.name == theirs.engine.name else by_address)
        for machine in machines
    )


def _freed(hardware: Hardware, record: ServerRecord, planned: Mapping[str, int]) -> Hardware:
    used = host_usage(record.server_pid) if record.server_pid is not None else None
    memory = hardware.memory
    freed = used.anonymous_bytes if used is not None else 0
    return replace(
        hardware,
        memory=replace(
            memory,
            available_bytes=min(memory.total_bytes, memory.available_bytes + freed),
            used_bytes=max(0, memory.used_bytes - freed),
        ),
        devices=tuple(
            replace(device, free_bytes=min(device.total_bytes, device.free_bytes + _planned_on(device, planned)))
            for device in hardware.devices
        ),
    )


def _planned_on(device: Device, planned: Mapping[str, int]) -> int:
    """By its name, or by its address."""
    found = planned.get(device.name)
    return found if found is not None else planned.get(device.device_id or "", 0)
