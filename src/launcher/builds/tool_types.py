"""What a machine has of what compiling an engine takes, and what is judged to be missing. Nothing here does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CompilerKind = Literal["gcc", "clang", "apple-clang", "msvc"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A program that is here."""

    path: str
    version: str | None
    """None where it told none that can be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiler:
    """A compiler of C++, with the one for C that belongs to it."""

    kind: CompilerKind
    cxx: str
    version: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cuda:
    """A CUDA toolkit."""

    nvcc: Tool
    root: str
    """The toolkit's folder, with `include` and `lib64`."""
    architectures: tuple[int, ...]
    """What it compiles for, as compute capability times ten: 90 is 9.0. Empty where it does not tell."""
    newest_gcc: int | None
    """Major version of the newest g++ that it takes, from its own host_config.h; None where that does not tell."""
    cublas: bool
    """Whether it brings cuBLAS, headers and library. Packages of single parts leave it out."""
    driver_library: bool
    """Whether a libcuda to link with is here, the driver's or the toolkit's stub."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rocm:
    """A ROCm installation."""

    root: str
    version: str | None
    compiler: str | None
    """Its clang, which is HIP's compiler."""
    hipblas: bool
    """Whether hipBLAS and rocBLAS can be compiled against."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VulkanSdk:
    """What compiling for Vulkan takes."""

    glslc: Tool | None
    headers: str | None
    """Version of the Vulkan headers."""
    layer_settings: bool
    """Whether they declare VK_EXT_layer_settings, which llama.cpp does not do without; those of Debian 12 (1.3.239) do
    not."""
    loader: bool
    """Whether libvulkan can be linked with."""
    spirv_headers: bool
    """Whether CMake finds SPIRV-Headers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sycl:
    """Intel's oneAPI compiler."""

    icpx: Tool | None
    """None where oneAPI is installed and its variables are not set in this shell."""
    setvars: str | None
    """The script that sets them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolchain:
    """What is here. Everything that is missing is None or empty."""

    system: str
    """`Linux`, `Darwin`, `Windows`."""
    arch: str
    compilers: tuple[Compiler, ...]
    """The one that CMake would take first; further ones may serve a CUDA toolkit that does not take it."""
    cmake: Tool | None
    ninja: Tool | None
    make: Tool | None
    pip: tuple[str, ...]
    """The command that stands for pip; empty where there is none."""
    ccache: bool
    cuda: Cuda | None
    rocm: Rocm | None
    vulkan: VulkanSdk | None
    sycl: Sycl | None
    gpu_architectures: tuple[int, ...]
    """Of the NVIDIA GPUs here, as compute capability times ten."""
    gfx_targets: tuple[str, ...]
    """Of the AMD GPUs here: `gfx1100`."""

    @property
    def compiler(self) -> Compiler | None:
        """The one that CMake takes by itself."""
        return self.compilers[0] if self.compilers else None


Need = Literal[
    "compiler",
    "cmake",
    "pip",
    "cuda toolkit",
    "nvidia's cuda toolkit",
    "rocm sdk",
    "sycl sdk",
    "vulkan sdk",
]
"""What a package can bring; a part of `hardware.packages.Need`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Why a backend cannot be compiled here as things are."""

    what: str
    """One sentence: `nvcc, the compiler of CUDA, is not here`."""
    need: Need | None = None
    """What a package brings that mends it."""
    remedy: str | None = None
    """The command that mends it, where that is no package of `need`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a backend can be compiled here."""

    troubles: tuple[Trouble, ...]
    """Empty: it can."""
    notes: tuple[str, ...]
    """What a person should know before."""

    @property
    def possible(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.troubles
