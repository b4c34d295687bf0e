"""Compare what the machine has with what the engine can use: pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.hardware.seen import INTEL_INTEGRATED
from launcher.hardware.types import Device, DeviceKind, Hardware, HostMemory, IdleDevice, OtherEngine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from launcher.hardware.engine_devices import EngineDevice, EngineReport
    from launcher.hardware.seen import SeenGpu, Vendor

_KINDS: dict[str, DeviceKind] = {"GPU": "gpu", "IGPU": "igpu", "ACCEL": "accel"}

BACKENDS: dict[Vendor, str] = {"NVIDIA": "CUDA", "AMD": "Vulkan", "Intel": "Vulkan", "Apple": "Metal"}
"""The backend that serves a vendor's GPUs with the least to install; its command takes it in lower case."""
_SERVES: dict[Vendor, frozenset[str]] = {
    "NVIDIA": frozenset({"CUDA", "Vulkan", "OpenCL"}),
    "AMD": frozenset({"ROCm", "Vulkan", "MTL", "OpenCL"}),
    "Intel": frozenset({"SYCL", "Vulkan", "MTL", "OpenCL", "OPENVINO"}),
    "Apple": frozenset({"MTL", "Vulkan"}),
}
"""ggml backends (their registry names) that can drive a vendor's GPUs."""
REGISTRIES = {"cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "sycl": "SYCL", "metal": "MTL"}
"""ggml's names of the backends for GPUs that builds are named by."""
_HIDING: dict[Vendor, tuple[str, ...]] = {
    "NVIDIA": ("CUDA_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES", "GGML_DISABLE_VULKAN"),
    "AMD": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES", "GGML_DISABLE_VULKAN"),
    "Intel": ("ONEAPI_DEVICE_SELECTOR", "GGML_VK_VISIBLE_DEVICES", "GGML_DISABLE_VULKAN"),
    "Apple": (),
}
_BACKEND_VENDOR: dict[str, Vendor] = {"CUDA": "NVIDIA", "ROCm": "AMD"}

MEMORY_MATCH = 0.9
"""NVML's and ggml's totals of one GPU differ by a few percent (the driver's reserve). Below this share ggml sees a
slice of the GPU (MIG, vGPU), and NVML's free memory is not that of the slice."""


def install_command(backend: str) -> str:
    """The command that gets an engine with a backend: compiled here or pre-built, it names what is missing for it."""
    return f"gpt-oss engine install {backend.lower()}"


def merge_seen(nvml: Sequence[SeenGpu], others: Sequence[SeenGpu]) -> tuple[SeenGpu, ...]:
    """One entry per GPU: NVML's where both saw it, since it tells more.

    An NVIDIA GPU without an address (a Jetson's, one that Windows lists) is among those that NVML shows.
    """
    addresses = {gpu.pci_id for gpu in nvml if gpu.pci_id is not None}
    known = {"NVIDIA"} if nvml else set[str]()
    new = (gpu for gpu in others if (gpu.vendor not in known if gpu.pci_id is None else gpu.pci_id not in addresses))
    return (*nvml, *new)


def usable_devices(
    engine: EngineReport, seen: Sequence[SeenGpu], *, arch: str, memory: HostMemory
) -> tuple[Device, ...]:
    """The engine's devices without the CPU, in ggml's order.

    A GPU that two backends list (CUDA and Vulkan) is kept once, by its first, as llama.cpp does (src/llama.cpp,
    `llama_model_load_from_file_impl`). Free memory of an NVIDIA GPU is NVML's: ggml's own figure was read with a CUDA
    context in place, which by then is gone.
    """
    by_address = {gpu.pci_id: gpu for gpu in seen if gpu.pci_id is not None}
    devices: dict[str, Device] = {}
    for listed in engine.devices or ():
        kind = _KINDS.get(listed.type)
        if kind is None or (listed.device_id or listed.name) in devices:
            continue
        gpu = by_address.get(listed.device_id or "")
        device = Device(
            name=listed.name,
            description=listed.description,
            backend=listed.backend,
            kind=kind,
            total_bytes=listed.total_bytes,
            free_bytes=_free_bytes(listed, gpu),
            device_id=listed.device_id,
            unified=_is_unified(listed, arch),
            compute_capability=gpu.compute_capability if gpu is not None else None,
        )
        if device.unified:
            # What a PC sets aside for the GPU (a carve-out) is not in the host's total, so it may be free beside it.
            aside = max(0, device.total_bytes - memory.total_bytes)
            device = replace(device, free_bytes=min(device.free_bytes, memory.available_bytes + aside))
        devices[listed.device_id or listed.name] = device
    return tuple(devices.values())


def _free_bytes(listed: EngineDevice, gpu: SeenGpu | None) -> int:
    if gpu is None or gpu.probe != "nvml" or gpu.free_bytes is None or gpu.total_bytes is None:
        return listed.free_bytes
    same = min(gpu.total_bytes, listed.total_bytes) >= MEMORY_MATCH * max(gpu.total_bytes, listed.total_bytes)
    return min(gpu.free_bytes, listed.total_bytes) if same else listed.free_bytes


def _is_unified(listed: EngineDevice, arch: str) -> bool:
    """Integrated GPUs by ggml's type; Metal calls every GPU discrete, and on Apple's own chips none is."""
    if listed.type == "IGPU":
        return True
    if listed.backend == "MTL":
        return arch == "arm64" or "intel" in listed.description.lower()
    return "adreno" in listed.description.lower()


def idle_devices(
    engine: EngineReport, seen: Sequence[SeenGpu], *, environ: Mapping[str, str]
) -> tuple[IdleDevice, ...]:
    """GPUs that a probe saw and the engine does not list, each with the reason and the command that changes it."""
    unclaimed = [device for device in engine.devices or () if device.type in ("GPU", "IGPU")]
    for test in (_same_address, _same_name, _same_vendor):
        left: list[SeenGpu] = []
        for gpu in seen:
            twins = [device for device in unclaimed if test(gpu, device)]
            # A GPU that two backends list is one GPU: all its entries are claimed when they share its address.
            for device in twins if test is _same_address else twins[:1]:
                unclaimed.remove(device)
            if not twins:
                left.append(gpu)
        seen = left
    idle = []
    for gpu in seen:
        reason, helps = _explain(gpu, engine, environ)
        idle.append(
            IdleDevice(
                description=gpu.description,
                vendor=gpu.vendor,
                total_bytes=gpu.total_bytes,
                free_bytes=gpu.free_bytes,
                probe=gpu.probe,
                reason=reason,
                remedy=install_command(BACKENDS[gpu.vendor]) if helps else None,
            )
        )
    return tuple(idle)


def _same_address(gpu: SeenGpu, device: EngineDevice) -> bool:
    return gpu.pci_id is not None and gpu.pci_id == device.device_id


def _same_name(gpu: SeenGpu, device: EngineDevice) -> bool:
    """Names with the same words: Vulkan appends its driver's, AMD's table leaves out the maker."""
    if gpu.pci_id is not None and device.device_id is not None:
        return False
    ours, theirs = _words(gpu.description), _words(device.description)
    return bool(ours) and (ours <= theirs or theirs <= ours)


def _same_vendor(gpu: SeenGpu, device: EngineDevice) -> bool:
    """Last resort, for a card whose name no table has and a backend that tells no address."""
    if gpu.pci_id is not None and device.device_id is not None:
        return False
    told = _BACKEND_VENDOR.get(device.backend)
    return told == gpu.vendor if told is not None else gpu.vendor.lower() in device.description.lower()


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]+", text.lower()))


