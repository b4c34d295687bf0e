"""Which engine each of the recorded machines gets, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from launcher.builds.decision import Decision, Facts, How, Wish
from launcher.builds.facts import read_facts
from launcher.builds.install import propose
from launcher.builds.shelf import as_version, read_shelf
from launcher.builds.tool_types import Verdict
from launcher.builds.toolchain import Places
from launcher.builds.types import Build, BuildRecord, Source
from launcher.cli.engine_install_session import packages_for
from launcher.doctor.system import read_platform
from tests.builds.copies import FAILED, PASSED
from tests.doctor.machines import MACHINES, sources
from tests.hardware import trees

if TYPE_CHECKING:
    from pathlib import Path

    from launcher.builds.types import Backend

RECORD = BuildRecord(
    name="cuda-0.3.36", backend="cuda", version="0.3.36", commit="0c1e570", options=(), system="Linux", arch="x86_64",
    source=Source(kind="release", what="x", sha256=None), made_at="2026-10-11T00:00:00+00:00", self_test=None,
)  # fmt: skip
GLIBC = {
    ("ubuntu", "25.10"): (2, 42), ("ubuntu", "22.04"): (2, 35), ("debian", "12"): (2, 36), ("fedora", "42"): (2, 41),
    ("arch", "rolling"): (2, 42),
}  # fmt: skip
PRINTED = {
    "g++": "g++ (Ubuntu 13.2.0-23ubuntu4) 13.2.0\nCopyright (C) 2023 Free Software Foundation, Inc.\n",
    "cmake": "cmake version 3.28.3\n",
}


def facts_of(name: str, root: Path) -> Facts:
    seen = sources(name, root)
    data = MACHINES[name]
    found = {}
    for program in ("cmake", *data.get("have", ())):
        trees.write(root, f"usr/bin/{program}", "")
        found[program] = str(root / "usr/bin" / program)

    def run(command: Any) -> str | None:
        told = seen.machine.run(command)
        if "--list-gpu-arch" in command:
            # What CUDA 13 and 12.8 begin and end with: their release notes.
            first, last = ("75", "121") if "release 13" in (told or "") else ("50", "90")
            return f"compute_{first}\ncompute_{last}\n"
        program = command[0].rpartition("/")[2]
        return told if told is not None or program not in found else PRINTED.get(program)

    places = Places(
        machine=replace(seen.machine, run=run), which=found.get, names=lambda: iter(()), has_pip=lambda: True
    )
    return read_facts(
        root / "data",
        packages=packages_for(read_platform(seen)),
        places=places,
        glibc=lambda: glibc_of(data),
    )


def glibc_of(data: dict[str, Any]) -> tuple[int, ...] | None:
    if "glibc" in data:
        return as_version(data["glibc"]) or None
    return GLIBC.get(tuple(data.get("os", ())), (2, 39))


def decided(name: str, root: Path, backend: Backend | None = None, how: How | None = None) -> Decision:
    return propose(facts_of(name, root), Wish(version="0.3.36", backend=backend, how=how), read_shelf())


TABLE = {
    # NVIDIA
    "rtx-4090-cuda": "nothing cuda",
    "rtx-4090-cpu-engine": "build cuda",
    "rtx-5070-ti-no-toolkit": "prebuilt cuda 13.4 release",
    "rtx-5090-nouveau": "packages cuda: gpt-oss doctor",
    "rtx-5090-closed-modules": "packages cuda: gpt-oss doctor",
    "gtx-1080-ti-cuda-13": "prebuilt cuda 12.8 release",  # this toolkit has no Pascal any more
    "rtx-5080-old-toolkit": "prebuilt cuda 12.8 release",  # this toolkit has no Blackwell yet
    "tesla-t4-old-driver": "nothing cuda",
    "two-rtx-3090-driver-545": "nothing cuda",
    "two-rtx-3090-one-off-the-bus": "nothing cuda",
    "two-rtx-6000-ada-p2p": "nothing cuda",
    "two-rtx-a5000-one-hidden": "nothing cuda",
    "h100-mig-slice": "nothing cuda",
    "a100-mig-without-a-slice": "nothing cuda",
    "gt-1030-beside-a-cpu-engine": "nothing None",
    "a10-container-lost-its-gpus": "packages cuda: gpt-oss doctor",
    "container-started-without-its-gpu": "packages cuda: gpt-oss doctor",
    "rtx-3090-driver-was-updated": "packages cuda: gpt-oss doctor",
    "rtx-3060-held-by-another-program": "nothing cuda",
    "gpu-lent-to-a-vm": "packages cuda: gpt-oss doctor",
    "rtx-4090-windows-cpu-engine": "prebuilt cuda 12.4 release",
    "rtx-a4000-on-rocky-8": (
        "packages cuda: sudo dnf install gcc-c++ make && xdg-open https://developer.nvidia.com/cuda-downloads"
    ),
    "rtx-a4000-on-rocky-8-with-nvidias-repository": (
        "packages cuda: sudo dnf install gcc-c++ make && sudo dnf install cuda-toolkit-12-8"
    ),
    # WSL 2 and Jetson
    "wsl2-rtx-5060-ti-cuda-13-2": "build cuda",
    "wsl2-radeon": "nothing None",
    "wsl2-8gb": "nothing None",
    "jetson-orin": "build cuda",
    "jetson-orin-without-a-toolkit": "packages cuda: sudo apt install nvidia-jetpack",
    "jetson-xavier-without-nvml": "nothing cuda",
    # AMD and Intel
    "rx-7900-xtx-cpu-engine": "prebuilt vulkan release",
    "rx-7900-xtx-held-by-another-program": "nothing vulkan",
    "mi50-rocm-without-permission": "nothing vulkan",
    "rx-7900-xtx-without-kfd": "nothing vulkan",
    "container-without-amds-devices": "nothing vulkan",
    "strix-halo-rocm": "nothing vulkan",
    "ryzen-apu-without-vulkan-driver": "nothing vulkan",
    "rx-6600-on-alpine": (
        "packages vulkan: sudo apk add vulkan-headers vulkan-loader-dev shaderc spirv-headers"  # no GNU C library
    ),
    "arc-b580-cpu-engine": "packages vulkan: sudo apt install mesa-vulkan-drivers",
    "arc-a770-windows": "nothing vulkan",
    "laptop-intel-graphics": "nothing None",
    # Apple
    "mac-m1-max": "nothing metal",
    "mac-m3-ultra-cpu-engine": "prebuilt metal release",
    "mac-python-under-rosetta": "packages metal: xcode-select --install",
    "mac-intel-radeon": "nothing metal",
    # No GPU
    "docker-with-a-limit": "build cpu",
    "kubernetes-pod-with-a-limit": "nothing None",
    "vm-with-a-basic-processor": "nothing None",
    "server-without-gpu": "build cpu",
    "engine-for-another-processor": "build cpu",
    "no-engine-no-compiler": "prebuilt cpu release",
}


def short(decision: Decision) -> str:
    """One line of the table: what is done, for what, and with what."""
    if decision.do == "prebuilt":
        archive = decision.archives[0]
        return f"prebuilt {decision.backend} {archive.cuda or ''} {archive.kind}".replace("  ", " ")
    if decision.do == "packages":
        return f"packages {decision.backend}: {decision.command}"
    return f"{decision.do} {decision.backend}"


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_gets_what_it_can_use(name: str, tmp_path: Path) -> None:
    assert short(decided(name, tmp_path)) == TABLE[name]


def test_what_is_decided_says_why_and_for_what(tmp_path: Path) -> None:
    decision = decided("rtx-5070-ti-no-toolkit", tmp_path)
    assert (decision.name, decision.gpu) == ("cuda-0.3.36", "NVIDIA GeForce RTX 5070 Ti")
    assert decision.why == "an engine that computes on the NVIDIA GeForce RTX 5070 Ti through CUDA"
    assert decision.about_bytes == 590_000_000
    assert decision.other_way is None


def test_why_an_engine_for_the_cpu_or_for_no_gpu_is_had(tmp_path: Path) -> None:
    facts = facts_of("server-without-gpu", tmp_path)

    def why(backend: Backend, **changes: Any) -> str:
        wish = Wish(version="0.3.36", backend=backend)
        return propose(replace(facts, vulkan_driver=True, **changes), wish, read_shelf()).why

    unused = "this CPU has AVX512, which the engine that came with the launcher leaves unused"
    assert why("cpu", missing_isa=("AVX512",)) == unused
    assert why("cpu", missing_isa=(), own=frozenset({"cpu"})) == "an engine for this CPU"
    assert why("cpu", missing_isa=(), own=frozenset()) == (
        "an engine for this CPU: the one that came with the launcher does not run here"
    )
    assert why("vulkan", gpus=()) == "an engine for Vulkan; no GPU is seen here"


def test_compiling_names_the_way_that_takes_less_time(tmp_path: Path) -> None:
    assert decided("rtx-4090-cpu-engine", tmp_path).other_way == "gpt-oss engine install cuda --how prebuilt"


def test_the_way_can_be_chosen(tmp_path: Path) -> None:
    facts = facts_of("rtx-4090-cpu-engine", tmp_path)
    ready = propose(facts, Wish(version="0.3.36", how="prebuilt"), read_shelf())
    assert short(ready) == "prebuilt cuda 12.8 release"
    assert ready.other_way == "gpt-oss engine install cuda --how build"
    assert short(propose(facts, Wish(version="0.3.36", how="build"), read_shelf())) == "build cuda"


def test_a_way_that_is_closed_names_the_one_that_is_open(tmp_path: Path) -> None:
    no_compiler = facts_of("rtx-5070-ti-no-toolkit", tmp_path)
    build = propose(no_compiler, Wish(version="0.3.36", how="build"), read_shelf())
    assert short(build) == "packages cuda: gpt-oss engine install cuda --how prebuilt"
    assert build.missing == ("nvcc, the compiler of CUDA, is not here",)
    jetson = propose(facts_of("jetson-orin", tmp_path / "j"), Wish(version="0.3.36", how="prebuilt"), read_shelf())
    assert short(jetson) == "packages cuda: gpt-oss engine install cuda --how build"
    none = propose(replace(no_compiler, tegra=True, verdicts={}), Wish(version="0.3.36", how="prebuilt"), read_shelf())
    assert short(none) == "packages cuda: gpt-oss doctor"
    assert (
        jetson.missing
        == none.missing
        == ("ready-made engines are for CUDA's own driver, which a Jetson does not have",)
    )


def test_an_old_driver_is_told_with_the_slower_way_that_works_with_it(tmp_path: Path) -> None:
    facts = replace(facts_of("rtx-5070-ti-no-toolkit", tmp_path), driver_cuda=(11, 4), vulkan_driver=True)
    decision = propose(facts, Wish(version="0.3.36"), read_shelf())
    assert decision.do == "packages"
    assert "which knows CUDA 11.4" in decision.missing[-1]
    assert decision.other_way == "gpt-oss engine install vulkan"


@pytest.mark.parametrize("backend", ["cpu", "vulkan"])
def test_a_backend_that_is_named_is_had_whatever_is_best(tmp_path: Path, backend: Backend) -> None:
    trees.write(tmp_path, "usr/share/vulkan/icd.d/nvidia_icd.json", "{}")
    decision = decided("rtx-4090-cuda", tmp_path, backend)
    assert (decision.do, decision.backend) == ("build" if backend == "cpu" else "prebuilt", backend)


def test_what_is_installed_and_sound_is_not_installed_again(tmp_path: Path) -> None:
    facts = facts_of("rtx-5070-ti-no-toolkit", tmp_path)
    sound = Build(name="cuda-0.3.36", site=tmp_path, record=replace(RECORD, self_test=PASSED))
    again = propose(replace(facts, builds=(sound,)), Wish(version="0.3.36"), read_shelf())
    assert (again.do, again.why) == ("nothing", "cuda-0.3.36 is installed, and passed its self-test")
    failed = replace(sound, record=replace(RECORD, self_test=FAILED))
    assert propose(replace(facts, builds=(failed,)), Wish(version="0.3.36"), read_shelf()).do == "prebuilt"


def test_a_newer_version_is_had_beside_the_one_that_is_here(tmp_path: Path) -> None:
    for name, expected in (("rtx-4090-cuda", "cuda-0.3.40"), ("server-without-gpu", "cpu-0.3.40")):
        decision = propose(facts_of(name, tmp_path / name), Wish(version="0.3.40"), read_shelf())
        assert (decision.name, decision.do in {"build", "prebuilt"}) == (expected, True)


def test_a_machine_with_amds_compiler_gets_amds_own(tmp_path: Path) -> None:
    facts = facts_of("rx-7900-xtx-cpu-engine", tmp_path)
    verdicts = {**facts.verdicts, "rocm": Verdict(troubles=(), notes=())}
    assert short(propose(replace(facts, verdicts=verdicts), Wish(version="0.3.36"), read_shelf())) == "build rocm"
