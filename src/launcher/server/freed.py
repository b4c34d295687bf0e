"""A machine as it is once a server has ended. Hardware in, hardware out."""

from __future__ import annotations

from dataclasses import replace

from launcher.hardware.types import Hardware
from launcher.server.types import ServerRecord
from launcher.server.usage import host_usage


def with_memory_back(hardware: Hardware, record: ServerRecord) -> Hardware:
    """What the server holds is free again: of RAM what it has allocated, of devices what was planned for it.

    Pages that it maps count as available already.
    """
    planned = record.planned_bytes or {}
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
            replace(device, free_bytes=min(device.total_bytes, device.free_bytes + planned.get(device.name, 0)))
            for device in hardware.devices
        ),
    )
