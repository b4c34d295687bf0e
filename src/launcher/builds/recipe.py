"""How a backend is compiled: CMake's definitions and the environment, from what is here. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.builds.compat import cuda_host_compiler
from launcher.builds.tool_types import Cuda, Toolchain
from launcher.builds.types import Backend

BASE = {
    "LLAVA_BUILD": "OFF",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_TOOLS_INSTALL": "ON",
    "GGML_RPC": "ON",
    "LLAMA_OPENSSL": "OFF",
}
"""As the environment's engine is compiled (pyproject.toml, `config-settings-package`): one engine, other devices."""
RPATHS = ("$ORIGIN", "$ORIGIN/../lib", "$ORIGIN/../llama_cpp/lib")
"""Where programs and libraries look for libraries: pyproject's, and the bindings' folder, which holds all of them."""

_LLAMA_CPP_CUDA = ((50, "virtual"), (61, "virtual"), (70, "virtual"), (75, "virtual"), (80, "virtual"), (86, "real"))
_LLAMA_CPP_CUDA_LATER = ((89, "real"), (90, "virtual"), (120, "real"), (121, "real"))
"""What llama.cpp compiles for where it is not told (ggml-cuda/CMakeLists.txt, without GGML_NATIVE)."""

_BACKEND: dict[Backend, dict[str, str]] = {
    "cpu": {},
    "cuda": {"GGML_CUDA": "ON"},
    "vulkan": {"GGML_VULKAN": "ON"},
    "rocm": {"GGML_HIP": "ON"},
    "metal": {"GGML_METAL": "ON", "GGML_METAL_EMBED_LIBRARY": "ON"},
    "sycl": {"GGML_SYCL": "ON"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What CMake is told. Paths that differ from run to run are not in it, so that equal recipes are equal builds."""

    backend: Backend
    version: str
    generator: str | None
    """CMake's, `Ninja`; None: the one that it takes by itself."""
    definitions: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    """Variables that configuring needs."""
    cublas: str | None
    """Version of CUDA whose cuBLAS is taken from a package; None where the toolkit has one, or none is needed."""
    n_architectures: int
    """GPU architectures that it is compiled for: time goes with them."""

    @property
    def options(self) -> tuple[str, ...]:
        """What a record of the build says of it: everything that decides what was compiled, without paths."""
        return tuple(f"{name}={value}" for name, value in self.definitions if "/" not in value and "\\" not in value)


def recipe(
    backend: Backend,
    tools: Toolchain,
    *,
    version: str,
    architectures: Sequence[str] | None = None,
    definitions: Mapping[str, str] | None = None,
) -> Recipe:
    """Decide how to compile. `definitions` are a person's own, and win; `architectures` are what --arch names."""
    chosen = {"CMAKE_BUILD_TYPE": "Release", **BASE, "CMAKE_INSTALL_RPATH": _rpath(tools.system), **_BACKEND[backend]}
    environment: dict[str, str] = {}
    named: Sequence[str] = ()
    if backend == "cuda" and tools.cuda is not None:
        named = _cuda_architectures(tools, tools.cuda, architectures)
        chosen |= _cuda(tools, tools.cuda, named)
    elif backend == "rocm" and tools.rocm is not None:
        named = architectures or tools.gfx_targets
        chosen["GPU_TARGETS"] = ";".join(named)
        # llama.cpp's docs/build.md, "HIP": the compiler by HIPCXX, ROCm's folder by HIP_PATH.
        environment = {"HIP_PATH": tools.rocm.root, "ROCM_PATH": tools.rocm.root}
        environment |= {"HIPCXX": tools.rocm.compiler} if tools.rocm.compiler else {}
    elif backend == "sycl":
        # llama.cpp's docs/backend/SYCL.md; CMake asks for both before it reads what the backend is.
        windows = tools.system == "Windows"
        chosen |= {"CMAKE_C_COMPILER": "cl" if windows else "icx", "CMAKE_CXX_COMPILER": "icx" if windows else "icpx"}
    elif backend == "vulkan" and tools.vulkan is not None and tools.vulkan.glslc is not None:
        chosen["Vulkan_GLSLC_EXECUTABLE"] = tools.vulkan.glslc.path
    chosen |= definitions or {}
    wants_cublas = backend == "cuda" and tools.cuda is not None and not tools.cuda.cublas
    return Recipe(
        backend=backend,
        version=version,
        generator=_generator(tools, backend),
        definitions=tuple(sorted(chosen.items())),
        environment=tuple(sorted(environment.items())),
        cublas=tools.cuda.nvcc.version
        if wants_cublas and tools.cuda is not None and "CUDA_cublas_LIBRARY" not in chosen
        else None,
        n_architectures=max(1, len(named)),
    )


def default_architectures(supported: Sequence[int]) -> tuple[str, ...]:
    """Those of llama.cpp's own list that a toolkit compiles for. One without a list is old, and lacks the later ones.

    They are always named, since `native`, which llama.cpp takes by itself, is nothing on a machine without a GPU, and
    a record of the build would not tell what it was.
    """
    known = (*_LLAMA_CPP_CUDA, *(_LLAMA_CPP_CUDA_LATER if supported else ()))
    # 120 alone is compiled as 120a by llama.cpp, which tells `a` from none in device code; a real one needs the letter.
    return tuple(
        f"{number}{'a' if number >= 120 else ''}-{kind}"
        for number, kind in known
        if not supported or number in supported
    )


def _cuda_architectures(tools: Toolchain, cuda: Cuda, asked: Sequence[str] | None) -> Sequence[str]:
    if asked:
        return asked
    if not tools.gpu_architectures:
        return default_architectures(cuda.architectures)
    # A GPU that lies between two of the toolkit's runs what is compiled for the one before it.
    usable = [max((each for each in cuda.architectures if each <= gpu), default=gpu) for gpu in tools.gpu_architectures]
    return [str(each) for each in sorted(set(usable))]


def _cuda(tools: Toolchain, cuda: Cuda, architectures: Sequence[str]) -> dict[str, str]:
    chosen = {"CMAKE_CUDA_ARCHITECTURES": ";".join(architectures), "CMAKE_CUDA_COMPILER": cuda.nvcc.path}
    if not cuda.driver_library:
        # Otherwise ggml-cuda is linked with libcuda, which is the driver's.
        chosen["GGML_CUDA_NO_VMM"] = "ON"
    host = cuda_host_compiler(tools)
    if host is not None:
        chosen["CMAKE_CUDA_HOST_COMPILER"] = host.cxx
    return chosen


def _rpath(system: str) -> str:
    origin = [path.replace("$ORIGIN", "@loader_path") for path in RPATHS]
    return ";".join(origin if system == "Darwin" else RPATHS)


def _generator(tools: Toolchain, backend: Backend) -> str | None:
    """Ninja tells its progress in steps. Visual Studio's own generator finds its compiler without a special shell."""
    if tools.system == "Windows" and backend != "sycl":
        return None
    return "Ninja" if tools.ninja is not None or tools.make is None else "Unix Makefiles"
