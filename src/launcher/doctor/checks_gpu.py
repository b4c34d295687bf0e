"""Judgements on GPUs: those of the machine against those that the engine can use. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.builds.types import ENVIRONMENT
from launcher.doctor import remedies
from launcher.doctor.remedies import version
from launcher.doctor.scene import Scene, engine_of
from launcher.doctor.types import Check, Nvidia, NvidiaGpu, Platform
from launcher.hardware.match import BACKENDS, MEMORY_MATCH, idle_devices
from launcher.hardware.seen import INTEL_INTEGRATED, SeenGpu
from launcher.hardware.types import IdleDevice
from launcher.units import GIB, format_bytes

if TYPE_CHECKING:
    from launcher.hardware.engine_devices import EngineDevice, EngineReport

SMALL_BYTES = 4 * GIB
"""A GPU with less takes too little of a model off the RAM to be worth a warning."""
_IN_A_VM = "vfio-pci"
"""Linux's driver for devices that are lent to a virtual machine."""


def check_gpus(scene: Scene, engine: EngineReport, toolkit_first: str | None = None) -> tuple[Check, ...]:
    """One line for each GPU that is used, and for each that is not, with the command that changes it.

    `toolkit_first` is the command that replaces a CUDA toolkit which does not compile for the GPU that is here.
    """
    used = [_used(device, scene) for device in _distinct(engine)]
    idle = idle_devices(
        engine,
        [gpu for gpu in scene.seen if gpu.driver != _IN_A_VM],
        environ=scene.environ,
    )
    by_name = {gpu.description: gpu for gpu in scene.seen}
    unused = [_unused(each, by_name.get(each.description), scene, engine, toolkit_first) for each in idle]
    lent = [_lent(gpu) for gpu in scene.seen if gpu.driver == _IN_A_VM]
    return _counted((*used, *unused, *lent)) or (_none(scene),)


