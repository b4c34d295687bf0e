"""Machines for tests: every fact has a plain default, and a test names only those it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.hardware.types import Cpu, Device, EngineBuild, Hardware, HostMemory, IdleDevice
from launcher.units import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

X86_ISA = ("SSE3", "SSSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2")
ARM_ISA = ("NEON", "ARM_FMA", "FP16_VA", "DOTPROD")


def cpu(
    *,
    name: str | None = "AMD Ryzen 7 5800X 8-Core Processor",
    arch: str = "x86_64",
    n_physical: int | None = 8,
    n_logical: int | None = None,
    n_performance: int | None = None,
    quota_cores: float | None = None,
    isa: tuple[str, ...] = X86_ISA,
) -> Cpu:
    """A processor; by default two threads per core."""
    return Cpu(
        name=name,
        arch=arch,
        n_physical=n_physical,
        n_logical=n_logical or 2 * (n_physical or 4),
        n_performance=n_performance,
        quota_cores=quota_cores,
        isa=isa,
    )


def host_memory(
    ram_gib: float = 16.0,
    available_gib: float | None = None,
    *,
    limit_gib: float | None = None,
    swap_gib: float = 0.0,
) -> HostMemory:
    """RAM; by default four fifths of it (or of the limit) are available."""
    total = round(ram_gib * GIB)
    ceiling = min(ram_gib, limit_gib) if limit_gib is not None else ram_gib
    available = round((0.8 * ceiling if available_gib is None else available_gib) * GIB)
    return HostMemory(
        total_bytes=total,
        available_bytes=available,
        used_bytes=total - available,
        limit_bytes=None if limit_gib is None else round(limit_gib * GIB),
        limit_source=None if limit_gib is None else "/sys/fs/cgroup/memory.max",
        swap_total_bytes=round(swap_gib * GIB),
    )


def gpu(
    vram_gib: float = 24.0,
    free_gib: float | None = None,
    *,
    index: int = 0,
    description: str = "NVIDIA GeForce RTX 4090",
    backend: str = "CUDA",
    unified: bool = False,
    compute_capability: str | None = None,
) -> Device:
    """A device of the engine; by default half a GiB of it is taken by the desktop."""
    free = vram_gib - 0.5 if free_gib is None else free_gib
    discrete = not unified or backend == "MTL"
    return Device(
        name=f"{backend}{index}",
        description=description,
        backend=backend,
        kind="gpu" if discrete else "igpu",
        total_bytes=round(vram_gib * GIB),
        free_bytes=round(free * GIB),
        device_id=None if backend == "MTL" else f"0000:{index + 1:02x}:00.0",
        unified=unified,
        compute_capability=compute_capability or ("8.9" if backend == "CUDA" else None),
    )


def idle_gpu(
    description: str = "NVIDIA GeForce RTX 4090", vram_gib: float | None = 24.0, *, vendor: str = "NVIDIA"
) -> IdleDevice:
    """A GPU that the engine of this machine cannot use."""
    total = None if vram_gib is None else round(vram_gib * GIB)
    return IdleDevice(
        description=description,
        vendor=vendor,
        total_bytes=total,
        free_bytes=total,
        probe="nvml" if vendor == "NVIDIA" else "sysfs",
        reason="this llama.cpp build is CPU-only; an engine with CUDA would use it",
        remedy="gpt-oss engine install cuda",
    )


def engine_build(*backends: str) -> EngineBuild:
    """The engine: by default a CPU-only one, as a plain build is."""
    return EngineBuild(
        version="0.3.36",
        llama_cpp_commit="0c1e570",
        backends=(*backends, "RPC", "CPU"),
        supports_rpc=True,
        bin_dir="/opt/venv/lib/python3.11/site-packages/bin",
    )


def machine(
    *,
    memory: HostMemory | None = None,
    processor: Cpu | None = None,
    devices: Sequence[Device] = (),
    idle: Sequence[IdleDevice] = (),
    os: str = "Linux",
    notes: Sequence[str] = (),
) -> Hardware:
    """Any machine, from its parts."""
    return Hardware(
        os=os,
        cpu=processor or cpu(),
        memory=memory or host_memory(),
        devices=tuple(devices),
        idle_devices=tuple(idle),
        engine=engine_build(*dict.fromkeys(device.backend for device in devices)),
        notes=tuple(notes),
    )


def cpu_machine(
    *,
    ram_gib: float = 16.0,
    available_gib: float | None = None,
    limit_gib: float | None = None,
    n_physical: int = 8,
    isa: tuple[str, ...] = X86_ISA,
    idle: Sequence[IdleDevice] = (),
) -> Hardware:
    """A machine without a GPU that the engine can use. `available_gib` is four fifths of the RAM by default."""
    return machine(
        memory=host_memory(ram_gib, available_gib, limit_gib=limit_gib),
        processor=cpu(n_physical=n_physical, isa=isa),
        idle=idle,
    )


def gpu_machine(
    *,
    vram_gib: float = 24.0,
    vram_free_gib: float | None = None,
    n_gpus: int = 1,
    description: str = "NVIDIA GeForce RTX 4090",
    backend: str = "CUDA",
    ram_gib: float = 64.0,
    available_gib: float | None = None,
    n_physical: int = 8,
) -> Hardware:
    """A machine with one or more equal GPUs with memory of their own."""
    devices = [gpu(vram_gib, vram_free_gib, index=i, description=description, backend=backend) for i in range(n_gpus)]
    return machine(memory=host_memory(ram_gib, available_gib), processor=cpu(n_physical=n_physical), devices=devices)


def apple_machine(
    *,
    ram_gib: float = 64.0,
    available_gib: float | None = None,
    working_set_gib: float | None = None,
    chip: str = "Apple M1 Max",
    n_performance: int = 8,
) -> Hardware:
    """A Mac with Apple's own chip: the GPU may hold three quarters of the RAM by default, and shares it."""
    memory = host_memory(ram_gib, available_gib)
    limit = 0.75 * ram_gib if working_set_gib is None else working_set_gib
    free = min(limit, memory.available_bytes / GIB)
    return machine(
        memory=memory,
        processor=cpu(
            name=chip,
            arch="arm64",
            n_physical=n_performance + 2,
            n_logical=n_performance + 2,
            n_performance=n_performance,
            isa=ARM_ISA,
        ),
        devices=[gpu(limit, free, description=chip, backend="MTL", unified=True)],
        os="Darwin",
    )
