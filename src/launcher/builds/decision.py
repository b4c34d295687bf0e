"""What is known of a machine, what is wished for, and what is decided about the engine that it should get. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from launcher.builds.shelf import Archive, Target, Version
from launcher.builds.tool_types import Verdict
from launcher.builds.types import Backend, Build
from launcher.hardware.packages import Need
from launcher.hardware.seen import INTEL_INTEGRATED, SeenGpu
from launcher.units import GIB

How = Literal["build", "prebuilt"]
Do = Literal["build", "prebuilt", "packages", "nothing"]

TITLES: Mapping[Backend, str] = {
    "cpu": "the CPU",
    "cuda": "CUDA",
    "vulkan": "Vulkan",
    "rocm": "ROCm",
    "metal": "Metal",
    "sycl": "SYCL",
}
SMALLEST_GPU_BYTES = 3 * GIB
"""Of a GPU with less, llama.cpp's buffers and the screen leave nothing for a model of these sizes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a decision looks at. None is what is not known."""

    target: Target
    gpus: tuple[SeenGpu, ...]
    """All that the machine has, used or not."""
    driver_cuda: Version | None
    """The newest CUDA that NVIDIA's driver knows."""
    tegra: bool
    """An NVIDIA Jetson, whose CUDA is its own."""
    vulkan_driver: bool | None
    """Whether a driver for Vulkan is installed; known on Linux only."""
    missing_isa: tuple[str, ...]
    """Instruction sets of the CPU that the environment's engine does not use."""
    own: frozenset[Backend]
    """Backends of the environment's engine; none where it cannot run here."""
    own_version: str | None
    builds: tuple[Build, ...]
    """Of the store."""
    verdicts: Mapping[Backend, Verdict]
    """Whether each can be compiled here."""
    packages: Mapping[Need, str | None]
    """What to type for what is missing; None where this system has no package of it."""

    def best_gpu(self) -> SeenGpu | None:
        """The one that an engine is chosen for; None where there is none worth it."""
        large = [gpu for gpu in self.gpus if gpu.total_bytes is None or gpu.total_bytes >= SMALLEST_GPU_BYTES]
        return min(large, key=_rank) if large else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was asked for."""

    version: str
    """llama-cpp-python's."""
    backend: Backend | None = None
    """None: the best for this machine."""
    how: How | None = None
    """None: whatever is possible."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do."""

    do: Do
    """`packages`: something has to be installed first that the launcher does not install."""
    backend: Backend | None
    version: str
    gpu: str | None
    """What it is for."""
    why: str
    """One sentence."""
    archives: tuple[Archive, ...] = ()
    """To be tried in this order."""
    about_bytes: int | None = None
    """To download, roughly; None where nothing large is."""
    missing: tuple[str, ...] = ()
    """What stands in the way, each in one sentence."""
    command: str | None = None
    """What to type, for `packages` and `nothing`."""
    other_way: str | None = None
    """The command that gets the same engine the other way; None where there is none."""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str | None:
        """What the build will be called."""
        return None if self.backend is None else f"{self.backend}-{self.version}"


def _rank(gpu: SeenGpu) -> tuple[int, int, int]:
    """Discrete before integrated, then NVIDIA, AMD and Intel, then by memory."""
    order = {"Apple": 0, "NVIDIA": 1, "AMD": 2, "Intel": 3}
    return (int(is_integrated(gpu)), order[gpu.vendor], -(gpu.total_bytes or 0))


def is_integrated(gpu: SeenGpu) -> bool:
    """Whether it is Intel's graphics in the processor. AMD's cannot be told apart, and may have much memory."""
    return gpu.vendor == "Intel" and gpu.pci_id == INTEL_INTEGRATED
