"""What the doctor asks about GPUs beyond what a plan needs: MIG, who holds their memory, what compiling takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launcher.doctor.sources import Sources
from launcher.doctor.types import Holder, Nodes, Nvidia, NvidiaGpu, Toolkit, Versions
from launcher.hardware import apple, nvidia, registry, sysfs, windows
from launcher.hardware.detect import Machine
from launcher.hardware.seen import SeenGpu, normalise_pci_id, read_text
from launcher.server.registry import running

_NVCC = re.compile(r"release (\d+\.\d+)")
_NVCC_PLACES = ("usr/local/cuda/bin/nvcc", "opt/cuda/bin/nvcc")
"""Where NVIDIA's own packages and Arch put it, neither of them on PATH."""
_ROCM = "opt/rocm/.info/version"
_VULKAN_HEADERS = ("usr/include/vulkan/vulkan.h", "usr/local/include/vulkan/vulkan.h")
_VULKAN_DRIVERS = ("usr/share/vulkan/icd.d", "etc/vulkan/icd.d", "usr/local/share/vulkan/icd.d")
_FIRMWARE = (
    ("apt", ("dpkg-query", "-W", "-f", "${Version}", "linux-firmware")),
    ("dnf", ("rpm", "-q", "--qf", "%{VERSION}", "amd-gpu-firmware")),
    ("pacman", ("pacman", "-Q", "linux-firmware-amdgpu")),
)
_DATED = re.compile(r"(?:^|[\s:])(20\d{6})")


def read_seen(machine: Machine) -> tuple[SeenGpu, ...]:
    """GPUs that the system shows without any driver's help. NVIDIA's own library is asked apart."""
    if machine.system == "Linux":
        return (*sysfs.read_gpus(machine.root), *sysfs.read_tegra(machine.root))
    if machine.system == "Darwin":
        return apple.parse_displays(machine.run(apple.SYSTEM_PROFILER) or "")
    # Two or three seconds, so only where the registry says nothing.
    gpus = registry.read_gpus(machine.read_registry)
    return gpus or windows.parse_controllers(machine.run(windows.CONTROLLERS) or "")


def read_nvidia(sources: Sources) -> tuple[Nvidia, tuple[SeenGpu, ...]]:
    """All that NVML tells, and its GPUs as other rooms know them."""
    machine = sources.machine
    if not nvidia.driver_present(machine.root, machine.system):
        return _silent(present=False), ()
    try:
        seen, problems = nvidia.read_gpus(machine.load_nvml)
        if any(gpu.driver for gpu in seen) or not problems:
            ports = {record.server_pid: record.port for record in running(sources.folders.state)}
            return _ask(machine.load_nvml(), sources, ports, seen, problems), seen
    except (ImportError, AttributeError) as error:
        # NVML that is not there is the ordinary case of a Windows machine without such a GPU.
        problems = (f"NVML: {error}",) if machine.system == "Linux" else ()
        return _silent(present=machine.system == "Linux", problems=problems), ()
    if machine.system == "Windows":
        return _silent(present=False), ()
    return _silent(present=True, problems=problems), ()


def _silent(*, present: bool, problems: tuple[str, ...] = ()) -> Nvidia:
    return Nvidia(present=present, driver=None, cuda=None, gpus=(), problems=problems, holders=())


def _ask(
    nvml: Any,
    sources: Sources,
    ports: Mapping[int | None, int],
    seen: tuple[SeenGpu, ...],
    problems: tuple[str, ...],
) -> Nvidia:
    nvml.nvmlInit()
    try:
        version = nvidia.ask(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
        gpus, holders = [], []
        for index in range(nvidia.ask(nvml, nvml.nvmlDeviceGetCount) or 0):
            handle = nvidia.ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is None:
                continue
            gpu = _gpu(nvml, handle)
            gpus.append(gpu)
            for pid, used_bytes in nvidia.OpenGpu(nvml, handle).bytes_by_process().items():
                name = sources.process_name(pid)
                holders.append(Holder(gpu=gpu.name, pid=pid, name=name, used_bytes=used_bytes, port=ports.get(pid)))
    finally:
        nvml.nvmlShutdown()
    return Nvidia(
        present=True,
        driver=next((gpu.driver for gpu in seen if gpu.driver), None),
        # 12060 is 12.6
        cuda=f"{version // 1000}.{version % 1000 // 10}" if version else None,
        gpus=tuple(gpus),
        problems=problems,
        holders=tuple(sorted(holders, key=lambda holder: -holder.used_bytes)),
    )


def _gpu(nvml: Any, handle: Any) -> NvidiaGpu:
    pci = nvidia.ask(nvml, nvml.nvmlDeviceGetPciInfo, handle)
    memory = nvidia.ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    mig = nvidia.ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    capability = nvidia.ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    return NvidiaGpu(
        pci_id=None if pci is None else normalise_pci_id(nvidia.text_of(pci.busId) or ""),
        name=nvidia.text_of(nvidia.ask(nvml, nvml.nvmlDeviceGetName, handle)) or "NVIDIA GPU",
        total_bytes=None if memory is None else int(memory.total),
        compute_capability=None if capability is None else (int(capability[0]), int(capability[1])),
        mig=None if mig is None else bool(mig[0]),
    )


def read_toolkit(sources: Sources) -> Toolkit:
    """What is here of what compiling an engine takes."""
    machine = sources.machine
    beside = next((str(machine.root / place) for place in _NVCC_PLACES if (machine.root / place).exists()), None)
    nvcc = sources.which("nvcc") or beside
    sdk = bool(machine.environ.get("VULKAN_SDK"))
    return Toolkit(
        nvcc=parse_nvcc(machine.run((nvcc, "--version")) or "") if nvcc else None,
        rocm=(read_text(machine.root / _ROCM) or "").strip() or None,
        glslc=sdk or sources.which("glslc") is not None,
        vulkan_headers=sdk or any((machine.root / file).exists() for file in _VULKAN_HEADERS),
        compiler=any(sources.which(name) for name in ("c++", "g++", "clang++", "cl")),
    )


def parse_nvcc(text: str) -> str | None:
    """`Cuda compilation tools, release 12.4, V12.4.131`: 12.4."""
    found = _NVCC.search(text)
    return found[1] if found else None


def read_nodes(sources: Sources) -> Nodes:
    """Files that a GPU is reached through, and whether this person may use them."""
    root = sources.machine.root
    kfd = root / "dev/kfd"
    renders = sorted((root / "dev/dri").glob("renderD*"))
    return Nodes(
        kfd=sources.may_use(kfd) if kfd.exists() else None,
        render=all(sources.may_use(node) for node in renders) if renders else None,
        dxg=(root / "dev/dxg").exists(),
        vulkan_drivers=sum(1 for folder in _VULKAN_DRIVERS for _ in (root / folder).glob("*.json")),
    )


def read_versions(sources: Sources, packages: str | None) -> Versions:
    """Versions of what is known to matter beside the engine: firmware of AMD's GPUs; and variables that are set."""
    machine = sources.machine
    query = next((query for manager, query in _FIRMWARE if manager == packages), None)
    found = {}
    if query is not None and (machine.root / "sys/module/amdgpu").exists():
        dated = parse_firmware(machine.run(query) or "")
        if dated is not None:
            found["linux-firmware"] = dated
    return Versions(packages=found, variables=tuple(sorted(machine.environ)))


def parse_firmware(text: str) -> str | None:
    """The date that a firmware package is called by: of `20240318.git3b128b60-0ubuntu2.19` the first eight digits."""
    found = _DATED.search(text)
    return found[1] if found else None
