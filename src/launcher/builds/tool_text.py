"""What compilers and build tools print about themselves, read. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from launcher.builds.tool_types import CompilerKind

_NVCC = re.compile(r"release (\d+\.\d+)")
_CMAKE = re.compile(r"cmake version (\d+(?:\.\d+)*)")
_GLSLC = re.compile(r"shaderc v?(\d+(?:\.\d+)*)")
_MSVC = re.compile(r"Compiler Version (\d+(?:\.\d+)*)")
_APPLE = re.compile(r"Apple (?:clang|LLVM) version (\d+(?:\.\d+)*)")
_CLANG = re.compile(r"clang version (\d+(?:\.\d+)*)")
_ICPX = re.compile(r"oneAPI DPC\+\+/C\+\+ Compiler (\d+(?:\.\d+)*)")
_GNU_LAST = re.compile(r"(\d+\.\d+(?:\.\d+)?)(?: \d{8})?(?: \([^)]*\))?\s*$")
_GNU_BRACKETS = re.compile(r"\([^)]*\)\s+(\d+(?:\.\d+)*)")
_NUMBER = re.compile(r"\d+(?:\.\d+)+")
_ARCHITECTURE = re.compile(r"compute_(\d+)[a-z]?\b")
_NEWEST_GCC = re.compile(r"#if\s+__GNUC__\s*>\s*(\d+)")
_VULKAN_HEADER = re.compile(r"#define\s+VK_HEADER_VERSION\s+(\d+)")
_VULKAN_COMPLETE = re.compile(r"#define\s+VK_HEADER_VERSION_COMPLETE\s+VK_MAKE_API_VERSION\(\s*\d+,\s*(\d+),\s*(\d+),")
_GFX = re.compile(r"^gfx_target_version\s+(\d+)$", re.MULTILINE)


def parse_nvcc(text: str) -> str | None:
    """`Cuda compilation tools, release 12.4, V12.4.131`: 12.4."""
    return _first(_NVCC, text)


def parse_architectures(text: str) -> tuple[int, ...]:
    """`nvcc --list-gpu-arch`: one `compute_90` a line, as 90, sorted. Toolkits before 11.0 know no such option."""
    return tuple(sorted({int(found) for found in _ARCHITECTURE.findall(text)}))


def parse_newest_gcc(text: str) -> int | None:
    """The limit that a toolkit's crt/host_config.h sets: `#if __GNUC__ > 15` is 15."""
    found = _first(_NEWEST_GCC, text)
    return int(found) if found else None


def parse_cmake(text: str) -> str | None:
    """`cmake version 3.25.1`: 3.25.1."""
    return _first(_CMAKE, text)


def parse_number(text: str) -> str | None:
    """The first version that a program prints: ninja, hipconfig and make say little else."""
    found = _NUMBER.search(text)
    return found[0] if found else None


def parse_glslc(text: str) -> str | None:
    """`shaderc v2023.2 v2023.2`: 2023.2."""
    return _first(_GLSLC, text)


def parse_icpx(text: str) -> str | None:
    """`Intel(R) oneAPI DPC++/C++ Compiler 2025.0.4 (2025.0.4.20241205)`: 2025.0.4."""
    return _first(_ICPX, text)


def parse_compiler(text: str) -> tuple[CompilerKind, str | None] | None:
    """Kind and version from what `--version` prints, or `cl` without arguments; None where it is neither.

    GNU compilers are called by the file that was started (`g++-13`, `c++`), so they are told by whose they are.
    """
    for kind, pattern in (("msvc", _MSVC), ("apple-clang", _APPLE), ("clang", _CLANG)):
        found = _first(pattern, text)
        if found:
            named: CompilerKind = "msvc" if kind == "msvc" else "apple-clang" if kind == "apple-clang" else "clang"
            return named, found
    if "Free Software Foundation" not in text:
        return None
    line = text.splitlines()[0]
    return "gcc", _first(_GNU_BRACKETS, line) or _first(_GNU_LAST, line)


def parse_vswhere(text: str) -> str | None:
    """Version of Visual Studio with tools for C++, from `vswhere -format json`; None where it lists none."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return None
    first = found[0] if isinstance(found, list) and found else None
    version = first.get("installationVersion") if isinstance(first, dict) else None
    return version if isinstance(version, str) else None


def parse_vulkan_core(text: str) -> str | None:
    """Version of the Vulkan headers, from vulkan_core.h: 1.3.239."""
    patch, complete = _first(_VULKAN_HEADER, text), _VULKAN_COMPLETE.search(text)
    return f"{complete[1]}.{complete[2]}.{patch}" if patch and complete else None


def parse_gfx(properties: str) -> str | None:
    """The target of an AMD GPU, from its node of the kernel's topology: `gfx_target_version 90010` is gfx90a.

    Major, minor and stepping are two decimal digits each, and the last two of the name are hexadecimal (the kernel's
    kfd_topology.c, `gfx_target_version`). CPUs are nodes too, with zero.
    """
    number = int(_first(_GFX, properties) or 0)
    return f"gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}" if number else None


def numbers(version: str | None) -> tuple[int, ...]:
    """`12.4` as (12, 4), to compare; empty where it is not known."""
    return tuple(int(part) for part in re.findall(r"\d+", version or "")[:4])


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found else None
