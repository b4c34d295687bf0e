"""NVIDIA GPUs through NVML, the driver's own management library: no CUDA context, so no memory is taken by asking."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from launcher.hardware.seen import SeenGpu, normalise_pci_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Kernel module on Linux; the paravirtual GPU device and its libraries under WSL 2.
_DRIVER_FILES = ("proc/driver/nvidia/version", "dev/nvidiactl", "usr/lib/wsl/lib/libnvidia-ml.so.1")


def load_nvml() -> Any:
    """The nvidia-ml-py module. Imported only where a driver is there: it costs 30 ms."""
    import pynvml

    return pynvml


def driver_present(root: Path, system: str) -> bool:
    """Whether asking NVML can succeed: on Linux by the driver's files, elsewhere NVML itself has to say."""
    if system == "Linux":
        return any((root / file).exists() for file in _DRIVER_FILES)
    return system == "Windows"


def read_gpus(load: Callable[[], Any] = load_nvml) -> tuple[tuple[SeenGpu, ...], tuple[str, ...]]:
    """Every GPU that NVML shows, and what it refused to tell. `load` gives the pynvml module.

    Integrated GPUs (GB10) have no memory of their own: their amounts are None.
    """
    nvml = load()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return (), (f"NVML: {error}",)
    try:
        driver = ask(nvml, nvml.nvmlSystemGetDriverVersion)
        gpus = []
        notes = []
        for index in range(ask(nvml, nvml.nvmlDeviceGetCount) or 0):
            handle = ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is None:
                notes.append(f"NVML: GPU {index} does not answer (fallen off the bus, or no permission)")
                continue
            gpus.append(_read_gpu(nvml, handle, driver))
    finally:
        nvml.nvmlShutdown()
    return tuple(gpus), tuple(notes)


def _read_gpu(nvml: Any, handle: Any, driver: Any) -> SeenGpu:
    memory = ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    capability = ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    pci = ask(nvml, nvml.nvmlDeviceGetPciInfo, handle)
    return SeenGpu(
        description=text_of(ask(nvml, nvml.nvmlDeviceGetName, handle)) or "NVIDIA GPU",
        vendor="NVIDIA",
        probe="nvml",
        pci_id=normalise_pci_id(text_of(pci.busId) or "") if pci is not None else None,
        total_bytes=int(memory.total) if memory is not None else None,
        free_bytes=int(memory.free) if memory is not None else None,
        compute_capability="{}.{}".format(*capability) if capability is not None else None,
        driver=text_of(driver),
    )


class OpenGpu:
    """A GPU while NVML is open, to be asked often. Every answer is None where the GPU or its driver has none."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def energy_j(self) -> float | None:
        """Since the driver was loaded (GPUs from Volta on)."""
        return self._thousandths(self._nvml.nvmlDeviceGetTotalEnergyConsumption)

    def power_w(self) -> float | None:
        """Of the moment, or of the last second (GPUs from Ampere on)."""
        return self._thousandths(self._nvml.nvmlDeviceGetPowerUsage)

    def used_bytes(self) -> int | None:
        """Of all processes together, and what the driver keeps."""
        memory = ask(self._nvml, self._nvml.nvmlDeviceGetMemoryInfo, self._handle)
        return None if memory is None else int(memory.used)

    def bytes_by_process(self) -> dict[int, int]:
        """By process id as the driver knows it, which in a container is the host's; empty where it does not tell."""
        found: dict[int, int] = {}
        # What computes through CUDA is in one list, through Vulkan in the other, and through both in both.
        for listed in (
            self._nvml.nvmlDeviceGetComputeRunningProcesses,
            self._nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            for process in ask(self._nvml, listed, self._handle) or ():
                if process.usedGpuMemory is not None:
                    found[process.pid] = max(found.get(process.pid, 0), int(process.usedGpuMemory))
        return found

    def _thousandths(self, function: Any) -> float | None:
        value = ask(self._nvml, function, self._handle)
        return None if value is None else value / 1e3


@contextmanager
def open_gpus(load: Callable[[], Any] = load_nvml) -> Iterator[dict[str, OpenGpu]]:
    """Keep NVML open, and its GPUs by PCI address as ggml writes it. None of them where NVML does not start."""
    try:
        nvml = load()
    except ImportError:
        yield {}
        return
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield {}
        return
    try:
        found = {}
        for index in range(ask(nvml, nvml.nvmlDeviceGetCount) or 0):
            handle = ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
            pci = None if handle is None else ask(nvml, nvml.nvmlDeviceGetPciInfo, handle)
            pci_id = None if pci is None else normalise_pci_id(text_of(pci.busId) or "")
            if pci_id is not None:
                found[pci_id] = OpenGpu(nvml, handle)
        yield found
    finally:
        nvml.nvmlShutdown()


def ask(nvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """One NVML call; None where this GPU or driver does not support it."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def text_of(value: Any) -> str | None:
    """NVML answered bytes until 2022."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if value is None else str(value)