def _explain(gpu: SeenGpu, engine: EngineReport, environ: Mapping[str, str]) -> tuple[str, bool]:
    """Why the engine does not use this GPU, and whether another engine would."""
    if gpu.vendor == "NVIDIA" and gpu.probe == "sysfs":
        driven = f"{gpu.driver} drives it" if gpu.driver else "no driver is loaded for it"
        return f"NVIDIA's own driver is not in use ({driven}); install it and restart", False
    if engine.devices is None:
        return f"{engine.note or 'the engine could not be asked'}", True
    serving = [name for name in engine.backends if name in _SERVES[gpu.vendor]]
    if not serving:
        return _explain_build(gpu, engine)
    driver = f" (driver {gpu.driver})" if gpu.driver else ""
    reason = f"the {serving[0]} backend of this build found no such device{driver}: the driver may be too old"
    hidden_by = next((name for name in _HIDING[gpu.vendor] if name in environ), None)
    return f"hidden by {hidden_by}={environ[hidden_by]!r}" if hidden_by else reason, False


def _explain_build(gpu: SeenGpu, engine: EngineReport) -> tuple[str, bool]:
    """The engine has no backend for this vendor."""
    if gpu.vendor == "Intel" and gpu.pci_id == INTEL_INTEGRATED and _has_discrete(engine):
        return "llama.cpp leaves an integrated GPU alone where a discrete one is usable", False
    others = [name for name in engine.backends if name not in ("CPU", "RPC", "BLAS")]
    built = f"has {', '.join(others)} only" if others else "is CPU-only"
    reason = f"this llama.cpp build {built}; an engine with {BACKENDS[gpu.vendor]} would use it"
    if gpu.vendor == "Intel" and gpu.pci_id == INTEL_INTEGRATED:
        reason += "; an integrated GPU reads the same RAM as the CPU: decoding gains little"
    return reason, True


