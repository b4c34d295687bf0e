"""What tools say of themselves, as recorded; and a machine looked at as a tree of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from launcher.builds import tool_text
from launcher.builds.tool_types import Compiler
from launcher.builds.toolchain import Places, pip_environment, probe_toolchain
from launcher.hardware.detect import Machine
from tests.fakes.nvml import FakeGpu, FakeNvml
from tests.systems import POSIX

NVCC_13 = """\
nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2025 NVIDIA Corporation
Built on Wed_Aug_20_01:58:59_PM_PDT_2025
Cuda compilation tools, release 13.0, V13.0.88
Build cuda_13.0.r13.0/compiler.36424714_0
"""
NVCC_12 = """\
nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2024 NVIDIA Corporation
Built on Thu_Mar_28_02:18:24_PDT_2024
Cuda compilation tools, release 12.4, V12.4.131
Build cuda_12.4.r12.4/compiler.34097967_0
"""
NVCC_11 = """\
nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2021 NVIDIA Corporation
Built on Thu_Nov_18_09:45:30_PST_2021
Cuda compilation tools, release 11.5, V11.5.119
Build cuda_11.5.r11.5/compiler.30672275_0
"""
GCC_DEBIAN = """\
c++ (Debian 12.2.0-14+deb12u1) 12.2.0
Copyright (C) 2022 Free Software Foundation, Inc.
This is free software; see the source for copying conditions.  There is NO
warranty; not even for MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.
"""
GCC_UBUNTU = GCC_DEBIAN.replace("c++ (Debian 12.2.0-14+deb12u1) 12.2.0", "g++ (Ubuntu 13.3.0-6ubuntu2~24.04) 13.3.0")
GCC_FEDORA = GCC_DEBIAN.replace("c++ (Debian 12.2.0-14+deb12u1) 12.2.0", "g++ (GCC) 15.1.1 20250425 (Red Hat 15.1.1-1)")
GCC_ARCH = GCC_DEBIAN.replace("c++ (Debian 12.2.0-14+deb12u1) 12.2.0", "g++-14 (GCC) 14.3.1 20250523")
CLANG = """\
Ubuntu clang version 18.1.3 (1ubuntu1)
Target: x86_64-pc-linux-gnu
Thread model: posix
InstalledDir: /usr/bin
"""
APPLE = """\
Apple clang version 16.0.0 (clang-1600.0.26.6)
Target: arm64-apple-darwin24.3.0
Thread model: posix
"""
CL = """\
Microsoft (R) C/C++ Optimizing Compiler Version 19.41.34120 for x64
Copyright (C) Microsoft Corporation.  All rights reserved.

