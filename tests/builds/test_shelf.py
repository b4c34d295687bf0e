"""Which archives a machine can use, and the file that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.builds.shelf import (
    Target,
    as_version,
    drives,
    fitting,
    gap,
    matching,
    parse_shelf,
    read_shelf,
    runs_on,
    usual_arch,
)  # fmt: skip
from launcher.errors import DamagedFileError

if TYPE_CHECKING:
    from pathlib import Path

    from launcher.builds.types import Backend

SHELF = read_shelf()
UBUNTU = Target(system="Linux", arch="x86_64", glibc=(2, 39))
NAMES = (
    "cudart-llama-b11459-bin-ubuntu-cuda-12.8-x64.tar.gz", "cudart-llama-b11459-bin-ubuntu-cuda-13.4-arm64.tar.gz",
    "cudart-llama-b11459-bin-ubuntu-cuda-13.4-x64.tar.gz", "cudart-llama-bin-win-cuda-12.4-x64.zip",
    "cudart-llama-bin-win-cuda-13.4-arm64.zip", "cudart-llama-bin-win-cuda-13.4-x64.zip",
    "llama-b11459-bin-android-arm64.tar.gz", "llama-b11459-bin-linux-arm64-snapdragon.tar.gz",
    "llama-b11459-bin-macos-arm64.tar.gz", "llama-b11459-bin-macos-x64.tar.gz",
    "llama-b11459-bin-ubuntu-arm64.tar.gz", "llama-b11459-bin-ubuntu-cuda-12.8-x64.tar.gz",
    "llama-b11459-bin-ubuntu-cuda-13.4-arm64.tar.gz", "llama-b11459-bin-ubuntu-cuda-13.4-x64.tar.gz",
    "llama-b11459-bin-ubuntu-openvino-2026.4.1-x64.tar.gz", "llama-b11459-bin-ubuntu-rocm-10.0-x64.tar.gz",
    "llama-b11459-bin-ubuntu-sycl-fp16-x64.tar.gz", "llama-b11459-bin-ubuntu-vulkan-arm64.tar.gz",
    "llama-b11459-bin-ubuntu-vulkan-x64.tar.gz", "llama-b11459-bin-ubuntu-x64.tar.gz",
    "llama-b11459-bin-win-cpu-arm64.zip", "llama-b11459-bin-win-cpu-x64.zip",
    "llama-b11459-bin-win-cuda-12.4-x64.zip", "llama-b11459-bin-win-cuda-13.4-arm64.zip",
    "llama-b11459-bin-win-cuda-13.4-x64.zip", "llama-b11459-bin-win-opencl-adreno-arm64.zip",
    "llama-b11459-bin-win-rocm-10.0-x64.zip", "llama-b11459-bin-win-sycl-x64.zip",
    "llama-b11459-bin-win-vulkan-x64.zip", "llama-b11459-ui.tar.gz", "llama-b11459-xcframework.zip",
)  # fmt: skip
"""Files of a real release, ten days after the pinned one."""


def test_every_kind_of_release_archive_is_one_file_of_a_real_release() -> None:
    """Keeps out: the maker's libraries in the engine's place, or one architecture's file in the other's."""
    found = []
    for archive in SHELF.archive:
        if archive.kind == "release":
            patterns = [archive.pattern("0.3.36", "b11459"), archive.runtime_pattern("0.3.36", "b11459")]
            for pattern in filter(None, patterns):
                name = matching(pattern, NAMES)
                assert name is not None, pattern
                found.append(name)
    assert len(found) == len(set(found))


def test_the_pinned_version_has_its_commit_and_release() -> None:
    pinned = SHELF.pinned["0.3.36"]
    assert (pinned.commit[:9], pinned.tag) == ("0c1e57098", "b11312")


@pytest.mark.parametrize(
    ("toolkit", "capability", "driver", "runs"),
    [
        ((12, 8), (8, 9), (12, 4), True),  # finished code, and a driver of CUDA 12
        ((12, 8), (8, 0), (12, 4), False),  # PTX that this driver does not know
        ((12, 8), (8, 0), (12, 8), True),
        ((12, 8), (7, 5), (13, 0), True),  # a newer driver knows older PTX
        ((13, 4), (8, 6), (13, 0), True),
        ((13, 4), (9, 0), (13, 0), False),
        ((13, 4), (6, 1), (13, 4), False),  # CUDA 13 has no Pascal
        ((13, 4), (8, 9), (12, 8), False),  # a driver of CUDA 12
        ((12, 8), (12, 1), (12, 8), True),  # PTX of 9.0
        ((12, 8), (12, 1), (12, 6), False),  # 12.0's code is for 12.0 alone
        ((12, 8), (8, 7), (12, 4), True),  # 8.6's code runs on what is newer of 8
        ((12, 8), None, None, True),
        ((12, 8), None, (11, 4), False),
    ],
)
def test_what_a_driver_runs(
    toolkit: tuple[int, ...], capability: tuple[int, ...] | None, driver: tuple[int, ...] | None, runs: bool
) -> None:
    assert drives(toolkit, capability, driver) is runs


def test_the_newest_cuda_that_all_gpus_and_the_driver_bear_comes_first() -> None:
    def first(*capabilities: tuple[int, ...], driver: tuple[int, ...]) -> str | None:
        found = fitting(SHELF, "cuda", UBUNTU, capabilities=capabilities, driver_cuda=driver)
        return next((archive.cuda for archive in found if archive.brings), None)

    assert first((8, 9), driver=(13, 4)) == "13.4"
    assert first((8, 9), (6, 1), driver=(13, 4)) == "12.8"
    assert first((9, 0), driver=(12, 6)) is None


def test_a_library_needs_the_system_the_processor_and_a_c_library_that_is_new_enough() -> None:
    archive = next(each for each in SHELF.archive if each.backend == "vulkan" and each.glibc == "2.35")
    assert runs_on(archive, UBUNTU)
    assert not runs_on(archive, Target(system="Linux", arch="x86_64", glibc=(2, 31)))
    assert not runs_on(archive, Target(system="Linux", arch="x86_64"))  # musl
    assert not runs_on(archive, Target(system="Linux", arch="aarch64", glibc=(2, 39)))
    assert not runs_on(archive, Target(system="Windows", arch="AMD64"))


def test_an_old_linux_gets_the_wheel_that_was_made_for_it() -> None:
    old = Target(system="Linux", arch="x86_64", glibc=(2, 28))
    assert [archive.kind for archive in fitting(SHELF, "vulkan", old)] == ["wheel"]
    assert [archive.kind for archive in fitting(SHELF, "vulkan", UBUNTU)] == ["release", "wheel"]


@pytest.mark.parametrize(
    ("backend", "target", "cuda", "why"),
    [
        ("metal", UBUNTU, None, "nobody makes an engine for metal on Linux that could be fetched"),
        ("vulkan", Target(system="Linux", arch="x86_64"), None, "need glibc 2.17 or newer"),
        ("metal", Target(system="Darwin", arch="x86_64"), None, "there is no ready-made engine for metal on x86_64"),
        ("cuda", UBUNTU, (11, 4), "a newer driver of NVIDIA's than this one, which knows CUDA 11.4"),
        ("cuda", UBUNTU, (13, 0), "no ready-made engine has code for this GPU with its driver, which knows CUDA 13.0"),
        ("cuda", UBUNTU, None, "no ready-made engine has code for this GPU with its driver"),
        ("rocm", UBUNTU, None, "need the libraries of the GPU's maker, which are not here"),
    ],
)
def test_what_is_not_to_be_had_is_told_with_its_reason(
    backend: Backend, target: Target, cuda: tuple[int, ...] | None, why: str
) -> None:
    assert why in gap(SHELF, backend, target, driver_cuda=cuda)


def test_of_several_files_the_newest_version_is_meant() -> None:
    names = ("a-cuda-12.10-x64.zip", "a-cuda-12.9-x64.zip", "a-cuda-13.1-x64.zip")
    assert matching("a-cuda-12.*-x64.zip", names) == "a-cuda-12.10-x64.zip"
    assert matching("a-cuda-11.*-x64.zip", names) is None


def test_names_of_processors_and_versions() -> None:
    assert [usual_arch(name) for name in ("x86_64", "AMD64", "aarch64", "arm64", "riscv64")] == [
        *("x64", "x64", "arm64", "arm64", "riscv64")
    ]
    assert as_version("12.8") == (12, 8)
    assert as_version("12.x") == ()


@pytest.mark.parametrize("text", ["", "where = 1", "[where]\napi = 'x'\n", "not toml ["])
def test_a_damaged_file_is_told_as_such(text: str) -> None:
    with pytest.raises(DamagedFileError, match=r"engines\.toml: ") as refused:
        parse_shelf(text)
    assert refused.value.hint == "uv sync --reinstall-package gpt-oss-launcher"


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"engines\.toml: No such file"):
        read_shelf(tmp_path)
