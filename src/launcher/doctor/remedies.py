"""Commands that mend something, for the system and the way of installing that are here. Pure."""

from __future__ import annotations

import re

from launcher.doctor.types import Platform
from launcher.hardware.match import rebuild_command
from launcher.hardware.packages import Need, as_root, install, then

__all__ = ["Need", "as_root", "install", "reboot", "rebuild", "reinstall", "then", "unset", "version"]


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
