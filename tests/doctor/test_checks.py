"""Judgements on what is around the machine: disk, folders, hub, port, clock; and the engine's version."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.doctor.checks_host import check_engine, check_memory, check_swap
from launcher.doctor.checks_place import (
    RELEASED,
    check_clock,
    check_disk,
    check_folders,
    check_hub,
    check_port,
    check_speed,
)
from launcher.doctor.known import Present, check_known, parse_known
from launcher.doctor.remedies import Means, get_engine
from launcher.doctor.report import shared_json, shared_text
from launcher.doctor.types import (
    Check,
    Clock,
    Disk,
    DiskSpeed,
    EngineFiles,
    Folder,
    Hub,
    Platform,
    Port,
    Ram,
    Toolkit,
)
from launcher.units import GIB
from tests.builders import host_memory
from tests.doctor.machines import NOW_S
from tests.hardware.test_match import listed, report

LINUX = Platform(
    system="Linux",
    arch="x86_64",
    distro="ubuntu",
    distro_version="24.04",
    packages="apt",
    container=None,
    container_id=None,
    wsl=False,
    virtual=False,
    translated=False,
    is_root=False,
    groups=(),
    install="checkout",
    python="/venv/bin/python",
)
MAC = replace(LINUX, system="Darwin", packages="brew", distro=None)
WINDOWS = replace(LINUX, system="Windows", packages="winget", distro=None)
WSL = replace(LINUX, wsl=True)
TOOLKIT = Toolkit(nvcc=None, rocm=None, glslc=False, vulkan_headers=False, compiler=True)
MEANS = Means(platform=LINUX, toolkit=TOOLKIT)


def line(checks: tuple[Check, ...]) -> tuple[str, str | None]:
    """Status and command of the only line."""
    (check,) = checks
    return check.status, check.remedy


def disk(free_gib: float = 100, n_models: int = 0, file_system: str = "ext4") -> Disk:
    return Disk(
        folder=Path("/home/ann/.cache/huggingface/hub"),
        total_bytes=500 * GIB,
        free_bytes=round(free_gib * GIB),
        file_system=file_system,
        n_models=n_models,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (disk(), ("ok", None)),
        (disk(13), ("fail", "HF_HOME=/folder/on/a/larger/disk gpt-oss pull 20b")),
        (disk(3, n_models=1), ("ok", None)),
        (disk(1, n_models=1), ("warn", "gpt-oss models prune")),
    ],
)
def test_room_on_the_disk(found: Disk, expected: tuple[str, str | None]) -> None:
    assert line(check_disk(found, LINUX)) == expected


def speed(rate: float | None, **changes: Any) -> DiskSpeed:
    facts: dict[str, Any] = {"read_bytes_per_s": rate, "read_of": "model", "cached": False, "problem": None}
    return DiskSpeed(**facts | changes)


def test_how_fast_the_disk_is() -> None:
    (fast,) = check_speed(speed(3e9), disk())
    assert fast.status == "ok"
    assert fast.what == "reads 3000 MB/s (model): gpt-oss-20b in 4.0 s"
    (slow,) = check_speed(speed(40e6), disk(file_system="9p"))
    assert slow.status == "warn"
    assert slow.why is not None
    assert slow.why.startswith("the folder is on 9p, a file system of another machine or of Windows")
    (none,) = check_speed(speed(None, problem="Permission denied"), None)
    assert (none.status, none.what) == ("warn", "not measured: Permission denied")


def folder(**changes: Any) -> Folder:
    path = Path("/home/ann/.local/state/it's")
    facts: dict[str, Any] = {"role": "state", "path": path, "exists": True, "writable": True}
    return Folder(**facts | {"foreign": None, "exposed": None} | changes)


def test_folders() -> None:
    own = """sudo chown -R "$USER" '/home/ann/.local/state/it'"'"'s'"""
    assert line(check_folders([folder(), folder(role="cache")], LINUX)) == ("ok", None)
    assert line(check_folders([folder(writable=False)], LINUX)) == ("fail", own)
    assert line(check_folders([folder(foreign=Path("/home/ann/x"))], LINUX)) == ("fail", own)
    assert line(check_folders([folder(exposed=Path("/home/ann/token"))], LINUX)) == (
        "warn",
        "chmod 600 /home/ann/token",
    )
    status, remedy = line(check_folders([folder(writable=False)], WINDOWS))
    assert status == "fail"
    assert str(remedy).startswith("icacls ")


def hub(**changes: Any) -> Hub:
    facts: dict[str, Any] = {"host": "huggingface.co", "is_default": True, "offline_by": None, "problem": None}
    facts |= {"hint": None, "token_from": None, "token_accepted": None, "skew_s": None}
    return Hub(**facts | changes)


def test_the_hub() -> None:
    away = hub(problem="no connection to huggingface.co: no answer within 4 s", hint="gpt-oss chat --demo")
    found = {
        "answers": check_hub(hub(), disk()),
        "away": check_hub(away, disk()),
        "away, with a model": check_hub(away, disk(n_models=1)),
        "away, disk unknown": check_hub(away, None),
        "offline": check_hub(hub(offline_by="--offline"), disk()),
        "refused token": check_hub(hub(problem="x", token_from="HF_TOKEN", token_accepted=False), disk()),
    }
    assert {name: [check.status for check in checks] for name, checks in found.items()} == {
        "answers": ["ok", "ok"],
        "away": ["fail", "ok"],
        "away, with a model": ["warn", "ok"],
        "away, disk unknown": ["fail", "ok"],
        "offline": ["ok", "ok"],
        "refused token": ["ok", "fail"],
    }
    assert found["offline"][0].what == "not asked (--offline)"
    assert found["refused token"][1].remedy == "unset HF_TOKEN"


def test_the_port() -> None:
    facts: dict[str, Any] = {"host": "127.0.0.1", "port": 8080, "free": False, "problem": None}
    facts |= {"model": None, "holder": None, "next_free": None}
    assert line(check_port(Port(**facts | {"free": True}))) == ("ok", None)
    assert line(check_port(Port(**facts | {"model": "gpt-oss-20b"}))) == ("ok", None)
    taken = Port(**facts | {"holder": "nginx (pid 7)", "next_free": 8081})
    assert line(check_port(taken)) == ("warn", "gpt-oss serve --port 8081")
    (check,) = check_port(taken)
    assert check.what == "127.0.0.1:8080 is taken by nginx (pid 7)"
    assert check.shared == "port 8080 is taken"
    assert line(check_port(Port(**facts | {"problem": "no address"})))[0] == "warn"


@pytest.mark.parametrize(
    ("now_s", "skew_s", "platform", "expected"),
    [
        (NOW_S, None, LINUX, ("ok", None)),
        (NOW_S, 299, LINUX, ("ok", None)),
        (NOW_S, -301, LINUX, ("warn", "sudo timedatectl set-ntp true")),
        (RELEASED.timestamp() - 1, None, LINUX, ("fail", "sudo timedatectl set-ntp true")),
        (0, None, MAC, ("fail", "sudo sntp -sS time.apple.com")),
        (0, None, WINDOWS, ("fail", "w32tm /resync")),
        (0, None, WSL, ("fail", "sudo hwclock -s")),
        (0, None, replace(LINUX, container="docker"), ("fail", None)),
    ],
)
def test_the_clock(now_s: float, skew_s: float | None, platform: Platform, expected: tuple[str, str | None]) -> None:
    assert line(check_clock(Clock(now_s=now_s), hub(skew_s=skew_s), platform)) == expected


def test_memory_just_enough_and_just_too_little() -> None:
    """A laptop of 16 GB, of which the planner needs 11.6 GiB and leaves half a GiB free."""
    enough = Ram(host=host_memory(15.5, 12.2), swap_used_bytes=None)
    assert line(check_memory(enough, None, LINUX)) == ("ok", None)
    short = replace(enough, host=host_memory(15.5, 12.0))
    assert line(check_memory(short, None, LINUX))[0] == "warn"
    assert line(check_memory(short, report(listed(free_bytes=GIB)), LINUX)) == ("ok", None)
    small = replace(enough, host=host_memory(8, 6))
    assert line(check_memory(small, None, MAC)) == ("fail", "gpt-oss plan --what-if")


def test_a_swap_that_is_in_use_beside_little_ram() -> None:
    full = Ram(host=host_memory(16, 2, swap_gib=8), swap_used_bytes=6 * GIB)
    assert line(check_swap(full, LINUX))[0] == "warn"
    assert line(check_swap(replace(full, host=host_memory(64, 40, swap_gib=8)), LINUX)) == ("ok", None)
    assert line(check_swap(replace(full, swap_used_bytes=None), MAC)) == ("ok", None)
    assert line(check_swap(Ram(host=host_memory(16), swap_used_bytes=0), LINUX)) == ("ok", None)


def test_an_engine_of_another_version_and_one_without_a_server() -> None:
    engine = report()
    fine = EngineFiles(wanted="0.3.36", llama_server=True)
    assert line(check_engine(engine, fine, MEANS)) == ("ok", None)
    other = check_engine(engine, replace(fine, wanted="0.3.40"), MEANS)
    assert line(other) == ("fail", "uv sync --reinstall-package llama-cpp-python")
    bare = replace(fine, llama_server=False)
    assert line(check_engine(engine, bare, MEANS)) == (
        "warn",
        "uv sync --reinstall-package llama-cpp-python --no-cache",
    )
    package = replace(MEANS, platform=replace(LINUX, install="package"))
    use = "gpt-oss engine use"
    assert line(check_engine(engine, bare, package)) == (
        "warn",
        f"gpt-oss engine install cpu && {use} cpu-0.3.36",
    )
    metal = report(backends=("MTL", "BLAS"))
    assert line(check_engine(metal, bare, package)) == (
        "warn",
        f"gpt-oss engine install metal && {use} metal-0.3.36",
    )


# --- How an engine is got ---


INSTALL = "gpt-oss engine install"
CUDA, VULKAN = f"{INSTALL} cuda", f"{INSTALL} vulkan"
BARE = Toolkit(nvcc=None, rocm=None, glslc=False, vulkan_headers=False, compiler=False)


@pytest.mark.parametrize(
    ("backend", "means", "capability", "command"),
    [
        ("cuda", MEANS, (8, 6), "sudo apt install nvidia-cuda-toolkit && gpt-oss engine install cuda"),
        ("cuda", MEANS, (12, 0), "xdg-open https://developer.nvidia.com/cuda-downloads"),
        (
            "cuda",
            replace(MEANS, platform=replace(LINUX, nvidia_repository=True)),
            (12, 0),
            "sudo apt install cuda-toolkit-12-8 && gpt-oss engine install cuda",
        ),
        ("cuda", replace(MEANS, platform=WSL), (8, 6), "xdg-open https://developer.nvidia.com/cuda-downloads"),
        ("cuda", replace(MEANS, ready_made=frozenset({"cuda"})), (12, 0), CUDA),
        ("cuda", replace(MEANS, toolkit=replace(TOOLKIT, nvcc="12.8")), (12, 0), CUDA),
        (
            "cuda",
            replace(MEANS, platform=WINDOWS, toolkit=BARE),
            (12, 0),
            "winget install Microsoft.VisualStudio.2022.BuildTools; winget install Nvidia.CUDA; " + CUDA,
        ),
        (
            "vulkan",
            replace(MEANS, vulkan_drivers=0),
            (),
            f"sudo apt install mesa-vulkan-drivers && sudo apt install libvulkan-dev glslc spirv-headers && {VULKAN}",
        ),
        ("vulkan", replace(MEANS, ready_made=frozenset({"vulkan"}), vulkan_drivers=1), (), VULKAN),
        ("metal", replace(MEANS, platform=MAC, toolkit=BARE), (), f"xcode-select --install && {INSTALL} metal"),
        ("cpu", MEANS, (), f"{INSTALL} cpu"),
        ("cpu", replace(MEANS, toolkit=BARE), (), "sudo apt install build-essential && gpt-oss engine install cpu"),
        ("cpu", replace(MEANS, toolkit=None), (), f"{INSTALL} cpu"),
    ],
)  # fmt: skip
def test_an_engine_is_got_with_what_is_here(
    backend: str, means: Means, capability: tuple[int, ...], command: str
) -> None:
    assert get_engine(backend, means, capability=capability) == command


def test_a_toolkit_that_does_not_compile_for_the_gpu_is_replaced_first() -> None:
    old = replace(MEANS, toolkit=replace(TOOLKIT, nvcc="12.0"))
    first = "sudo apt install cuda-toolkit-12-8"
    assert get_engine("cuda", old, toolkit_first=first) == f"{first} && gpt-oss engine install cuda"
    ready = replace(old, ready_made=frozenset({"cuda"}))
    assert get_engine("cuda", ready, toolkit_first=first) == "gpt-oss engine install cuda"


# --- Known-bad versions ---


def here(**changes: Any) -> Present:
    facts: dict[str, Any] = {
        "means": MEANS,
        "has_cuda": False,
        "versions": {},
        "variables": (),
        "backends": ("CPU",),
        "gpus": (),
    }
    return Present(**facts | {"n_nvidia": 0, "capabilities": ()} | changes)


def test_an_entry_is_met_where_all_that_it_names_is_here() -> None:
    table = parse_known(
        """
        [[known]]
        subject = "nvidia-driver"
        at_least = "545"
        below = "546"
        n_gpus = 2
        status = "fail"
        what = "bad"
        why = "it is"
        sources = ["https://example.org"]
        seen = "2026-11"
        remedy = { dnf = "dnf upgrade it", any = "fetch it" }
        """
    )
    two: dict[str, Any] = {"versions": {"nvidia-driver": "545.29.06"}, "n_nvidia": 2}
    assert line(check_known(table, here(**two))) == ("fail", "fetch it")
    fedora = replace(LINUX, packages="dnf")
    assert line(check_known(table, here(**two | {"means": replace(MEANS, platform=fedora)}))) == (
        "fail",
        "sudo dnf upgrade it",
    )
    assert line(check_known(table, here(**two | {"n_nvidia": 1}))) == ("ok", None)
    assert line(check_known(table, here(**two | {"versions": {"nvidia-driver": "546.01"}}))) == ("ok", None)
    assert line(check_known(table, here(**two | {"versions": {}}))) == ("ok", None)
    (entry,) = table.known
    for narrower in (replace(entry, system="Windows"), replace(entry, backend="ROCm"), replace(entry, gpu="Radeon")):
        assert line(check_known(replace(table, known=(narrower,)), here(**two))) == ("ok", None)
    wider = replace(entry, system="Linux", backend="CUDA", gpu="(?i)geforce")
    gpus: dict[str, Any] = {"backends": ("CUDA", "CPU"), "gpus": ("NVIDIA GeForce RTX 3090",)}
    assert line(check_known(replace(table, known=(wider,)), here(**two | gpus)))[0] == "fail"


def test_every_shipped_entry_can_be_met_and_has_a_source() -> None:
    from launcher.configs import configs_dir

    table = parse_known((configs_dir() / "known_bad.toml").read_text(encoding="utf-8"))
    assert len(table.known) == 9
    for entry in table.known:
        assert entry.sources
        assert all(source.startswith("https://") for source in entry.sources)
        assert entry.remedy
        assert entry.variable is not None or entry.subject != "variable"
    assert table.cuda_drivers["12"] == "525"


# --- Nothing private ---


def test_a_report_has_nothing_private_in_it() -> None:
    names = ("ann", "anns-box")
    checks = (
        *check_folders([folder(foreign=Path("/home/ann/secret/x"))], LINUX),
        *check_hub(hub(host="hub.corp.example", is_default=False, problem="no connection to hub.corp.example"), None),
        *check_port(
            Port(host="10.1.2.3", port=8080, free=False, problem=None, model=None, holder="annsprog", next_free=1)
        ),
        Check(
            name="engine",
            status="fail",
            what="cannot load /home/ann/venv/lib/libllama.so",
            why="on anns-box, with HF_TOKEN=hf_abcdefghijklmnop",
            remedy='uv pip install --python "/home/ann/venv/bin/python"',
            data={"where": "/home/ann/venv", "list": ["ann@anns-box"]},
        ),
    )
    versions = {"gpt-oss-launcher": "0.1.0", "llama.cpp": None}
    for text in (
        json.dumps(shared_json(checks, replace(LINUX, groups=("ann",)), versions, names)),
        shared_text(checks, LINUX, versions, names),
    ):
        for private in ("/home", "ann", "hf_abc", "10.1.2.3", "corp", "annsprog", "it's"):
            assert private not in text.replace("cannot", "").replace("annot", ""), private
        assert "port 8080 is taken" in text
        assert "ubuntu" in text
