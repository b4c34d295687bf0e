"""GPUs on the PCI bus in Linux's sysfs: AMD with its memory, Intel, and NVIDIA cards that NVIDIA's driver ignores.

Sources: the kernel's Documentation/ABI/testing/sysfs-bus-pci and gpu/amdgpu/driver-misc.rst (`mem_info_vram_*`);
pci.ids and libdrm's amdgpu.ids for names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.hardware.seen import SeenGpu, Vendor, normalise_pci_id, parse_int, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_VENDORS: dict[int, Vendor] = {0x1002: "AMD", 0x10DE: "NVIDIA", 0x8086: "Intel"}
_DISPLAY = 0x03
"""PCI base class of display controllers (VGA, 3D)."""
_ACCELERATOR = 0x12
"""PCI base class of processing accelerators: AMD Instinct. Intel's are NPUs, which ggml does not use."""

_PCI_IDS = ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids")
_AMDGPU_IDS = "usr/share/libdrm/amdgpu.ids"


def read_gpus(root: Path) -> tuple[SeenGpu, ...]:
    """Every GPU of the three vendors, in order of its address. Empty where sysfs is not there."""
    try:
        folders = sorted((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return ()
    gpus = (_read_gpu(root, folder) for folder in folders)
    return tuple(gpu for gpu in gpus if gpu is not None)


def read_tegra(root: Path) -> tuple[SeenGpu, ...]:
    """The GPU of an NVIDIA Jetson, which is on no bus: the device tree tells the board. Empty on other machines."""
    compatible = (read_text(root / "proc/device-tree/compatible") or "").split("\0")
    if not any(name.startswith("nvidia,tegra") for name in compatible):
        return ()
    model = (read_text(root / "proc/device-tree/model") or "").strip("\0 \n")
    return (
        SeenGpu(
            description=model or "NVIDIA Tegra",
            vendor="NVIDIA",
            probe="device-tree",
            pci_id=None,
            total_bytes=None,
            free_bytes=None,
            driver="nvgpu" if (root / "etc/nv_tegra_release").exists() else None,
        ),
    )


def _read_gpu(root: Path, folder: Path) -> SeenGpu | None:
    number = {name: parse_hex(read_text(folder / name)) for name in ("class", "vendor", "device", "revision")}
    vendor = _VENDORS.get(number["vendor"] or 0)
    base_class = (number["class"] or 0) >> 16
    if vendor is None or not (base_class == _DISPLAY or (base_class == _ACCELERATOR and vendor == "AMD")):
        return None
    total = parse_int(read_text(folder / "mem_info_vram_total"))
    used = parse_int(read_text(folder / "mem_info_vram_used"))
    driver = folder / "driver"
    return SeenGpu(
        description=_name(root, folder, vendor, number),
        vendor=vendor,
        probe="sysfs",
        pci_id=normalise_pci_id(folder.name),
        total_bytes=total,
        free_bytes=max(0, total - used) if total is not None and used is not None else None,
        driver=driver.resolve().name if driver.exists() else None,
    )


def _name(root: Path, folder: Path, vendor: Vendor, number: dict[str, int | None]) -> str:
    """The marketing name where one is to be found, else the vendor with the PCI ids, which a search engine knows."""
    device, revision = number["device"], number["revision"]
    own = (read_text(folder / "product_name") or "").strip()
    if own:
        return own
    if device is not None:
        table = read_text(root / _AMDGPU_IDS) if vendor == "AMD" else None
        name = find_amdgpu_name((table or "").splitlines(), device, revision)
        if name:
            return name
        for file in _PCI_IDS:
            listed = find_pci_name((read_text(root / file) or "").splitlines(), number["vendor"] or 0, device)
            if listed:
                return f"{vendor} {listed}"
    return f"{vendor} GPU [{number['vendor']:04x}:{device:04x}]" if device is not None else f"{vendor} GPU"


def parse_hex(text: str | None) -> int | None:
    """`0x10de` as sysfs writes ids; None for anything else."""
    try:
        return int(text, 16) if text is not None else None
    except ValueError:
        return None


def find_amdgpu_name(lines: Iterable[str], device: int, revision: int | None) -> str | None:
    """A line of libdrm's table is `744C, C8, AMD Radeon RX 7900 XTX`: the revision tells apart cards of one chip."""
    wanted = (device, revision)
    for line in lines:
        fields = [field.strip() for field in line.split(",", 2)]
        if len(fields) == 3 and (parse_hex(fields[0]), parse_hex(fields[1])) == wanted:
            return fields[2] or None
    return None


def find_pci_name(lines: Iterable[str], vendor: int, device: int) -> str | None:
    """pci.ids: a vendor's line, then its devices behind one tab. Of `Navi 31 [Radeon RX 7900]`, what is in brackets."""
    inside = False
    for line in lines:
        if line.startswith(("#", "\t\t")) or not line.strip():
            continue
        if not line.startswith("\t"):
            inside = parse_hex(line[:4]) == vendor
        elif inside and parse_hex(line[1:5]) == device:
            name = line[5:].strip()
            _, bracket, product = name.partition("[")
            return product.partition("]")[0].strip() if bracket else name or None
    return None
