"""Commands that mend something, for the system and the way of installing that are here. Pure."""

from __future__ import annotations

import re
from typing import Literal

from launcher.doctor.types import PackageManager, Platform
from launcher.hardware.match import rebuild_command

Need = Literal["cuda toolkit", "nvidia's cuda toolkit", "vulkan sdk", "vulkan driver", "compiler", "nvidia driver"]

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
    "vulkan sdk": {
        "apt": "libvulkan-dev glslc spirv-headers",
        "dnf": "vulkan-headers vulkan-loader-devel glslc spirv-headers-devel",
        "zypper": "vulkan-devel shaderc spirv-headers",
        "pacman": "vulkan-headers vulkan-icd-loader shaderc spirv-headers",
        "apk": "vulkan-headers vulkan-loader-dev shaderc spirv-headers",
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


def rebuild(option: str, *, version: str | None, platform: Platform) -> str:
    """The command that compiles the engine again with a CMake option on."""
    return rebuild_command(
        option, version=version, install=platform.install, system=platform.system, python=platform.python
    )


def reinstall(*, version: str | None, platform: Platform) -> str:
    """The command that installs the engine that this launcher is made for."""
    if platform.install == "checkout":
        return "uv sync --reinstall-package llama-cpp-python"
    pin = f"=={version}" if version else ""
    return f'uv pip install --python "{platform.python}" --reinstall --no-deps "llama-cpp-python{pin}"'


def unset(variable: str, platform: Platform) -> str:
    """The command that takes a variable out of this shell."""
    return f"Remove-Item Env:{variable}" if platform.system == "Windows" else f"unset {variable}"


def reboot(platform: Platform) -> str:
    """The command that starts the machine again."""
    return "shutdown /r /t 0" if platform.system == "Windows" else as_root("reboot", platform)


def version(text: str) -> tuple[int, ...]:
    """`560.35.03` as numbers; what follows the numbers is left out."""
    numbers = []
    for part in text.split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        numbers.append(int(digits[0]))
        if digits[0] != part:
            break
    return tuple(numbers)