def _has_discrete(engine: EngineReport) -> bool:
    return any(device.type == "GPU" for device in engine.devices or ())


def with_others(found: Sequence[tuple[Hardware, str | None]]) -> list[Hardware]:
    """Each build's record with the others named, and its idle GPUs that another one uses told as such.

    Args:
        found: the same machine by each build, and why that build could not be asked.
    """
    if len(found) == 1:
        return [found[0][0]]
    asked = [hardware for hardware, problem in found if problem is None]
    return [
        replace(
            hardware,
            idle_devices=_used_elsewhere(hardware, [other for other in asked if other is not hardware]),
            other_engines=tuple(_as_other(*other) for other in found if other[0] is not hardware),
        )
        for hardware, _ in found
    ]


def _as_other(hardware: Hardware, problem: str | None) -> OtherEngine:
    return OtherEngine(
        name=hardware.engine.name,
        backends=hardware.engine.backends,
        devices=tuple(device.name for device in hardware.devices),
        left_out=problem,
    )


def _used_elsewhere(hardware: Hardware, others: Sequence[Hardware]) -> tuple[IdleDevice, ...]:
    """Idle GPUs, with the build that has one instead of the command that would compile another."""
    return tuple(
        next((_used_by(idle, other) for other in others if not _is_idle(idle, other)), idle)
        for idle in hardware.idle_devices
    )


def _is_idle(gpu: IdleDevice, hardware: Hardware) -> bool:
    # Every record rests on the same probes, so that the same card has the same description in all of them.
    return any((gpu.vendor, gpu.description) == (other.vendor, other.description) for other in hardware.idle_devices)


def _used_by(idle: IdleDevice, other: Hardware) -> IdleDevice:
    name = other.engine.name
    return replace(idle, reason=f"the engine {name} can use it.", remedy=f"gpt-oss plan --build {name}", engine=name)


def may_serve(hardware: Hardware, others: Mapping[str, str], *, left_alone: bool = False) -> Hardware:
    """A record whose idle GPUs name a build that was not asked, where its backend can drive them.

    Args:
        hardware: of the only build that was asked.
        others: backend of each other build, by its name: `cuda`, `vulkan`, ...
        left_alone: whether they are not asked for what they did, rather than since another one was chosen.
    """

    def named(idle: IdleDevice) -> IdleDevice:
        if left_alone and idle.engine is not None:
            return idle
        able = (name for name, backend in others.items() if _can_drive(backend, idle))
        return next((_named(idle, name, left_alone=left_alone) for name in able), idle)

    return replace(hardware, idle_devices=tuple(named(idle) for idle in hardware.idle_devices))


def _can_drive(backend: str, idle: IdleDevice) -> bool:
    serving = next((names for vendor, names in _SERVES.items() if vendor == idle.vendor), frozenset())
    return REGISTRIES.get(backend) in serving and idle.remedy is not None  # without one no build would change it


def _named(idle: IdleDevice, name: str, *, left_alone: bool) -> IdleDevice:
    if left_alone:
        reason = f"the engine {name} is for such GPUs, and plans leave it alone."
        return replace(idle, reason=reason, remedy=f"gpt-oss engine test {name}", engine=name)
    reason = f"the engine {name} is for such GPUs, and another one was chosen."
    return replace(idle, reason=reason, remedy=f"gpt-oss plan --build {name}", engine=name)


def best_equipped(machines: Sequence[Hardware]) -> Hardware:
    """Of one machine by several builds the record with the most memory on devices, the first of equals.

    For reports that plan nothing: what a plan takes depends on the model as well.
    """
    return max(machines, key=lambda machine: sum(device.total_bytes for device in machine.devices))
