"""Whether a backend can be compiled with what is here, and what is missing. Pure.

Sources: llama.cpp at the pinned commit, ggml/src/ggml-cuda/CMakeLists.txt, ggml-hip, ggml-vulkan and ggml-sycl beside
it, and what the toolkits tell of themselves: the compute capabilities of `nvcc --list-gpu-arch` (CUDA 13 left out
those below 7.5, 12.8 brought Blackwell's) and the newest g++ of crt/host_config.h. No table of CUDA's versions is kept
here, as it would be old with the next one. MXFP4 needs no more than that: its CUDA kernels run from Pascal on, and
Blackwell's own instructions for it come with the architecture (12.0 is compiled as 120a).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from launcher.builds.tool_text import numbers
from launcher.builds.tool_types import Compiler, Cuda, Need, Toolchain, Trouble, Verdict
from launcher.builds.types import Backend

OLDEST_CMAKE = (3, 21)
"""llama-cpp-python's CMakeLists.txt."""
OLDEST_ROCM = (6, 1)
"""ggml-hip's CMakeLists.txt stops below."""
_BLACKWELL = 100
_OLDEST_GCC, _OLDEST_CLANG = (9,), (9,)
"""std::filesystem without a library of its own (GCC's and LLVM's release notes); llama.cpp links none."""


def judge(backend: Backend, tools: Toolchain, architectures: Sequence[str] | None = None) -> Verdict:
    """What stands in the way of compiling `backend`. `architectures` are those that a person asked for."""
    troubles = [*_common(tools), *_JUDGES[backend](tools, architectures)]
    return Verdict(troubles=tuple(troubles), notes=_notes(backend, tools, architectures))


def remedies(verdict: Verdict, package: Callable[[Need], str | None]) -> tuple[str, ...]:
    """The commands that mend what stands in the way: packages first, each once. `package` tells what installs one."""
    needs = dict.fromkeys(each.need for each in verdict.troubles if each.need is not None)
    packages = [package(need) for need in needs]
    others = [each.remedy for each in verdict.troubles]
    return tuple(dict.fromkeys(each for each in (*packages, *others) if each is not None))


def cuda_host_compiler(tools: Toolchain) -> Compiler | None:
    """The g++ that nvcc takes, where the usual one is too new for it; None where the usual one will do."""
    cuda = tools.cuda
    if cuda is None or tools.compiler is None or not _too_new(tools.compiler, cuda):
        return None
    return next((each for each in tools.compilers if each.kind == "gcc" and not _too_new(each, cuda)), None)


def _too_new(compiler: Compiler, cuda: Cuda) -> bool:
    major = numbers(compiler.version)[:1]
    return compiler.kind == "gcc" and cuda.newest_gcc is not None and major > (cuda.newest_gcc,)


def _common(tools: Toolchain) -> list[Trouble]:
    found = []
    compiler = tools.compiler
    if compiler is None:
        found.append(Trouble(what="a compiler of C++ is not here", need="compiler"))
    else:
        oldest = {"gcc": _OLDEST_GCC, "clang": _OLDEST_CLANG}.get(compiler.kind)
        if oldest is not None and compiler.version and numbers(compiler.version) < oldest:
            what = f"{compiler.cxx} {compiler.version} is too old: {compiler.kind} {oldest[0]} or newer is needed"
            found.append(Trouble(what=what, need="compiler"))
    old = tools.cmake is not None and numbers(tools.cmake.version) < OLDEST_CMAKE
    if (tools.cmake is None or old) and not tools.pip:
        what = f"CMake {tools.cmake.version} is older than 3.21" if tools.cmake is not None else "CMake is not here"
        found.append(Trouble(what=f"{what}, and no pip or uv to get one with", need="cmake"))
    return found


def _cpu(tools: Toolchain, _architectures: Sequence[str] | None) -> list[Trouble]:
    if tools.system == "Darwin":
        # llama-cpp-python's CMakeLists.txt turns Metal on, whatever is asked for.
        return [
            Trouble(what="on macOS every build has Metal: ask for that one", remedy="gpt-oss engine build metal"),
        ]
    return []


def _cuda(tools: Toolchain, architectures: Sequence[str] | None) -> list[Trouble]:
    cuda = tools.cuda
    if tools.system == "Darwin":
        return [Trouble(what="there is no CUDA for macOS", remedy="gpt-oss engine build metal")]
    if cuda is None:
        # Distributions' own toolkits are older than Blackwell (10.0), which CUDA 12.8 brought.
        newest = max(tools.gpu_architectures, default=0) >= _BLACKWELL
        need: Need = "nvidia's cuda toolkit" if newest else "cuda toolkit"
        return [Trouble(what="nvcc, the compiler of CUDA, is not here", need=need)]
    found = []
    if not cuda.cublas and not tools.pip:
        what = f"CUDA {cuda.nvcc.version or ''} at {cuda.root} has no cuBLAS, and there is no pip or uv to get it with"
        found.append(Trouble(what=what, need="pip"))
    compiler = tools.compiler
    if compiler is not None and _too_new(compiler, cuda) and cuda_host_compiler(tools) is None:
        what = f"CUDA {cuda.nvcc.version} takes g++ up to {cuda.newest_gcc}; {compiler.cxx} is {compiler.version}"
        found.append(Trouble(what=f"{what}. Install g++-{cuda.newest_gcc}, or a newer CUDA toolkit", need=None))
    if architectures is None:
        found += [trouble for each in tools.gpu_architectures if (trouble := _out_of_range(each, cuda)) is not None]
    return found


