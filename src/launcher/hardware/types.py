"""The facts about a machine. Unknown is None, never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ENVIRONMENT = "environment"
"""Name of the build of llama.cpp that is installed with the launcher."""

DeviceKind = Literal["gpu", "igpu", "accel"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """The processor, as this process may use it."""

    name: str | None
    """Marketing name, e.g. `AMD EPYC 9575F`."""
    arch: str
    """`x86_64`, `arm64`, ... as `platform.machine()` spells it."""
    n_physical: int | None
    """Physical cores that this process may run on (affinity mask applied)."""
    n_logical: int
    """Logical cores that this process may run on (affinity mask applied)."""
    n_performance: int | None
    """Performance cores, on machines with two kinds (Apple, Intel hybrid); None where all are alike or unknown."""
    quota_cores: float | None
    """CPU time limit of the cgroup in cores; None where there is none."""
    isa: tuple[str, ...]
    """Instruction sets that matter to ggml, in ggml's names: `AVX2`, `AVX512`, `AVX512_VNNI`, `NEON`, ..."""

    @property
    def n_threads(self) -> int:
        """Threads that decode fastest: physical (performance) cores, never more than the quota allows."""
        cores = self.n_performance or self.n_physical or self.n_logical
        if self.quota_cores is not None:
            cores = min(cores, max(1, int(self.quota_cores)))
        return max(1, cores)


@dataclass(frozen=True, kw_only=True, slots=True)
class HostMemory:
    """RAM in bytes. `available_bytes` is what a new process can take without swapping, cgroup limits applied."""

    total_bytes: int
    available_bytes: int
    used_bytes: int
    limit_bytes: int | None
    """The tightest cgroup v1/v2 memory limit above this process; None where none applies."""
    limit_source: str | None
    """The file that said so."""
    swap_total_bytes: int
    bandwidth_bytes_per_s: float | None = None
    """As a profile of another machine states it; on this machine it is measured (`hardware.rates`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A device that the installed engine can compute on (ggml's device list, without the CPU)."""

    name: str
    """ggml's name: `CUDA0`, `ROCm0`, `Vulkan0`, `MTL0`, ..."""
    description: str
    """`NVIDIA GeForce RTX 4090`."""
    backend: str
    """ggml's backend registry name: `CUDA`, `ROCm`, `Vulkan`, `MTL`, ..."""
    kind: DeviceKind
    total_bytes: int
    free_bytes: int
    device_id: str | None
    """PCI address, where ggml tells it."""
    unified: bool
    """Whether its memory is the host's (Apple, integrated GPUs)."""
    compute_capability: str | None = None
    """`8.9`; NVIDIA only."""
    bandwidth_bytes_per_s: float | None = None
    """As a profile of another machine states it."""
    flops: float | None = None
    """Dense f16 operations per second, as a profile of another machine states it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IdleDevice:
    """A GPU that a probe of the machine sees but this engine build cannot use."""

    description: str
    vendor: str
    total_bytes: int | None
    free_bytes: int | None
    probe: str
    """`nvml`, `sysfs`, `device-tree`, `system_profiler`, `cim`, `registry`."""
    reason: str
    """One sentence: why the engine does not use it."""
    remedy: str | None
    """The command that changes that."""
    engine: str | None = None
    """Another build on this machine that can use it: nothing has to be installed then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineBuild:
    """The build of llama.cpp that the devices were read of."""

    version: str | None
    """llama-cpp-python's version."""
    llama_cpp_commit: str | None
    backends: tuple[str, ...]
    """ggml backends compiled in: `CPU`, `CUDA`, ..."""
    supports_rpc: bool | None
    bin_dir: str | None
    """Folder that holds llama-server, llama-bench, ... of the same build; None where not installed."""
    name: str = ENVIRONMENT
    """Of the store's builds, or `environment`: the one that is installed with the launcher."""
    site: str | None = None
    """Folder that holds its `llama_cpp`, to stand in front of the search path; None: the environment's own."""
    made_at: str | None = None
    """When it was made: one that is compiled anew under its name is another one. None: the environment's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherEngine:
    """A build of llama.cpp on this machine beside the one that a record is of."""

    name: str
    backends: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    """ggml's names of what it computes on besides the CPU."""
    left_out: str | None = None
    """Why no plan takes it, in words that go on after a colon; None where plans may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """Everything the planner needs to know about a machine."""

    os: str
    """`Linux`, `Darwin`, `Windows`."""
    cpu: Cpu
    memory: HostMemory
    devices: tuple[Device, ...]
    idle_devices: tuple[IdleDevice, ...]
    engine: EngineBuild
    notes: tuple[str, ...]
    """What could not be read, and why: shown by `gpt-oss hardware`."""
    other_engines: tuple[OtherEngine, ...] = ()
    """The machine's other builds, usable or not; those that were not looked at are not among them."""
