"""Toolchains as records, and a source archive so small that CMake compiles it in a second."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.builds.tool_types import Compiler, Cuda, Rocm, Sycl, Tool, Toolchain, VulkanSdk

GCC_12 = Compiler(kind="gcc", cxx="/usr/bin/c++", version="12.2.0")
GCC_15 = Compiler(kind="gcc", cxx="/usr/bin/c++", version="15.1.1")
GCC_13 = Compiler(kind="gcc", cxx="/usr/bin/g++-13", version="13.3.0")
CUDA_12_4 = Cuda(
    nvcc=Tool(path="/usr/local/cuda/bin/nvcc", version="12.4"),
    root="/usr/local/cuda",
    architectures=(50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90),
    newest_gcc=13,
    cublas=True,
    driver_library=True,
)
CUDA_13_0 = replace(
    CUDA_12_4,
    nvcc=Tool(path="/usr/local/cuda/bin/nvcc", version="13.0"),
    architectures=(75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121),
    newest_gcc=15,
)
ROCM = Rocm(root="/opt/rocm", version="6.3.42131", compiler="/opt/rocm/llvm/bin/clang", hipblas=True)
VULKAN = VulkanSdk(
    glslc=Tool(path="/usr/bin/glslc", version="2023.8"),
    headers="1.3.275",
    layer_settings=True,
    loader=True,
    spirv_headers=True,
)
SYCL = Sycl(icpx=Tool(path="/opt/intel/oneapi/bin/icpx", version="2025.0.4"), setvars=None)


def toolchain(**changes: Any) -> Toolchain:
    """A PC with Linux, g++ 12, CMake and ninja, and nothing for GPUs."""
    plain = Toolchain(
        system="Linux",
        arch="x86_64",
        compilers=(GCC_12,),
        cmake=Tool(path="/usr/bin/cmake", version="3.28.3"),
        ninja=Tool(path="/usr/bin/ninja", version="1.11.1"),
        make=Tool(path="/usr/bin/make", version="4.3"),
        pip=("pip",),
        ccache=False,
        cuda=None,
        rocm=None,
        vulkan=None,
        sycl=None,
        gpu_architectures=(),
        gfx_targets=(),
    )
    return replace(plain, **changes)


_CMAKE = """\
cmake_minimum_required(VERSION 3.21)
project(llama_cpp C)
set(BUILD_SHARED_LIBS ON)
add_library(llama one.c two.c three.c)
add_library(llama-common common.c)
add_executable(llama-server main.c)
target_link_libraries(llama-server llama-common llama)
set_target_properties(llama PROPERTIES VERSION 0.5.0 SOVERSION 0)
install(TARGETS llama LIBRARY DESTINATION ${SKBUILD_PLATLIB_DIR}/llama_cpp/lib)
install(TARGETS llama llama-common LIBRARY DESTINATION lib)
install(TARGETS llama-server RUNTIME DESTINATION bin)
install(FILES include/llama.h DESTINATION include)
"""
_BACKEND = """\
import pathlib

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "llama_cpp_python-%(version)s.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: %(version)s\\n")
    return info.name
"""
_PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "llama_cpp_python"
version = "%(version)s"
"""


def write_sdist(folder: Path, *, version: str = "9.9.9", changes: dict[str, str] | None = None) -> Path:
    """A source archive of three C files and a program, laid out as llama-cpp-python's; `changes` replace files."""
    files = {
        "CMakeLists.txt": _CMAKE,
        "LICENSE.md": "MIT\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {version}\n",
        "pyproject.toml": _PYPROJECT % {"version": version},
        "backend.py": _BACKEND % {"version": version},
        "include/llama.h": "int one(void);\n",
        **{f"{name}.c": f"int {name}(void) {{ return 0; }}\n" for name in ("one", "two", "three", "common")},
        "main.c": (
            '#include <stdio.h>\nint one(void); int common(void);\nint main(void) { puts("version: 1"); '
            "return one() + common(); }\n"
        ),
        "llama_cpp/__init__.py": f'__version__ = "{version}"\n',
        "llama_cpp/llama.py": "",
        "llama_cpp/server/app.py": "",
        **(changes or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"llama_cpp_python-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            data = text.encode()
            info = tarfile.TarInfo(f"llama_cpp_python-{version}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