def _out_of_range(architecture: int, cuda: Cuda) -> Trouble | None:
    if not cuda.architectures or architecture in cuda.architectures:
        return None
    version = cuda.nvcc.version
    name = f"{architecture // 10}.{architecture % 10}"
    if architecture < cuda.architectures[0]:
        oldest = f"{cuda.architectures[0] // 10}.{cuda.architectures[0] % 10}"
        # CUDA 13's release notes: Maxwell, Pascal and Volta are gone; 12.x is the last that has them.
        what = f"CUDA {version} compiles for compute capability {oldest} and newer, the GPU here has {name}"
        return Trouble(what=f"{what}. Install a toolkit of CUDA 12", need="nvidia's cuda toolkit")
    if architecture > cuda.architectures[-1]:
        what = f"CUDA {version} is older than the GPU here, which has compute capability {name}"
        return Trouble(what=what, need="nvidia's cuda toolkit")
    return None  # one in between runs what is compiled for the one before it


def _rocm(tools: Toolchain, architectures: Sequence[str] | None) -> list[Trouble]:
    rocm = tools.rocm
    if rocm is None:
        return [Trouble(what="ROCm's compiler (hipconfig) is not here", need="rocm sdk")]
    found = []
    if rocm.version and numbers(rocm.version)[:2] < OLDEST_ROCM:
        found.append(Trouble(what=f"ROCm {rocm.version} is older than 6.1", need="rocm sdk"))
    if not rocm.hipblas:
        found.append(Trouble(what=f"hipBLAS and rocBLAS are not in {rocm.root}", need="rocm sdk"))
    if rocm.compiler is None:
        found.append(Trouble(what=f"ROCm at {rocm.root} has no clang", need="rocm sdk"))
    if architectures is None and not tools.gfx_targets:
        what = "no AMD GPU is seen, so say what to compile for"
        found.append(Trouble(what=what, remedy="gpt-oss engine build rocm --arch gfx1100"))
    return found


def _vulkan(tools: Toolchain, _architectures: Sequence[str] | None) -> list[Trouble]:
    sdk = tools.vulkan
    missing = [
        *(["glslc, the compiler of Vulkan's shaders,"] if sdk is None or sdk.glslc is None else []),
        *(["the Vulkan headers"] if sdk is None or sdk.headers is None else []),
        *(["libvulkan"] if sdk is None or not sdk.loader else []),
        *(["SPIRV-Headers"] if sdk is None or not sdk.spirv_headers else []),
    ]
    found = [Trouble(what=f"{each} {_is(each)} not here", need="vulkan sdk") for each in missing]
    if sdk is not None and sdk.headers is not None and not sdk.layer_settings:
        # ggml-vulkan.cpp, `ggml_vk_instance_init`: used wherever it is compiled, not only where a driver has it.
        what = f"the Vulkan headers here ({sdk.headers}) are too old: they lack VK_EXT_layer_settings"
        where = "Newer ones are in the SDK at https://vulkan.lunarg.com, which is found by its VULKAN_SDK variable"
        found.append(Trouble(what=f"{what}. {where}", remedy="gpt-oss engine install vulkan --how prebuilt"))
    return found


def _is(name: str) -> str:
    return "are" if name.endswith("eaders") else "is"


def _metal(tools: Toolchain, _architectures: Sequence[str] | None) -> list[Trouble]:
    if tools.system != "Darwin":
        return [Trouble(what="Metal is a part of macOS", remedy="gpt-oss engine build cpu")]
    return []


def _sycl(tools: Toolchain, _architectures: Sequence[str] | None) -> list[Trouble]:
    sycl = tools.sycl
    if sycl is None:
        return [
            Trouble(
                what="icpx, Intel's compiler of SYCL, is not here; Intel's package repository has it", need="sycl sdk"
            )
        ]
    if sycl.icpx is None:
        what = "oneAPI is installed, and its variables are not set in this shell"
        return [Trouble(what=what, remedy=f". {sycl.setvars}")]
    return []


_Judge = Callable[[Toolchain, "Sequence[str] | None"], list[Trouble]]
_JUDGES: dict[Backend, _Judge] = {
    "cpu": _cpu,
    "cuda": _cuda,
    "rocm": _rocm,
    "vulkan": _vulkan,
    "metal": _metal,
    "sycl": _sycl,
}


def _notes(backend: Backend, tools: Toolchain, architectures: Sequence[str] | None) -> tuple[str, ...]:
    notes = []
    if backend == "cuda" and tools.cuda is not None:
        host = cuda_host_compiler(tools)
        if host is not None:
            notes.append(f"nvcc does not take {tools.compilers[0].cxx}: {host.cxx} compiles for it")
        if architectures is None and not tools.gpu_architectures:
            notes.append(
                "no NVIDIA GPU is seen: it is compiled for all that llama.cpp supports, which takes several times as "
                "long; --arch 89 compiles for one"
            )
        if not tools.cuda.driver_library:
            notes.append("no NVIDIA driver to link with: the engine does without virtual memory management")
    if backend == "cpu":
        notes.append("it uses the instructions of this processor, and may not run on an older one")
    return tuple(notes)
