"""Which system this is, from its own files: distribution, container, WSL."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from launcher.doctor.sources import Sources
from launcher.doctor.types import PackageManager, Platform
from launcher.hardware.seen import read_text
from launcher.hardware.sysfs import read_tegra

_BY_DISTRO: dict[str, PackageManager] = {
    **dict.fromkeys(("debian", "ubuntu", "raspbian", "linuxmint", "pop"), "apt"),
    **dict.fromkeys(("fedora", "rhel", "centos", "rocky", "almalinux", "amzn", "ol"), "dnf"),
    **dict.fromkeys(("suse", "opensuse", "sles", "opensuse-tumbleweed", "opensuse-leap"), "zypper"),
    **dict.fromkeys(("arch", "manjaro", "endeavouros", "cachyos"), "pacman"),
    "alpine": "apk",
}
_REPOSITORIES = ("etc/apt/sources.list.d", "etc/yum.repos.d", "etc/zypp/repos.d")
"""Where repositories of packages are listed; NVIDIA's names its file after CUDA and the system."""
_IN_CGROUP = (("kubepods", "kubernetes"), ("docker", "docker"), ("libpod", "podman"), ("lxc", "lxc"))


def parse_os_release(text: str) -> dict[str, str]:
    """`NAME=value` lines, values quoted as a shell does (man 5 os-release)."""
    values = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.lstrip().startswith("#"):
            with contextlib.suppress(ValueError):  # a quote without its twin
                values[name.strip()] = " ".join(shlex.split(value))
    return values


def package_manager(system: str, release: Mapping[str, str]) -> PackageManager | None:
    """The tool that installs packages there; None for systems that have another way."""
    if system == "Darwin":
        return "brew"
    if system == "Windows":
        return "winget"
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((_BY_DISTRO[name] for name in names if name in _BY_DISTRO), None)


def container_of(root: Path, environ: Mapping[str, str]) -> str | None:
    """The kind of container that this process is in; None outside one."""
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    groups = read_text(root / "proc/1/cgroup") or ""
    found = next((kind for word, kind in _IN_CGROUP if word in groups), None)
    named = environ.get("container")  # systemd's word for it
    if found is None and named:
        found = named if named in {"lxc", "podman", "docker"} else "container"
    return found


def read_platform(sources: Sources) -> Platform:
    """Read what decides which commands are right."""
    machine = sources.machine
    linux = machine.system == "Linux"
    release = parse_os_release(read_text(machine.root / "etc/os-release") or "") if linux else {}
    kernel = read_text(machine.root / "proc/sys/kernel/osrelease") or ""
    cpuinfo = read_text(machine.root / "proc/cpuinfo") or ""
    translated = machine.run(("sysctl", "-n", "sysctl.proc_translated")) if machine.system == "Darwin" else None
    return Platform(
        system=machine.system,
        arch=machine.arch,
        distro=release.get("ID"),
        distro_version=release.get("VERSION_ID"),
        packages=package_manager(machine.system, release),
        container=container_of(machine.root, machine.environ) if linux else None,
        container_id=_container_id(machine.root),
        wsl="microsoft" in kernel.lower(),
        virtual="hypervisor" in cpuinfo.split() if linux and machine.arch == "x86_64" else None,
        translated=(translated or "").strip() == "1",
        is_root=sources.is_root(),
        groups=sources.groups(),
        install=machine.install,
        python=machine.python,
        glibc=sources.glibc() if linux else None,
        jetson=linux and bool(read_tegra(machine.root)),
        nvidia_repository=any(child for folder in _REPOSITORIES for child in (machine.root / folder).glob("cuda-*")),
    )


def _container_id(root: Path) -> str | None:
    """Docker calls the host of a container by the first digits of its id, unless it was told another name."""
    name = (read_text(root / "etc/hostname") or "").strip()
    return name if re.fullmatch(r"[0-9a-f]{12}", name) else None
