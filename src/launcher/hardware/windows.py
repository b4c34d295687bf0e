"""GPUs as Windows lists them, with their drivers. Names and versions only: the memory that it tells ends at 4 GiB."""

from __future__ import annotations

import json
from typing import Any

from launcher.hardware.seen import SeenGpu, Vendor

CONTROLLERS = (
    "powershell.exe",
    "-NoProfile",
    "-NonInteractive",
    "-Command",
    "Get-CimInstance Win32_VideoController | Select-Object Name, DriverVersion, PNPDeviceID | ConvertTo-Json",
)
_VENDORS: tuple[tuple[str, Vendor], ...] = (("VEN_10DE", "NVIDIA"), ("VEN_1002", "AMD"), ("VEN_8086", "Intel"))
"""PCI vendors as a device's id in Windows spells them: `PCI\\VEN_10DE&DEV_2684&...`."""


def parse_controllers(text: str) -> tuple[SeenGpu, ...]:
    """What `CONTROLLERS` prints: an object for one, a list for several. Any text is survived."""
    try:
        data: Any = json.loads(text)
    except ValueError:
        return ()
    gpus = []
    for entry in data if isinstance(data, list) else [data]:
        if not isinstance(entry, dict):
            continue
        device = str(entry.get("PNPDeviceID") or "").upper()
        vendor = next((vendor for word, vendor in _VENDORS if word in device), None)
        name, driver = entry.get("Name"), entry.get("DriverVersion")
        if vendor is not None and isinstance(name, str) and name:
            gpus.append(
                SeenGpu(
                    description=name,
                    vendor=vendor,
                    probe="cim",
                    pci_id=None,
                    total_bytes=None,
                    free_bytes=None,
                    driver=driver if isinstance(driver, str) else None,
                )
            )
    return tuple(gpus)
