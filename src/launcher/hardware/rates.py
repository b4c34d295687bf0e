"""How fast each part of a machine is, with where that is known from: a profile, a measurement, a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.hardware.bandwidth import device_bandwidth, device_tflops, host_bandwidth
from launcher.planner.types import HOST, Estimate, Rate

if TYPE_CHECKING:
    from launcher.hardware.types import Device, Hardware

_DISK_BYTES_PER_S = 3e9  # an NVMe drive on PCIe 3.0 with four lanes; what is here cannot be told without reading it


def rates_of(hardware: Hardware, *, measured_ram: Estimate | None = None) -> dict[str, Rate]:
    """Rates by device name, `CPU` for the host, and `disk`. What nobody knows is None.

    Args:
        hardware: the machine; what its record states (a profile) goes first.
        measured_ram: bytes/s of RAM as measured on this machine.
    """
    rates = {device.name: _device(device) for device in hardware.devices}
    stated = hardware.memory.bandwidth_bytes_per_s
    if stated is not None:
        rates[HOST] = Rate(bandwidth=Estimate(value=stated, basis=f"stated: {stated / 1e9:g} GB/s"))
    elif measured_ram is not None:
        rates[HOST] = Rate(bandwidth=measured_ram, measured=True)
    else:
        table = host_bandwidth(hardware.cpu.name)
        rates[HOST] = Rate(bandwidth=Estimate(value=table.bytes_per_s, basis=table.basis))
    basis = f"assumed: {_DISK_BYTES_PER_S / 1e9:g} GB/s (an NVMe drive)"
    rates["disk"] = Rate(bandwidth=Estimate(value=_DISK_BYTES_PER_S, basis=basis))
    return rates


def _device(device: Device) -> Rate:
    bandwidth = flops = None
    if device.bandwidth_bytes_per_s is not None:
        stated = device.bandwidth_bytes_per_s
        bandwidth = Estimate(value=stated, basis=f"stated: {stated / 1e9:g} GB/s")
    elif (listed := device_bandwidth(device.description, device.total_bytes)) is not None:
        bandwidth = Estimate(value=listed.bytes_per_s, basis=listed.basis)
    if device.flops is not None:
        flops = Estimate(value=device.flops, basis=f"stated: {device.flops / 1e12:g} TFLOPS")
    elif (tflops := device_tflops(device.description, device.total_bytes)) is not None:
        flops = Estimate(value=tflops[0] * 1e12, basis=tflops[1])
    return Rate(bandwidth=bandwidth, flops=flops)