usage: cl [ option... ] filename... [ /link linkoption... ]
"""
GLSLC_DEBIAN = "shaderc 2023.2-1\nspirv-tools 2022.4+1.3.236.0-1\nglslang 11.13.0-1\n\nTarget: SPIR-V 1.0\n"
GLSLC_SDK = "shaderc v2023.8 v2023.8\nspirv-tools v2023.6 v2022.4-357-g0024b39f\nglslang 11.1.0\n\nTarget: SPIR-V 1.0\n"
ICPX = """\
Intel(R) oneAPI DPC++/C++ Compiler 2025.0.4 (2025.0.4.20241205)
Target: x86_64-unknown-linux-gnu
Thread model: posix
"""
VSWHERE = '[{"instanceId": "8f3a", "installationVersion": "17.11.35327.3", "isComplete": true}]'
HOST_CONFIG = "#if defined(__GNUC__)\n\n#if __GNUC__ > 15\n\n#error -- unsupported GNU version!\n#endif\n"
VULKAN_CORE = """\
#define VK_API_VERSION_1_0 VK_MAKE_API_VERSION(0, 1, 0, 0)
#define VK_HEADER_VERSION 239
#define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 3, VK_HEADER_VERSION)
"""
LIST_ARCH = "compute_75\ncompute_80\ncompute_90\ncompute_90a\ncompute_110\ncompute_103\ncompute_120\n"


@pytest.mark.parametrize(("text", "version"), [(NVCC_13, "13.0"), (NVCC_12, "12.4"), (NVCC_11, "11.5"), ("", None)])
def test_nvcc(text: str, version: str | None) -> None:
    assert tool_text.parse_nvcc(text) == version


@pytest.mark.parametrize(
    ("text", "kind", "version"),
    [
        (GCC_DEBIAN, "gcc", "12.2.0"),
        (GCC_UBUNTU, "gcc", "13.3.0"),
        (GCC_FEDORA, "gcc", "15.1.1"),
        (GCC_ARCH, "gcc", "14.3.1"),
        (CLANG, "clang", "18.1.3"),
        (APPLE, "apple-clang", "16.0.0"),
        (CL, "msvc", "19.41.34120"),
    ],
)
def test_compilers(text: str, kind: str, version: str) -> None:
    assert tool_text.parse_compiler(text) == (kind, version)


def test_what_is_no_compiler() -> None:
    assert tool_text.parse_compiler("bash: c++: command not found") is None
    assert tool_text.parse_compiler("") is None


def test_tools() -> None:
    assert tool_text.parse_cmake("cmake version 3.25.1\n\nCMake suite maintained by Kitware") == "3.25.1"
    assert tool_text.parse_cmake("cmake version 4.1.0-rc2\n") == "4.1.0"
    assert tool_text.parse_number("1.11.1.git.kitware.jobserver-1\n") == "1.11.1"
    assert tool_text.parse_number("GNU Make 4.3\nBuilt for x86_64-pc-linux-gnu\n") == "4.3"
    assert tool_text.parse_number("6.3.42131-fa1d09cbd") == "6.3.42131"
    assert tool_text.parse_glslc(GLSLC_DEBIAN) == "2023.2"
    assert tool_text.parse_glslc(GLSLC_SDK) == "2023.8"
    assert tool_text.parse_icpx(ICPX) == "2025.0.4"
    assert tool_text.parse_vswhere(VSWHERE) == "17.11.35327.3"
    assert tool_text.parse_vswhere("[]") is None
    assert tool_text.parse_vswhere("") is None
    assert tool_text.parse_newest_gcc(HOST_CONFIG) == 15
    assert tool_text.parse_vulkan_core(VULKAN_CORE) == "1.3.239"
    assert tool_text.parse_architectures(LIST_ARCH) == (75, 80, 90, 103, 110, 120)


@pytest.mark.parametrize(
    ("number", "target"), [("90010", "gfx90a"), ("110000", "gfx1100"), ("100302", "gfx1032"), ("0", None)]
)
def test_targets_of_amd(number: str, target: str | None) -> None:
    assert tool_text.parse_gfx(f"simd_count 8\ngfx_target_version {number}\nvendor_id 4098\n") == target


def put(root: Path, *files: str, **texts: str) -> None:
    for file in (*files, *texts):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts.get(file, ""))


def places(
    root: Path,
    outputs: Mapping[str, str],
    *,
    on_path: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    nvml: FakeNvml | None = None,
    pip: bool = False,
    system: str = "Linux",
) -> Places:
    """A machine whose programs answer by name; `nvcc --list-gpu-arch` is a name of its own."""

    def run(command: Sequence[str]) -> str | None:
        words = " ".join([Path(command[0].replace("\\", "/")).name, *command[1:]])
        return next((text for name, text in outputs.items() if words.startswith(name)), None)

    machine = Machine(
        system=system, arch="x86_64", root=root, environ=environ or {}, run=run,
        load_nvml=lambda: nvml, python="/venv/bin/python",
    )  # fmt: skip
    paths = {Path(path).name: str(root / path) for path in on_path}
    return Places(machine=machine, which=paths.get, names=lambda: iter(paths), has_pip=lambda: pip)


def test_a_machine_without_anything(tmp_path: Path) -> None:
    found = probe_toolchain(places(tmp_path, {}))
    assert (found.compiler, found.cmake, found.cuda, found.rocm, found.vulkan, found.sycl) == (None,) * 6
    assert found.pip == ()
    assert not found.ccache


def test_a_pc_with_cuda(tmp_path: Path) -> None:
    cuda = "usr/local/cuda-12.4"
    put(tmp_path, f"{cuda}/bin/nvcc", f"{cuda}/include/cuda_runtime.h", f"{cuda}/include/cublas_v2.h")
    put(tmp_path, f"{cuda}/lib64/libcublas.so", f"{cuda}/lib64/stubs/libcuda.so", "proc/driver/nvidia/version")
    put(tmp_path, **{f"{cuda}/include/crt/host_config.h": HOST_CONFIG})
    nvml = FakeNvml(gpus=[FakeGpu(compute_capability=each) for each in ((8, 9), (8, 6), (8, 9))])
    found = probe_toolchain(
        places(
            tmp_path,
            {"nvcc --list": LIST_ARCH, "nvcc": NVCC_12, "g++-12": GCC_DEBIAN, "c++": GCC_UBUNTU, "g++": GCC_UBUNTU},
            on_path=(f"{cuda}/bin/nvcc", "usr/bin/c++", "usr/bin/g++", "usr/bin/g++-12", "usr/bin/ccache"),
            nvml=nvml,
        )
    )  # fmt: skip
    assert found.cuda is not None
    assert (found.cuda.nvcc.version, found.cuda.root) == ("12.4", str(tmp_path / cuda))
    assert found.cuda.architectures == (75, 80, 90, 103, 110, 120)
    assert (found.cuda.newest_gcc, found.cuda.cublas, found.cuda.driver_library) == (15, True, True)
    assert found.gpu_architectures == (86, 89)
    assert found.ccache
    # `c++` and `g++` are one.
    assert [(each.kind, each.version) for each in found.compilers] == [("gcc", "13.3.0"), ("gcc", "12.2.0")]


def test_a_toolkit_of_single_parts_behind_a_script(tmp_path: Path) -> None:
    put(tmp_path, "usr/local/bin/nvcc", "usr/local/cuda-13.0/include/cuda_runtime.h", "usr/local/cuda-13.0/bin/nvcc")
    found = probe_toolchain(places(tmp_path, {"nvcc": NVCC_13}, on_path=("usr/local/bin/nvcc",)))
    assert found.cuda is not None
    assert found.cuda.root == str(tmp_path / "usr/local/cuda-13.0")
    assert (found.cuda.cublas, found.cuda.driver_library, found.cuda.newest_gcc) == (False, False, None)


def test_a_toolkit_that_is_not_on_the_path(tmp_path: Path) -> None:
    put(tmp_path, "usr/local/cuda/bin/nvcc", "usr/local/cuda/include/cuda_runtime.h", "usr/lib/wsl/lib/libcuda.so")
    found = probe_toolchain(places(tmp_path, {"nvcc": NVCC_12}))
    assert found.cuda is not None
    assert found.cuda.driver_library


def test_a_distributions_own_toolkit(tmp_path: Path) -> None:
    put(tmp_path, "usr/bin/nvcc", "usr/include/cuda_runtime.h", "usr/include/cublas_v2.h")
    put(tmp_path, "usr/lib/x86_64-linux-gnu/libcublas.so", "usr/lib/x86_64-linux-gnu/stubs/libcuda.so")
    found = probe_toolchain(places(tmp_path, {"nvcc": NVCC_11}, on_path=("usr/bin/nvcc",)))
    assert found.cuda is not None
    assert (found.cuda.root, found.cuda.cublas) == (str(tmp_path / "usr"), True)


@POSIX
def test_rocm(tmp_path: Path) -> None:
    put(tmp_path, "opt/rocm/bin/hipconfig", "opt/rocm/llvm/bin/clang", "opt/rocm/include/hipblas/hipblas.h")
    put(tmp_path, "opt/rocm/include/rocblas/rocblas.h")
    nodes = "sys/class/kfd/kfd/topology/nodes"
    put(
        tmp_path,
        **{f"{nodes}/0/properties": "gfx_target_version 0\n", f"{nodes}/1/properties": "gfx_target_version 110000\n"},
    )
    answers = {"hipconfig -l": f"{tmp_path}/opt/rocm/llvm/bin", "hipconfig --version": "6.3.42131-fa1d09cbd"}
    found = probe_toolchain(places(tmp_path, answers))
    assert found.rocm is not None
    assert (found.rocm.version, found.rocm.hipblas) == ("6.3.42131", True)
    assert found.rocm.compiler == f"{tmp_path}/opt/rocm/llvm/bin/clang"
    assert found.gfx_targets == ("gfx1100",)


def test_vulkan_and_sycl(tmp_path: Path) -> None:
    put(tmp_path, "usr/bin/glslc", "usr/lib/x86_64-linux-gnu/libvulkan.so", "opt/intel/oneapi/setvars.sh")
    put(tmp_path, **{"usr/include/vulkan/vulkan_core.h": VULKAN_CORE})
    found = probe_toolchain(places(tmp_path, {"glslc": GLSLC_DEBIAN}, on_path=("usr/bin/glslc",)))
    assert found.vulkan is not None
    assert found.vulkan.glslc is not None
    assert (found.vulkan.glslc.version, found.vulkan.headers) == ("2023.2", "1.3.239")
    assert (found.vulkan.loader, found.vulkan.spirv_headers) == (True, False)
    assert found.sycl is not None
    assert (found.sycl.icpx, found.sycl.setvars) == (None, str(tmp_path / "opt/intel/oneapi/setvars.sh"))
    assert not found.vulkan.layer_settings
    put(tmp_path, "usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake")
    put(tmp_path, **{"usr/include/vulkan/vulkan_core.h": VULKAN_CORE + "#define VK_EXT_layer_settings 1\n"})
    again = probe_toolchain(places(tmp_path, {"glslc": GLSLC_DEBIAN}, on_path=("usr/bin/glslc",)))
    assert again.vulkan is not None
    assert again.vulkan.spirv_headers
    assert again.vulkan.layer_settings


def test_windows_has_its_compiler_from_visual_studio(tmp_path: Path) -> None:
    found = probe_toolchain(places(tmp_path, {"vswhere.exe": VSWHERE}, system="Windows"))
    assert found.compilers == (Compiler(kind="msvc", cxx="cl", version="17.11.35327.3"),)
    assert probe_toolchain(places(tmp_path, {}, system="Windows")).compilers == ()


def test_pip_of_this_python_before_uv_before_another(tmp_path: Path) -> None:
    both = ("usr/bin/uv", "usr/bin/pip")
    assert probe_toolchain(places(tmp_path, {}, pip=True, on_path=both)).pip == ("/venv/bin/python", "-m", "pip")
    uv = str(tmp_path / "usr/bin/uv")
    assert probe_toolchain(places(tmp_path, {}, on_path=both)).pip == (uv, "tool", "run", "--quiet", "pip")
    assert probe_toolchain(places(tmp_path, {}, on_path=both[1:])).pip == (str(tmp_path / "usr/bin/pip"),)


def test_a_broken_driver_is_no_gpu(tmp_path: Path) -> None:
    put(tmp_path, "proc/driver/nvidia/version")
    assert probe_toolchain(places(tmp_path, {}, nvml=None)).gpu_architectures == ()


@pytest.mark.parametrize(
    ("environ", "index"),
    [
        ({}, None),
        ({"UV_DEFAULT_INDEX": "https://mirror.example/simple"}, "https://mirror.example/simple"),
        ({"UV_DEFAULT_INDEX": "own=https://mirror.example/simple"}, "https://mirror.example/simple"),
        ({"UV_INDEX_URL": "https://mirror.example/simple?a=b"}, "https://mirror.example/simple?a=b"),
        ({"UV_DEFAULT_INDEX": "https://a.example", "PIP_INDEX_URL": "https://b.example"}, "https://b.example"),
    ],
)
def test_the_index_that_uv_was_told_of(environ: dict[str, str], index: str | None) -> None:
    assert pip_environment(environ).get("PIP_INDEX_URL") == index
