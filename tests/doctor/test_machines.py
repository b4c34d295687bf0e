"""Kinds of machines: what the doctor finds on each, and the command that it names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.doctor.examine import examine
from launcher.doctor.gather import ask_all, facts_of, machine_probes
from launcher.doctor.types import Check
from launcher.server.registry import process_started_s, save
from launcher.server.types import ServerRecord
from tests.doctor.machines import MACHINES, sources

CUDA = "gpt-oss engine install cuda"
VULKAN = "gpt-oss engine install vulkan"
METAL = "gpt-oss engine install metal"
CPU = "gpt-oss engine install cpu"
PAGE = "xdg-open https://developer.nvidia.com/cuda-downloads"
PIP = 'uv pip install --python "/venv/bin/python" --reinstall --no-deps'
USED = ("gpu", "ok", None)

Line = tuple[str, str, str | None]
"""Name, status and remedy."""

EXPECTED: dict[str, tuple[Line, ...]] = {
    # NVIDIA
    "rtx-4090-cuda": (USED,),
    "rtx-4090-cpu-engine": (("gpu", "fail", CUDA),),
    "rtx-5070-ti-no-toolkit": (("gpu", "fail", CUDA),),
    "rtx-5090-nouveau": (("gpu", "fail", "sudo dnf install akmod-nvidia xorg-x11-drv-nvidia-cuda"),),
    "rtx-5090-closed-modules": (("gpu", "fail", "sudo pacman -S nvidia-open nvidia-utils"),),
    "gtx-1080-ti-cuda-13": (
        ("gpu", "fail", CUDA),
        ("known bad", "warn", "sudo apt install cuda-toolkit-12-9"),
    ),
    "rtx-5080-old-toolkit": (
        ("gpu", "fail", CUDA),
        ("known bad", "warn", PAGE),
    ),
    "tesla-t4-old-driver": (
        ("gpu", "fail", "sudo apt install nvidia-driver"),
        ("driver", "fail", "sudo apt install nvidia-driver"),
    ),
    "two-rtx-3090-driver-545": (USED, USED, ("known bad", "warn", "sudo apt install nvidia-driver-580")),
    "two-rtx-3090-one-off-the-bus": (USED, ("gpu", "fail", "sudo reboot")),
    "two-rtx-6000-ada-p2p": (USED, USED, ("known bad", "warn", "unset GGML_CUDA_P2P")),
    "two-rtx-a5000-one-hidden": (USED, ("gpu", "warn", "unset CUDA_VISIBLE_DEVICES")),
    "h100-mig-slice": (USED,),
    "a100-mig-without-a-slice": (("gpu", "fail", "sudo nvidia-smi mig -cgi 0 -C"),),
    "rtx-3090-driver-was-updated": (("gpu", "fail", "sudo reboot"),),
    "rtx-3060-held-by-another-program": (USED, ("gpu memory", "warn", "kill 4242")),
    "rtx-4090-windows-cpu-engine": (("gpu", "fail", CUDA),),
    "rtx-a4000-on-rocky-8": (("gpu", "fail", PAGE),),
    "rtx-a4000-on-rocky-8-with-nvidias-repository": (
        ("gpu", "fail", f"sudo dnf install gcc-c++ make && sudo dnf install cuda-toolkit-12-8 && {CUDA}"),
    ),
    "gt-1030-beside-a-cpu-engine": (("gpu", "warn", CUDA),),
    # WSL 2 and Jetson
    "wsl2-rtx-5060-ti-cuda-13-2": (
        ("gpu", "fail", CUDA),
        ("known bad", "warn", "sudo apt install cuda-toolkit-13-3"),
    ),
    "wsl2-radeon": (("gpu", "warn", "wsl.exe --update"),),
    "wsl2-8gb": (("memory", "fail", r"cmd.exe /c 'notepad %UserProfile%\.wslconfig'"), USED),
    "jetson-orin": (("gpu", "fail", CUDA),),
    "jetson-orin-without-a-toolkit": (("gpu", "fail", f"sudo apt install nvidia-jetpack && {CUDA}"),),
    "jetson-xavier-without-nvml": (USED,),
    # Containers and virtual machines
    "a10-container-lost-its-gpus": (("gpu", "fail", "docker restart 0123456789ab"),),
    "container-started-without-its-gpu": (("gpu", "fail", "docker run --gpus all IMAGE"),),
    "docker-with-a-limit": (
        ("cpu", "warn", CPU),
        ("memory", "fail", "docker update --memory 16g --memory-swap 16g 0123456789ab"),
        USED,
    ),
    "kubernetes-pod-with-a-limit": (("cpu", "warn", None), ("memory", "fail", None), USED),
    "vm-with-a-basic-processor": (("cpu", "warn", None), USED),
    "gpu-lent-to-a-vm": (USED,),
    # AMD
    "rx-7900-xtx-cpu-engine": (("gpu", "fail", VULKAN),),
    "rx-6600-on-alpine": (
        ("gpu", "fail", f"sudo apk add vulkan-headers vulkan-loader-dev shaderc spirv-headers && {VULKAN}"),
    ),
    "rx-7900-xtx-held-by-another-program": (USED, ("gpu memory", "warn", "kill 4242")),
    "mi50-rocm-without-permission": (("gpu", "fail", 'sudo usermod -aG render "$USER"'),),
    "rx-7900-xtx-without-kfd": (("gpu", "fail", "sudo modprobe amdgpu"),),
    "container-without-amds-devices": (("gpu", "fail", "docker run --device /dev/kfd --device /dev/dri IMAGE"),),
    "strix-halo-rocm": (
        USED,
        (
            "known bad",
            "warn",
            f"sudo dnf install mesa-vulkan-drivers && {VULKAN} && gpt-oss engine use vulkan-0.3.36",
        ),
        ("known bad", "warn", "sudo dnf upgrade amd-gpu-firmware"),
    ),
    "ryzen-apu-without-vulkan-driver": (("gpu", "fail", "sudo apt install mesa-vulkan-drivers"),),
    # Intel
    "arc-b580-cpu-engine": (("gpu", "fail", f"sudo apt install mesa-vulkan-drivers && {VULKAN}"),),
    "arc-a770-windows": (
        USED,
        ("known bad", "warn", "start https://www.intel.com/content/www/us/en/download/785597/"),
    ),
    "laptop-intel-graphics": (("memory", "warn", "ps -eo rss,pid,comm --sort=-rss | head"), ("gpu", "warn", VULKAN)),
    # Apple
    "mac-m1-max": (USED,),
    "mac-m3-ultra-cpu-engine": (("gpu", "fail", METAL),),
    "mac-python-under-rosetta": (
        ("cpu", "fail", "arch -arm64 uv venv --clear --python cpython-3.12-macos-aarch64 && uv sync"),
        ("gpu", "fail", None),
    ),
    "mac-intel-radeon": (USED, USED),
    # No GPU
    "server-without-gpu": (("cpu", "warn", CPU), USED),
    "engine-for-another-processor": (("engine", "fail", CPU), USED),
    "no-engine-no-compiler": (
        ("engine", "fail", f'sudo apt install build-essential && {PIP} "llama-cpp-python==0.3.36"'),
        USED,
    ),
}
"""Lines that are not ok, and those of GPUs."""

WHY = {
    "rtx-a4000-on-rocky-8": "set that up as the page says, then `gpt-oss engine install cuda`",
    "rtx-5090-nouveau": "nouveau drives it",
    "rtx-5090-closed-modules": "open kernel modules",
    "tesla-t4-old-driver": "needs a driver from 525 on",
    "a100-mig-without-a-slice": "no slice of it",
    "rtx-3090-driver-was-updated": "the driver was updated while the old one is loaded",
    "two-rtx-3090-one-off-the-bus": "fallen off the bus",
    "a10-container-lost-its-gpus": "when the host's systemd reloads",
    "rx-7900-xtx-without-kfd": "no /dev/kfd",
    "container-without-amds-devices": "started without it",
    "wsl2-8gb": "half of the machine's RAM",
    "docker-with-a-limit": "the limit, not the machine, is too small",
    "mi50-rocm-without-permission": "may not use /dev/kfd",
    "ryzen-apu-without-vulkan-driver": "no Vulkan driver is installed",
    "laptop-intel-graphics": "decoding gains little",
    "two-rtx-6000-ada-p2p": "0 switches it on as well",
    "vm-with-a-basic-processor": "-cpu host",
}
HOST = frozenset({"cpu", "memory", "swap", "engine", "gpu", "driver", "toolkits", "gpu memory", "known bad"})


def examined(name: str, root: Path) -> list[Check]:
    """The lines about the machine itself, without disk, hub and port."""
    source = sources(name, root)
    facts = facts_of(source, ask_all(machine_probes(source)))
    assert facts.missing == {}
    return [check for check in examine(facts) if check.name in HOST]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_kind_of_machine(name: str, tmp_path: Path) -> None:
    checks = examined(name, tmp_path)
    found = tuple((c.name, c.status, c.remedy) for c in checks if c.status != "ok" or c.name == "gpu")
    assert found == EXPECTED[name]
    told = " ".join(check.why or "" for check in checks)
    assert WHY.get(name, "") in told


def test_every_machine_is_in_the_table_and_says_where_it_is_from() -> None:
    assert set(MACHINES) == set(EXPECTED)
    assert len(MACHINES) >= 20
    assert all(machine["from"] for machine in MACHINES.values())
    assert set(WHY) <= set(EXPECTED)


def test_a_slice_of_a_gpu_is_called_one(tmp_path: Path) -> None:
    (gpu,) = [check for check in examined("h100-mig-slice", tmp_path) if check.name == "gpu"]
    assert gpu.what.endswith("a slice of 79.6 GiB (MIG)")


def test_a_gpu_of_a_virtual_machine_is_not_missed(tmp_path: Path) -> None:
    (gpu,) = [check for check in examined("gpu-lent-to-a-vm", tmp_path) if check.name == "gpu"]
    assert gpu.what.endswith("is set aside for a virtual machine (vfio-pci)")


def test_memory_that_an_own_server_holds_is_no_strangers(tmp_path: Path) -> None:
    pid = os.getpid()
    started_s = process_started_s(pid)
    assert started_s is not None
    record = ServerRecord(
        pid=pid,
        pid_started_s=started_s,
        host="127.0.0.1",
        port=8087,
        model="gpt-oss-20b",
        file="a.gguf",
        n_ctx=4096,
        n_parallel=1,
        started_at="2026-11-01T00:00:00+00:00",
        log_path=tmp_path / "log",
        server_pid=4242,
    )
    save(tmp_path / "state", record)
    (held,) = [check for check in examined("rtx-3060-held-by-another-program", tmp_path) if check.name == "gpu memory"]
    assert held.status == "ok"
    assert held.what.endswith("your server on port 8087")
    assert held.data["holders"][0]["own"] is True


def test_equal_gpus_with_one_fault_are_one_line(tmp_path: Path) -> None:
    (gpu,) = [check for check in examined("mi50-rocm-without-permission", tmp_path) if check.name == "gpu"]
    assert gpu.what.startswith("2 x AMD GPU [1002:66a1]")
