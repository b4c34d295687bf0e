"""Packages that compiling and running an engine takes, by system: what to type to have them. Pure."""

from __future__ import annotations

from typing import Literal, get_args

from launcher.doctor.types import PackageManager, Platform

Need = Literal[
    "compiler",
    "cmake",
    "cuda toolkit",
    "nvidia's cuda toolkit",
    "rocm sdk",
    "sycl sdk",
    "vulkan sdk",
    "vulkan driver",
    "nvidia driver",
    "pip",
]
NEEDS: tuple[Need, ...] = get_args(Need)

_INSTALL: dict[PackageManager, str] = {
    "apt": "apt install",
    "dnf": "dnf install",
    "zypper": "zypper install",
    "pacman": "pacman -S",
    "apk": "apk add",
    "brew": "brew install",
    "winget": "winget install",
}
_PACKAGES: dict[Need, dict[PackageManager, str]] = {
    "cuda toolkit": {
        "apt": "nvidia-cuda-toolkit",
        "dnf": "cuda-toolkit",
        "zypper": "cuda-toolkit",
        "pacman": "cuda",
        "winget": "Nvidia.CUDA",
    },
    # From NVIDIA's repository: https://developer.nvidia.com/cuda-downloads
    "nvidia's cuda toolkit": {
        "apt": "cuda-toolkit-12-8",
        "dnf": "cuda-toolkit-12-8",
        "zypper": "cuda-toolkit-12-8",
        "pacman": "cuda",
        "winget": "Nvidia.CUDA",
    },
    # Debian, Fedora and Arch have ROCm's libraries of their own; elsewhere it comes from AMD's repository.
    "rocm sdk": {
        "apt": "hipcc libhipblas-dev librocblas-dev rocm-device-libs",
        "dnf": "hipcc rocm-hip-devel hipblas-devel rocblas-devel",
        "pacman": "rocm-hip-sdk",
    },
    # From Intel's repository: https://www.intel.com/content/www/us/en/developer/tools/oneapi/base-toolkit.html
    "sycl sdk": {
        "apt": "intel-oneapi-compiler-dpcpp-cpp intel-oneapi-mkl-devel intel-oneapi-dnnl-devel",
        "dnf": "intel-oneapi-compiler-dpcpp-cpp intel-oneapi-mkl-devel intel-oneapi-dnnl-devel",
        "zypper": "intel-oneapi-compiler-dpcpp-cpp intel-oneapi-mkl-devel intel-oneapi-dnnl-devel",
        "pacman": "intel-oneapi-basekit",
        "winget": "Intel.OneAPI.BaseToolkit",
    },
    "vulkan sdk": {
        "apt": "libvulkan-dev glslc spirv-headers",
        "dnf": "vulkan-headers vulkan-loader-devel glslc spirv-headers-devel",
        "zypper": "vulkan-devel shaderc spirv-headers",
        "pacman": "vulkan-headers vulkan-icd-loader shaderc spirv-headers",
        "apk": "vulkan-headers vulkan-loader-dev shaderc spirv-headers",
        "brew": "molten-vk vulkan-headers vulkan-loader shaderc spirv-headers",
        "winget": "KhronosGroup.VulkanSDK",
    },
    "vulkan driver": {
        "apt": "mesa-vulkan-drivers",
        "dnf": "mesa-vulkan-drivers",
        "zypper": "libvulkan_radeon libvulkan_intel",
        "pacman": "vulkan-radeon vulkan-intel",
        "apk": "mesa-vulkan-ati mesa-vulkan-intel",
    },
    "compiler": {
        "apt": "build-essential",
        "dnf": "gcc-c++ make",
        "zypper": "gcc-c++ make",
        "pacman": "base-devel",
        "apk": "build-base",
        "winget": "Microsoft.VisualStudio.2022.BuildTools",
    },
    "cmake": {
        "apt": "cmake ninja-build",
        "dnf": "cmake ninja-build",
        "zypper": "cmake ninja",
        "pacman": "cmake ninja",
        "apk": "cmake samurai",
        "brew": "cmake ninja",
        "winget": "Kitware.CMake",
    },
    "pip": {
        "apt": "python3-pip",
        "dnf": "python3-pip",
        "zypper": "python3-pip",
        "pacman": "python-pip",
        "apk": "py3-pip",
        "brew": "uv",
        "winget": "astral-sh.uv",
    },
    "nvidia driver": {
        "apt": "nvidia-driver",
        "dnf": "akmod-nvidia xorg-x11-drv-nvidia-cuda",
        "zypper": "nvidia-open-driver-G06-signed-kmp-default nvidia-compute-utils-G06",
        "pacman": "nvidia-open nvidia-utils",
    },
}


def install(need: Need, platform: Platform) -> str | None:
    """The command that installs what is needed; None where this system has no packages of it."""
    if need == "compiler" and platform.system == "Darwin":
        return "xcode-select --install"
    if need in {"cuda toolkit", "nvidia's cuda toolkit"} and platform.jetson:
        return as_root("apt install nvidia-jetpack", platform)
    if need == "nvidia driver" and platform.distro == "ubuntu":
        return as_root("ubuntu-drivers install", platform)
    names = _PACKAGES[need].get(platform.packages) if platform.packages is not None else None
    if names is None or platform.packages is None:
        return None
    command = f"{_INSTALL[platform.packages]} {names}"
    return command if platform.packages == "brew" else as_root(command, platform)


def as_root(command: str, platform: Platform) -> str:
    """The command with `sudo` where this person needs it."""
    if platform.is_root or platform.system == "Windows":
        return command
    return f"sudo {command}"


def then(first: str | None, second: str | None, platform: Platform) -> str | None:
    """One command, and the other where it went well."""
    if first is None or second is None:
        return first or second
    return f"{first}; {second}" if platform.system == "Windows" else f"{first} && {second}"
