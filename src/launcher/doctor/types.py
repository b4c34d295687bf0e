"""Facts that the doctor looks at, and what it makes of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from launcher.hardware.types import HostMemory

Status = Literal["ok", "warn", "fail"]
PackageManager = Literal["apt", "dnf", "zypper", "pacman", "apk", "brew", "winget"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the doctor."""

    name: str
    """What was looked at: `gpu`, `disk space`."""
    status: Status
    what: str
    """What was found, in one sentence."""
    why: str | None = None
    """What that means; None where it is plain."""
    remedy: str | None = None
    """The command that mends it on this machine; None where nothing is wrong, or no command does."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The same as values, for programs. Nothing private is in it."""
    shared: str | None = None
    """What a report to give away tells in place of `what`, where that names programs, places or hosts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """Stands for facts that could not be had: their probe failed, or did not answer in time."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """The system and how the launcher is installed on it: what decides which commands are right."""

    system: str
    """`Linux`, `Darwin`, `Windows`."""
    arch: str
    distro: str | None
    """`ID` of /etc/os-release: `ubuntu`, `fedora`, ..."""
    distro_version: str | None
    packages: PackageManager | None
    container: str | None
    """`docker`, `podman`, `kubernetes`, `lxc`, `container`; None outside one."""
    container_id: str | None
    """Docker's name for it; None where it has another."""
    wsl: bool
    """Whether this Linux runs inside Windows."""
    virtual: bool | None
    """Whether the processor says that it is a virtual machine's."""
    translated: bool
    """Whether this Python is one for Intel on Apple's own processor."""
    is_root: bool
    groups: tuple[str, ...]
    """Groups of this person, by name."""
    install: Literal["checkout", "package"]
    python: str
    glibc: str | None = None
    """Version of the C library, where it is GNU's."""
    nvidia_repository: bool = False
    """Whether packages can be had from NVIDIA's own repository."""
    jetson: bool = False
    """Whether it is an NVIDIA Jetson, whose driver and CUDA are part of its system."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ram:
    """Memory of the host."""

    host: HostMemory
    swap_used_bytes: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """A process that has memory of a GPU."""

    gpu: str
    """The GPU's name."""
    pid: int
    name: str | None
    """The program; None where the system does not tell, as in a container."""
    used_bytes: int
    port: int | None
    """Port of the launcher's own server that it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrmMemory:
    """Who holds memory of AMD's and Intel's GPUs, as the kernel tells it."""

    n_gpus: int
    holders: tuple[Holder, ...] = ()
    used_bytes: int | None = None
    """Bytes in use, as the cards tell; None where none does."""
    n_closed: int = 0
    """Processes that this person may not look into."""
    complete: bool = True
    """Whether all others were looked into in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NvidiaGpu:
    """What NVML tells of a GPU beyond its memory."""

    pci_id: str | None
    name: str
    total_bytes: int | None
    compute_capability: tuple[int, int] | None
    mig: bool | None
    """Whether it is divided (Multi-Instance GPU)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nvidia:
    """What NVML tells."""

    present: bool
    """Whether the driver's files are there at all."""
    driver: str | None
    cuda: str | None
    """Newest CUDA version that the driver can run: `12.6`."""
    gpus: tuple[NvidiaGpu, ...]
    problems: tuple[str, ...]
    holders: tuple[Holder, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolkit:
    """What compiling an engine takes, as far as it is here."""

    nvcc: str | None
    """Version of the CUDA toolkit: `12.4`."""
    rocm: str | None
    glslc: bool
    """The compiler of Vulkan's shaders."""
    vulkan_headers: bool
    compiler: bool
    """A compiler of C++."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """Devices of the kernel that a GPU is reached through; each is None where it is not there."""

    kfd: bool | None
    """Whether this person may use /dev/kfd, which ROCm needs."""
    render: bool | None
    """Whether this person may use /dev/dri/renderD*, which Vulkan, SYCL and ROCm need."""
    dxg: bool
    """Whether Windows passes a GPU through (/dev/dxg)."""
    vulkan_drivers: int
    """Vulkan drivers that are installed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFiles:
    """The installed engine as files: its version beside the one that this launcher is made for, and its tools."""

    wanted: str | None
    """Version of llama-cpp-python that the launcher names; None where its metadata is not there."""
    llama_server: bool
    """Whether a llama-server is here, the engine's own or one on PATH."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """The disk that models lie on."""

    folder: Path
    total_bytes: int
    free_bytes: int
    file_system: str | None
    """`ext4`, `9p`, `nfs4`, ..."""
    n_models: int
    """GGUF files that are in the folder already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskSpeed:
    """How fast the disk reads."""

    read_bytes_per_s: float | None
    read_of: Literal["model", "scratch file"]
    cached: bool
    """Whether the system's cache may have answered in the disk's place."""
    problem: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """One of the launcher's folders, or the hub's cache."""

    role: str
    path: Path
    exists: bool
    writable: bool
    """Whether it may be written, or made."""
    foreign: Path | None
    """Something in it that belongs to somebody else, and that this person may not write."""
    exposed: Path | None
    """Something private in it that everybody may read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """The hub as it answers from here."""

    host: str
    """Name of the host that is asked."""
    is_default: bool
    offline_by: str | None
    """Who says that nothing may be asked: `--offline`, a setting, a variable."""
    problem: str | None
    """Why it can't be reached, or what it refused."""
    hint: str | None
    token_from: str | None
    """`HF_TOKEN`, `hf auth login`; None where there is none."""
    token_accepted: bool | None
    skew_s: float | None
    """The hub's clock less this machine's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """The port that `gpt-oss serve` would listen on."""

    host: str
    port: int
    free: bool
    problem: str | None
    model: str | None
    """What the launcher's own server there serves."""
    holder: str | None
    next_free: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """Versions and variables that are known to matter, by the names of `configs/known_bad.toml`."""

    packages: Mapping[str, str]
    variables: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """The machine's clock."""

    now_s: float
    """Seconds since 1970, UTC."""
