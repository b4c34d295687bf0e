"""Commands that mend something, for the system and the way of installing that are here. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.doctor.types import Platform, Toolkit
from launcher.hardware.match import install_command
from launcher.hardware.packages import Need, as_root, install, then

__all__ = ["Means", "Need", "as_root", "get_engine", "install", "reboot", "reinstall", "then", "unset", "version"]

CUDA_PAGE = "https://developer.nvidia.com/cuda-downloads"
"""Where NVIDIA tells how its repository of packages is set up."""
_NVIDIAS_OWN = frozenset({"apt", "dnf", "zypper"})
"""Systems on which a package of NVIDIA's own names comes from NVIDIA's repository alone."""
_BLACKWELL = (10, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What an engine can be got with on this machine."""

    platform: Platform
    toolkit: Toolkit | None = None
    """What compiling takes; None where it could not be found out."""
    ready_made: frozenset[str] = frozenset()
    """Backends that a pre-built engine for this machine has, in the words of `gpt-oss engine install`."""
    vulkan_drivers: int | None = None
    """Vulkan drivers that are installed; None where that could not be found out."""


def get_engine(
    backend: str, means: Means, *, capability: tuple[int, ...] = (), toolkit_first: str | None = None
) -> str | None:
    """The command that gets an engine with a backend, after those that install what it takes and is not here.

    Args:
        backend: as `gpt-oss engine install` takes it.
        means: of this machine.
        capability: compute capability of the NVIDIA GPU that it is for.
        toolkit_first: replaces a CUDA toolkit that does not compile for the GPU that is here.
    """
    platform = means.platform
    command: str | None = install_command(backend)
    if backend not in means.ready_made and means.toolkit is not None:
        first = toolkit_first if backend == "cuda" else None
        if first is None:
            first = _tools(backend, means.toolkit, platform, capability)
        if first is not None and CUDA_PAGE in first:
            return first
        command = then(first, command, platform)
        if not means.toolkit.compiler:
            command = then(install("compiler", platform), command, platform)
    if backend == "vulkan" and platform.system == "Linux" and means.vulkan_drivers == 0:
        command = then(install("vulkan driver", platform), command, platform)
    return command


def _tools(backend: str, toolkit: Toolkit, platform: Platform, capability: tuple[int, ...]) -> str | None:
    """The command that installs what compiling a backend takes beside a compiler; None where all of it is here."""
    if backend == "cuda" and toolkit.nvcc is None:
        # Distributions' own packages are older than Blackwell, and bring a driver that WSL must not have.
        own = platform.wsl or capability >= _BLACKWELL or platform.packages in {"dnf", "zypper"}
        return (
            from_nvidia(install("nvidia's cuda toolkit", platform), platform)
            if own
            else install("cuda toolkit", platform)
        )
    if backend == "vulkan" and not (toolkit.glslc and toolkit.vulkan_headers):
        return install("vulkan sdk", platform)
    return None


def from_nvidia(command: str | None, platform: Platform) -> str | None:
    """A command for packages of NVIDIA's repository; where that is not set up, the page that tells how it is."""
    there = platform.nvidia_repository or platform.jetson
    if command is None or platform.packages not in _NVIDIAS_OWN or there:
        return command
    return f"xdg-open {CUDA_PAGE}"


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
