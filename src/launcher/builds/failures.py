"""Why a compilation failed, from what it printed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from launcher.builds.tool_types import Need

_ERROR = re.compile(
    r"\b(?:fatal )?error\b(?: [A-Z]+\d+)?:|^CMake Error|undefined reference|^nvcc fatal|cannot find -l"
    r"|Killed|No space left|#error|^ninja: (?:error|fatal)|^make.*\*\*\*",
    re.IGNORECASE,
)
_EMPTY_CMAKE = re.compile(r"^CMake Error at .*:\d+ \([^)]*\):$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """What is known of a failed compilation."""

    first: str | None
    """The first line that tells of an error."""
    means: str | None
    """What that means, in one sentence, where it is one that is known."""
    need: Need | None = None
    """What a package brings that mends it."""
    fewer_jobs: bool = False
    """Whether fewer compilers at once may go through."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    pattern: re.Pattern[str]
    means: str
    need: Need | None = None
    fewer_jobs: bool = False


def _known(pattern: str, means: str, *, need: Need | None = None, fewer_jobs: bool = False) -> _Known:
    return _Known(pattern=re.compile(pattern, re.IGNORECASE), means=means, need=need, fewer_jobs=fewer_jobs)


_KNOWN = (
    _known(r"No space left on device|not enough space on the disk|disk quota exceeded", "the disk is full"),
    _known(
        r"Killed signal terminated program|died due to signal 9|Killed \(program|\bcc1plus\b.*\bKilled"
        r"|virtual memory exhausted|out of memory allocating|out of heap space",
        "the system ended a compiler for want of memory",
        fewer_jobs=True,
    ),
    _known(
        r"unsupported GNU version|unsupported clang version|unsupported Microsoft Visual Studio version",
        "this CUDA toolkit does not take the C++ compiler that is here; an older one, or a newer toolkit, mends it",
        need="nvidia's cuda toolkit",
    ),
    _known(
        r"No CUDA toolset found",
        "Visual Studio does not know the CUDA toolkit: install CUDA again, with its Visual Studio integration",
        need="cuda toolkit",
    ),
    _known(
        r"Unsupported gpu architecture|unsupported value for --gpu-architecture",
        "this CUDA toolkit does not compile for that architecture",
        need="nvidia's cuda toolkit",
    ),
    _known(
        r"CUDA Toolkit not found|Failed to find nvcc|Could NOT find CUDAToolkit|No CMAKE_CUDA_COMPILER could be found",
        "CMake does not find the CUDA toolkit",
        need="cuda toolkit",
    ),
    _known(
        r"cublas_v2\.h|CUDA::cublas.*not found|target was not found:\s*CUDA::cublas",
        "cuBLAS is not in the CUDA toolkit",
        need="nvidia's cuda toolkit",
    ),
    _known(
        r"cannot find -lcuda\b|CUDA::cuda_driver",
        "there is no NVIDIA driver to link with: `--define GGML_CUDA_NO_VMM=ON` does without",
    ),
    _known(r"Could NOT find Vulkan.*glslc|missing:.*glslc|glslc.*NOTFOUND", "glslc is missing", need="vulkan sdk"),
    _known(r"Could NOT find Vulkan", "the Vulkan headers or libvulkan are missing", need="vulkan sdk"),
    _known(r"SPIRV-Headers", "CMake does not find SPIRV-Headers", need="vulkan sdk"),
    _known(
        r"has no member named|is not a member of .?vk|VK_[A-Z0-9_]+.*was not declared",
        "the Vulkan headers are too old for this llama.cpp",
        need="vulkan sdk",
    ),
    _known(r"At least ROCM/HIP", "this ROCm is too old", need="rocm sdk"),
    _known(r'provided by "(?:hip|hipblas|rocblas)"|hip-config\.cmake', "parts of ROCm are missing", need="rocm sdk"),
    _known(r"lacks SYCL support|unknown argument: '-fsycl'", "the compiler here has no SYCL", need="sycl sdk"),
    _known(r"CMake \d+(?:\.\d+)* or higher is required", "this CMake is too old", need="cmake"),
    _known(
        r"No CMAKE_CX*_COMPILER could be found|No CMAKE_C_COMPILER could be found|CMAKE_CXX_COMPILER not set",
        "CMake finds no compiler",
        need="compiler",
    ),
    _known(r"CMake was unable to find a build program corresponding to", "ninja or make is missing", need="cmake"),
    _known(r"recompile with -fPIC|internal compiler error", "the compiler itself failed; another version may not"),
)


def explain(lines: Iterable[str]) -> Failure:
    """The first line of error, and what is known about one of those that came."""
    kept = [line.rstrip() for line in lines]
    errors = [index for index, line in enumerate(kept) if _ERROR.search(line)]
    first = _telling(kept, errors[0]) if errors else next((line for line in reversed(kept) if line.strip()), None)
    text = "\n".join(kept)
    known = next((each for each in _KNOWN if each.pattern.search(text)), None)
    return Failure(
        first=first.strip()[:300] if first else None,
        means=known.means if known is not None else None,
        need=known.need if known is not None else None,
        fewer_jobs=known is not None and known.fewer_jobs,
    )


def _telling(lines: list[str], index: int) -> str:
    """CMake says where first, and what on a line of its own."""
    if not _EMPTY_CMAKE.match(lines[index]):
        return lines[index]
    return next((line for line in lines[index + 1 : index + 5] if line.strip()), lines[index])