def _counted(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Lines that say the same of several equal GPUs, as one."""
    groups: dict[tuple[str, str | None, str | None], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.what, check.why, check.remedy), []).append(check)
    return tuple(
        same[0]
        if len(same) == 1
        else replace(same[0], what=f"{len(same)} x {what}", data={**same[0].data, "n": len(same)})
        for (what, _, _), same in groups.items()
    )


def _distinct(engine: EngineReport) -> list[EngineDevice]:
    """GPUs that the engine lists, each once: two backends may list the same one."""
    found: dict[str, EngineDevice] = {}
    for device in engine.devices or ():
        if device.type in ("GPU", "IGPU"):
            found.setdefault(device.device_id or device.name, device)
    return list(found.values())


def _used(device: EngineDevice, scene: Scene) -> Check:
    free = f"{format_bytes(device.free_bytes)} free of {format_bytes(device.total_bytes)}"
    whole = _whole_of(device, scene.nvidia)
    name = engine_of(scene.store.working, device)
    by = "" if name is None else f", by the engine {name}"
    part = "" if whole is None else f", a slice of {format_bytes(whole.total_bytes or 0)} (MIG)"
    return Check(
        name="gpu",
        status="ok",
        what=f"{device.name}: {device.description}, {free}{part}{by}",
        data={
            "device": device.name,
            "description": device.description,
            "backend": device.backend,
            "engine": name or ENVIRONMENT,
            "free_bytes": device.free_bytes,
            "total_bytes": device.total_bytes,
            "used": True,
            "slice": whole is not None,
        },
    )


def _whole_of(device: EngineDevice, nvidia: Nvidia | None) -> NvidiaGpu | None:
    """The divided GPU that a device is a slice of."""
    for gpu in nvidia.gpus if nvidia is not None else ():
        same = gpu.pci_id is not None and gpu.pci_id == device.device_id
        if same and gpu.mig and gpu.total_bytes and device.total_bytes < MEMORY_MATCH * gpu.total_bytes:
            return gpu
    return None


def _lent(gpu: SeenGpu) -> Check:
    what = f"{gpu.description} is set aside for a virtual machine ({_IN_A_VM})"
    data = {"description": gpu.description, "used": False, "driver": gpu.driver}
    return Check(name="gpu", status="ok", what=what, data=data)


def _none(scene: Scene) -> Check:
    """No GPU is seen at all."""
    data = {"used": False}
    platform, nodes = scene.platform, scene.nodes
    if scene.nvidia is not None and scene.nvidia.present:
        return _broken_driver(scene.nvidia, platform)
    if platform.wsl and nodes is not None and nodes.dxg:
        what = "Windows passes a GPU through, but nothing here tells what it is"
        why = "NVIDIA's shows up once Windows has its driver; AMD's needs the part of ROCm that is made for WSL"
        return Check(name="gpu", status="warn", what=what, why=why, remedy="wsl.exe --update", data=data)
    if platform.container is not None and nodes is not None and nodes.render is None:
        what = "none that this container can see: models run on the CPU"
        why = "where the host has one, a container gets it with `--gpus all` (NVIDIA) or `--device /dev/dri`"
        return Check(name="gpu", status="ok", what=what, why=why, data=data)
    return Check(name="gpu", status="ok", what="none: models run on the CPU", data=data)


def _broken_driver(nvidia: Nvidia, platform: Platform) -> Check:
    """NVIDIA's driver is there, and shows no GPU."""
    said = "; ".join(nvidia.problems)
    data = {"used": False, "problems": nvidia.problems}
    what = "NVIDIA's driver is loaded, but shows no GPU"
    why: str | None = said or "it counts none: the GPU may be off, or lost from the bus"
    remedy: str | None = remedies.reboot(platform)
    if "version mismatch" in said.lower():
        why = f"{said}: the driver was updated while the old one is loaded"
    elif platform.container is not None:
        # https://github.com/NVIDIA/nvidia-container-toolkit/issues/48
        why = f"{said}: a container loses its GPUs when the host's systemd reloads; it has them again after a restart"
        remedy = f"docker restart {platform.container_id or 'CONTAINER'}" if platform.container == "docker" else None
    elif platform.wsl:
        why, remedy = f"{said or 'no GPU'}: inside WSL the driver is that of Windows", "wsl.exe --shutdown"
    elif not said:
        why = "it counts none: some GPUs need the open kernel modules (all of the RTX 50 series do)"
        remedy = remedies.install("nvidia driver", platform)
    return Check(name="gpu", status="fail", what=what, why=why, remedy=remedy, data=data)


def _unused(
    idle: IdleDevice, gpu: SeenGpu | None, scene: Scene, engine: EngineReport, toolkit_first: str | None
) -> Check:
    total = f" ({format_bytes(idle.total_bytes)})" if idle.total_bytes else ""
    found = Check(
        name="gpu",
        status="warn" if _is_minor(idle, gpu, engine) else "fail",
        what=f"{idle.description}{total} is not used",
        why=idle.reason,
        remedy=idle.remedy,
        data={
            "description": idle.description,
            "vendor": idle.vendor,
            "total_bytes": idle.total_bytes,
            "driver": gpu.driver if gpu is not None else None,
            "probe": idle.probe,
            "used": False,
        },
    )
    if "hidden by" in idle.reason:
        variable = idle.reason.removeprefix("hidden by ").partition("=")[0]
        return replace(found, status="warn", remedy=remedies.unset(variable, scene.platform))
    if idle.remedy is not None:
        if scene.platform.translated:
            why = "an engine for Intel has no use for it; the line of the CPU says what to do"
            return replace(found, why=why, remedy=None)
        return _get_engine(found, idle, gpu, scene, toolkit_first)
    if "leaves an integrated GPU alone" in idle.reason:
        return replace(found, status="ok")
    if idle.vendor == "NVIDIA":
        return _unused_nvidia(found, idle, gpu, scene)
    return _unused_by_backend(found, engine, scene)


def _is_minor(idle: IdleDevice, gpu: SeenGpu | None, engine: EngineReport) -> bool:
    """Whether a model would gain little from it: small ones, and those that read the same RAM as the CPU."""
    if idle.total_bytes is not None and idle.total_bytes < SMALL_BYTES:
        return True
    integrated = idle.vendor == "Intel" and (gpu is None or gpu.pci_id in (None, INTEL_INTEGRATED))
    return integrated or engine.devices is None


def _get_engine(found: Check, idle: IdleDevice, gpu: SeenGpu | None, scene: Scene, toolkit_first: str | None) -> Check:
    """An engine with the backend that serves it, with what compiling one takes where none is pre-built."""
    if gpu is None:
        return found
    other = _passed_over(gpu, scene)
    if other is not None:
        passed = (
            f"the engine {other} would use it, but plans take {scene.store.chosen}, which `gpt-oss engine use` chose"
        )
        return replace(found, status="warn", why=passed, remedy="gpt-oss engine use auto")
    remedy = remedies.get_engine(
        BACKENDS[gpu.vendor].lower(),
        scene.means,
        capability=version(gpu.compute_capability or "0"),
        toolkit_first=toolkit_first,
    )
    why = found.why
    if remedy is not None and remedies.CUDA_PAGE in remedy:
        why = f"{why}. Its toolkit is in NVIDIA's repository: set that up as the page says, then `{idle.remedy}`"
    return replace(found, why=why, remedy=remedy)


def _passed_over(gpu: SeenGpu, scene: Scene) -> str | None:
    """An engine of the store that would use a GPU and that no plan takes, because another one was chosen."""
    working = scene.store.working
    others = (each for each in scene.store.engines if each not in working and each.report.devices is not None)
    return next((each.name for each in others if not idle_devices(each.report, [gpu], environ=scene.environ)), None)


def _unused_nvidia(found: Check, idle: IdleDevice, gpu: SeenGpu | None, scene: Scene) -> Check:
    """An NVIDIA GPU without its driver, divided, or with a driver that the engine's CUDA does not get on with."""
    nvidia, platform = scene.nvidia, scene.platform
    if idle.probe == "sysfs":
        if nvidia is not None and nvidia.present:
            broken = _broken_driver(nvidia, platform)
            return replace(found, why=broken.why, remedy=broken.remedy)
        if platform.container is not None:
            why = "the host has it, but this container was started without it"
            return replace(
                found, why=why, remedy="docker run --gpus all IMAGE" if platform.container == "docker" else None
            )
        driven = gpu.driver if gpu is not None else None
        why = f"NVIDIA's own driver is not in use ({driven or 'none'} drives it); install it, then restart"
        return replace(found, why=why, remedy=remedies.install("nvidia driver", platform))
    divided = next(
        (each for each in (nvidia.gpus if nvidia else ()) if gpu and each.pci_id == gpu.pci_id and each.mig), None
    )
    if divided is not None:
        why = "it is divided (MIG), and no slice of it is made or given to this process"
        return replace(found, why=why, remedy=remedies.as_root("nvidia-smi mig -cgi 0 -C", platform))
    if platform.wsl:
        why = f"{idle.reason}; inside WSL the driver is that of Windows"
        return replace(found, why=why, remedy="wsl.exe --shutdown")
    return replace(found, remedy=remedies.install("nvidia driver", platform))


def _unused_by_backend(found: Check, engine: EngineReport, scene: Scene) -> Check:
    """The engine has a backend for it, which finds nothing: no permission, or no driver in user space."""
    nodes, platform = scene.nodes, scene.platform
    if platform.system != "Linux" or nodes is None:
        return found
    closed = "/dev/kfd" if nodes.kfd is False and "ROCm" in engine.backends else "/dev/dri/renderD*"
    if nodes.render is False or (nodes.kfd is False and "ROCm" in engine.backends):
        why = f"this person may not use {closed}; log in again afterwards"
        groups = ",".join(name for name in ("render", "video") if name not in platform.groups)
        return replace(found, why=why, remedy=remedies.as_root(f'usermod -aG {groups or "render"} "$USER"', platform))
    if nodes.render is None and platform.container is not None:
        remedy = "docker run --device /dev/kfd --device /dev/dri IMAGE" if platform.container == "docker" else None
        return replace(found, why="the host has it, but this container was started without it", remedy=remedy)
    if "Vulkan" in engine.backends and nodes.vulkan_drivers == 0:
        why = "no Vulkan driver is installed"
        return replace(found, why=why, remedy=remedies.install("vulkan driver", platform))
    if "ROCm" in engine.backends and nodes.kfd is None:
        why = "the kernel has no /dev/kfd: its amdgpu driver is not loaded, or was built without ROCm's part"
        return replace(found, why=why, remedy=remedies.as_root("modprobe amdgpu", platform))
    return found
