"""What CMake is told, for every backend; what stands in the way; and the packages that mend it."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from launcher.builds.compat import cuda_host_compiler, judge, remedies
from launcher.builds.recipe import BASE, RPATHS, Recipe, default_architectures, recipe
from launcher.builds.source import known_sha256, pinned_version
from launcher.builds.tool_types import Compiler, Tool, Toolchain
from launcher.builds.types import BACKENDS, Backend
from launcher.doctor.types import Platform
from launcher.hardware.packages import install
from tests.fakes.toolchain import CUDA_12_4, CUDA_13_0, GCC_12, GCC_13, GCC_15, ROCM, SYCL, VULKAN, toolchain

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def made(backend: Backend, tools: Toolchain, *, arch: tuple[str, ...] | None = None, **own: str) -> Recipe:
    return recipe(backend, tools, version="0.3.36", architectures=arch, definitions=own)


def definitions(
    backend: Backend, tools: Toolchain, *, arch: tuple[str, ...] | None = None, **own: str
) -> dict[str, str]:
    return dict(made(backend, tools, arch=arch, **own).definitions)


def whats(backend: Backend, tools: Toolchain, arch: tuple[str, ...] | None = None) -> str:
    return "; ".join(trouble.what for trouble in judge(backend, tools, arch).troubles)


def test_an_engine_is_compiled_as_the_environments_is() -> None:
    table = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["uv"]["config-settings-package"]
    theirs = {name.removeprefix("cmake.define."): value for name, value in table["llama-cpp-python"].items()}
    rpath = set(theirs.pop("CMAKE_INSTALL_RPATH").split(";"))
    assert theirs == BASE
    assert rpath < {*RPATHS, *(path.replace("$ORIGIN", "@loader_path") for path in RPATHS)}


def test_the_pinned_source_is_known_by_the_hash_of_the_lock_file() -> None:
    version = pinned_version()
    assert version is not None
    lock_file = PYPROJECT.parent / "uv.lock"
    if not lock_file.is_file():
        pytest.skip("uv makes the lock file, and it is not committed")
    lock = tomllib.loads(lock_file.read_text(encoding="utf-8"))
    (locked,) = [package for package in lock["package"] if package["name"] == "llama-cpp-python"]
    assert locked["version"] == version
    assert locked["sdist"]["hash"] == f"sha256:{known_sha256(version)}"


def test_a_cpu_engine_has_the_base_alone() -> None:
    told = definitions("cpu", toolchain())
    assert told == {**BASE, "CMAKE_BUILD_TYPE": "Release", "CMAKE_INSTALL_RPATH": ";".join(RPATHS)}


def test_cuda_is_compiled_for_the_gpus_that_are_here() -> None:
    told = definitions("cuda", toolchain(cuda=CUDA_12_4, gpu_architectures=(86, 89)))
    assert told["GGML_CUDA"] == "ON"
    assert told["CMAKE_CUDA_ARCHITECTURES"] == "86;89"
    assert told["CMAKE_CUDA_COMPILER"] == "/usr/local/cuda/bin/nvcc"
    assert "GGML_CUDA_NO_VMM" not in told
    assert "CMAKE_CUDA_HOST_COMPILER" not in told


def test_a_gpu_between_two_architectures_gets_the_one_before() -> None:
    older = replace(CUDA_12_4, architectures=(70, 75, 80, 90))
    assert definitions("cuda", toolchain(cuda=older, gpu_architectures=(87,)))["CMAKE_CUDA_ARCHITECTURES"] == "80"


def test_what_a_person_asks_for_wins() -> None:
    tools = toolchain(cuda=CUDA_12_4, gpu_architectures=(89,))
    told = definitions("cuda", tools, arch=("75", "90"), GGML_NATIVE="OFF", LLAMA_BUILD_SERVER="OFF")
    assert told["CMAKE_CUDA_ARCHITECTURES"] == "75;90"
    assert told["GGML_NATIVE"] == "OFF"
    assert told["LLAMA_BUILD_SERVER"] == "OFF"


def test_without_a_gpu_cuda_is_compiled_for_what_llama_cpp_compiles_for() -> None:
    cmake = default_architectures(CUDA_12_4.architectures)
    assert cmake == (
        "50-virtual",
        "61-virtual",
        "70-virtual",
        "75-virtual",
        "80-virtual",
        "86-real",
        "89-real",
        "90-virtual",
    )
    newer = default_architectures(CUDA_13_0.architectures)
    assert newer[0] == "75-virtual"
    assert newer[-2:] == ("120a-real", "121a-real")
    assert definitions("cuda", toolchain(cuda=CUDA_13_0))["CMAKE_CUDA_ARCHITECTURES"] == ";".join(newer)
    assert default_architectures(()) == (
        "50-virtual",
        "61-virtual",
        "70-virtual",
        "75-virtual",
        "80-virtual",
        "86-real",
    )


def test_cuda_without_a_driver_to_link_with_does_without_its_memory_management() -> None:
    bare = toolchain(cuda=replace(CUDA_13_0, driver_library=False), gpu_architectures=(90,))
    assert definitions("cuda", bare)["GGML_CUDA_NO_VMM"] == "ON"
    assert any("virtual memory" in note for note in judge("cuda", bare).notes)


def test_cublas_comes_from_a_package_where_the_toolkit_has_none() -> None:
    tools = toolchain(cuda=replace(CUDA_13_0, cublas=False))
    assert made("cuda", tools).cublas == "13.0"
    assert made("cuda", tools, CUDA_cublas_LIBRARY="/opt/libcublas.so").cublas is None
    assert made("cuda", toolchain(cuda=CUDA_13_0)).cublas is None
    assert "cuBLAS" in whats("cuda", replace(tools, pip=()))


def test_the_other_backends() -> None:
    rocm = made("rocm", toolchain(rocm=ROCM, gfx_targets=("gfx1100", "gfx90a")))
    assert dict(rocm.definitions)["GPU_TARGETS"] == "gfx1100;gfx90a"
    assert dict(rocm.definitions)["GGML_HIP"] == "ON"
    assert dict(rocm.environment) == {"HIPCXX": ROCM.compiler, "HIP_PATH": "/opt/rocm", "ROCM_PATH": "/opt/rocm"}
    assert definitions("vulkan", toolchain(vulkan=VULKAN))["GGML_VULKAN"] == "ON"
    sycl = definitions("sycl", toolchain(sycl=SYCL))
    assert (sycl["GGML_SYCL"], sycl["CMAKE_C_COMPILER"], sycl["CMAKE_CXX_COMPILER"]) == ("ON", "icx", "icpx")
    metal = definitions("metal", toolchain(system="Darwin"))
    assert metal["GGML_METAL_EMBED_LIBRARY"] == "ON"
    assert "@loader_path/../llama_cpp/lib" in metal["CMAKE_INSTALL_RPATH"].split(";")


def test_a_record_tells_options_and_no_paths() -> None:
    options = made("cuda", toolchain(cuda=CUDA_13_0, gpu_architectures=(90,))).options
    assert "GGML_CUDA=ON" in options
    assert "CMAKE_CUDA_ARCHITECTURES=90" in options
    assert not any("/" in option for option in options)


@pytest.mark.parametrize(
    ("tools", "generator"),
    [
        (toolchain(), "Ninja"),
        (toolchain(ninja=None), "Unix Makefiles"),
        (toolchain(ninja=None, make=None), "Ninja"),
        (toolchain(system="Windows", make=None), None),
    ],
)
def test_the_generator(tools: Toolchain, generator: str | None) -> None:
    assert made("cpu", tools).generator == generator


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_machine_with_everything_compiles_everything(backend: Backend) -> None:
    tools = toolchain(
        cuda=CUDA_12_4, rocm=ROCM, vulkan=VULKAN, sycl=SYCL, gpu_architectures=(89,), gfx_targets=("gfx1100",)
    )
    tools = replace(tools, system="Darwin") if backend == "metal" else tools
    assert judge(backend, tools).troubles == ()


def test_a_compiler_that_nvcc_does_not_take() -> None:
    tools = toolchain(compilers=(GCC_15,), cuda=CUDA_12_4, gpu_architectures=(89,))
    assert "takes g++ up to 13; /usr/bin/c++ is 15.1.1" in whats("cuda", tools)
    assert whats("vulkan", replace(tools, vulkan=VULKAN)) == ""


def test_an_older_compiler_beside_it_serves_nvcc() -> None:
    tools = toolchain(compilers=(GCC_15, GCC_13), cuda=CUDA_12_4, gpu_architectures=(89,))
    assert cuda_host_compiler(tools) == GCC_13
    assert whats("cuda", tools) == ""
    assert definitions("cuda", tools)["CMAKE_CUDA_HOST_COMPILER"] == "/usr/bin/g++-13"
    assert any("/usr/bin/g++-13" in note for note in judge("cuda", tools).notes)
    assert cuda_host_compiler(replace(tools, compilers=(GCC_12, GCC_13))) is None


@pytest.mark.parametrize(
    ("cuda", "gpu", "says"),
    [
        (CUDA_12_4, 120, "CUDA 12.4 is older than the GPU here, which has compute capability 12.0"),
        (CUDA_13_0, 61, "CUDA 13.0 compiles for compute capability 7.5 and newer, the GPU here has 6.1"),
        (CUDA_13_0, 120, ""),
        (CUDA_12_4, 61, ""),
        (replace(CUDA_12_4, architectures=()), 120, ""),
    ],
)
def test_a_toolkit_and_the_gpus_generation(cuda: object, gpu: int, says: str) -> None:
    tools = toolchain(cuda=cuda, gpu_architectures=(gpu,))
    assert whats("cuda", tools).startswith(says)
    assert bool(whats("cuda", tools)) == bool(says)
    assert whats("cuda", tools, ("75",)) == ""  # asked for: not ours to refuse


@pytest.mark.parametrize(
    ("backend", "changes", "says"),
    [
        ("cpu", {"compilers": ()}, "a compiler of C++ is not here"),
        ("cpu", {"compilers": (Compiler(kind="gcc", cxx="/usr/bin/c++", version="7.5.0"),)}, "7.5.0 is too old"),
        ("cpu", {"cmake": None, "pip": ()}, "CMake is not here"),
        ("cpu", {"cmake": Tool(path="cmake", version="3.16.3"), "pip": ()}, "CMake 3.16.3 is older than 3.21"),
        ("cpu", {"cmake": None}, ""),
        ("cpu", {"system": "Darwin"}, "every build has Metal"),
        ("cuda", {"system": "Darwin"}, "no CUDA for macOS"),
        ("cuda", {}, "nvcc, the compiler of CUDA, is not here"),
        ("rocm", {}, "hipconfig"),
        ("rocm", {"rocm": replace(ROCM, version="5.7.31921"), "gfx_targets": ("gfx906",)}, "ROCm 5.7.31921 is older"),
        ("rocm", {"rocm": replace(ROCM, hipblas=False), "gfx_targets": ("gfx906",)}, "hipBLAS and rocBLAS"),
        ("rocm", {"rocm": ROCM}, "no AMD GPU is seen"),
        ("vulkan", {}, "glslc"),
        ("vulkan", {"vulkan": replace(VULKAN, spirv_headers=False)}, "SPIRV-Headers are not here"),
        ("vulkan", {"vulkan": replace(VULKAN, headers="1.3.239", layer_settings=False)}, "here (1.3.239) are too old"),
        ("metal", {}, "a part of macOS"),
        ("sycl", {}, "icpx"),
        ("sycl", {"sycl": replace(SYCL, icpx=None, setvars="/opt/intel/oneapi/setvars.sh")}, "not set in this shell"),
    ],
)
def test_what_stands_in_the_way(backend: Backend, changes: dict[str, object], says: str) -> None:
    found = whats(backend, toolchain(**changes))
    assert says in found
    assert bool(found) == bool(says)


def test_the_packages_that_mend_it() -> None:
    debian = Platform(
        system="Linux", arch="x86_64", distro="debian", distro_version="12", packages="apt", container=None,
        container_id=None, wsl=False, virtual=None, translated=False, is_root=False, groups=(), install="checkout",
        python="python3",
    )  # fmt: skip
    package = partial(install, platform=debian)
    bare = toolchain(compilers=())
    assert remedies(judge("vulkan", bare), package) == (
        "sudo apt install build-essential",
        "sudo apt install libvulkan-dev glslc spirv-headers",
    )
    assert remedies(judge("cuda", toolchain()), package) == ("sudo apt install nvidia-cuda-toolkit",)
    blackwell = toolchain(gpu_architectures=(120,))
    assert remedies(judge("cuda", blackwell), package) == ("sudo apt install cuda-toolkit-12-8",)
    assert remedies(judge("metal", toolchain()), package) == ("gpt-oss engine build cpu",)
    assert remedies(judge("cpu", toolchain()), package) == ()
