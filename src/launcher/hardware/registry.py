r"""What the registry of Windows tells of GPUs and of the processor: in a millisecond, where PowerShell takes seconds.

`HARDWARE\DEVICEMAP\VIDEO` is made anew at each start and names a key for every adapter that is there. A driver
writes what it knows into that key: its name, and `HardwareInformation.qwMemorySize`, which has 64 bits. The memory that
Windows' own tables tell (`AdapterRAM`, `HardwareInformation.MemorySize`) has 32 and ends at 4 GiB.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from launcher.hardware.seen import SeenGpu, Vendor

VIDEO_DEVICES = "HARDWARE\\DEVICEMAP\\VIDEO"
PROCESSOR = "HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0"
_ADAPTER = "\\device\\video"
_MACHINE = "\\registry\\machine\\"
_VENDORS: tuple[tuple[str, Vendor], ...] = (("VEN_10DE", "NVIDIA"), ("VEN_1002", "AMD"), ("VEN_8086", "Intel"))
"""PCI vendors as Windows spells them: `PCI\\VEN_10DE&DEV_2684`."""

Values = Mapping[str, Any]
ReadValues = Callable[[str], Values]
"""The values of a key below HKEY_LOCAL_MACHINE; none where there is no such key."""


def read_values(path: str) -> Values:
    """The values of a key below HKEY_LOCAL_MACHINE, as winreg gives them; none on other systems."""
    if sys.platform != "win32":
        return {}
    import winreg

    found = {}
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
            for index in range(winreg.QueryInfoKey(key)[1]):
                name, value, _kind = winreg.EnumValue(key, index)
                found[name] = value
    except OSError:
        return found
    return found


def read_gpus(read: ReadValues = read_values) -> tuple[SeenGpu, ...]:
    """The adapters that are there now, each once however many screens it drives."""
    found = (parse_adapter(read(path)) for path in adapter_keys(read(VIDEO_DEVICES)))
    return tuple(gpu for gpu in found if gpu is not None)


def adapter_keys(devices: Values) -> tuple[str, ...]:
    r"""Keys of the adapters below HKEY_LOCAL_MACHINE, the first of each.

    `\Device\Video0` is `\Registry\Machine\System\CurrentControlSet\Control\Video\{...}\0000`, and `...\0001` the
    same adapter's second screen.
    """
    keys: dict[str, str] = {}
    for name, path in sorted(devices.items()):
        if name.lower().startswith(_ADAPTER) and isinstance(path, str) and path.lower().startswith(_MACHINE):
            key = path[len(_MACHINE) :]
            keys.setdefault(key.rpartition("\\")[0].lower(), key)
    return tuple(keys.values())


def parse_adapter(values: Values) -> SeenGpu | None:
    """What a driver wrote of its adapter; None for screens over the network and others that are no GPU."""
    device = values.get("MatchingDeviceId")
    vendor = next((vendor for word, vendor in _VENDORS if isinstance(device, str) and word in device.upper()), None)
    name = _text(values.get("DriverDesc")) or _text(values.get("HardwareInformation.AdapterString"))
    if vendor is None or name is None:
        return None
    return SeenGpu(
        description=name,
        vendor=vendor,
        probe="registry",
        pci_id=None,
        total_bytes=_bytes(values.get("HardwareInformation.qwMemorySize")),
        free_bytes=None,
        driver=_text(values.get("DriverVersion")),
    )


def processor_name(read: ReadValues = read_values) -> str | None:
    """`13th Gen Intel(R) Core(TM) i7-13700H`."""
    return _text(read(PROCESSOR).get("ProcessorNameString"))


def _text(value: Any) -> str | None:
    """Text, also as some drivers store it: as bytes in UTF-16 with zeros behind."""
    if isinstance(value, bytes):
        value = value.decode("utf-16-le", "replace")
    text = value.partition("\0")[0].strip() if isinstance(value, str) else ""
    return text or None


def _bytes(value: Any) -> int | None:
    """A number, also as some drivers store it: as eight bytes."""
    if isinstance(value, bytes) and len(value) == 8:
        value = int.from_bytes(value, "little")
    return value if isinstance(value, int) and value > 0 else None
