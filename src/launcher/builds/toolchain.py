"""What this machine has of what compiling an engine takes: tools are run here, and read in `tool_text`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from launcher.builds import tool_text
from launcher.builds.tool_types import Compiler, Cuda, Rocm, Sycl, Tool, Toolchain, VulkanSdk
from launcher.hardware import nvidia
from launcher.hardware.detect import Machine
from launcher.hardware.seen import read_text

_CXX = ("c++", "g++", "clang++")
"""What CMake tries, in its order (Modules/CMakeDetermineCXXCompiler.cmake)."""
_OTHER_GCC = re.compile(r"g\+\+-(\d+)")
_CUDA_PLACES = ("usr/local/cuda", "opt/cuda")
_INCLUDE_DIRS = ("include", "targets/*/include")
_LIBRARY_DIRS = ("lib64", "lib", "lib/x64", "targets/*/lib")
_SYSTEM_LIBRARY_DIRS = ("usr/lib/*-linux-gnu", "usr/lib64", "usr/lib", "usr/local/lib", "usr/lib/wsl/lib")
_VULKAN_INCLUDE = ("usr/include", "usr/local/include", "opt/homebrew/include")
_SPIRV_CMAKE = (
    *("usr/share/cmake/SPIRV-Headers", "usr/local/share/cmake/SPIRV-Headers", "usr/lib*/cmake/SPIRV-Headers"),
    *("usr/lib/*-linux-gnu/cmake/SPIRV-Headers", "opt/homebrew/share/cmake/SPIRV-Headers"),
)
_SETVARS = "opt/intel/oneapi/setvars.sh"
_VSWHERE = r"Microsoft Visual Studio\Installer\vswhere.exe"


def _has_pip() -> bool:
    return find_spec("pip") is not None


def _names_on_path() -> Iterator[str]:
    for folder in os.get_exec_path():
        with suppress(OSError):
            yield from (entry.name for entry in Path(folder).iterdir())


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where tools are looked for. The defaults are this machine; tests give a file tree and fakes."""

    machine: Machine = field(default_factory=Machine)
    which: Callable[[str], str | None] = shutil.which
    names: Callable[[], Iterator[str]] = _names_on_path
    """Programs on the search path, by name."""
    has_pip: Callable[[], bool] = _has_pip
    """Whether this Python has pip."""

    def version(self, path: str, parse: Callable[[str], str | None], *words: str) -> str | None:
        """What a program says of itself."""
        return parse(self.machine.run((path, *(words or ("--version",)))) or "")

    def tool(self, name: str, parse: Callable[[str], str | None]) -> Tool | None:
        """A program on the search path."""
        path = self.which(name)
        return Tool(path=path, version=self.version(path, parse)) if path else None

    def first(self, *patterns: str) -> Path | None:
        """The first file that is there, by patterns below the root."""
        root = self.machine.root
        return next(chain.from_iterable(sorted(root.glob(pattern)) for pattern in patterns), None)


def probe_toolchain(places: Places | None = None) -> Toolchain:
    """Look at this machine. Never raises for what it lacks; takes about a second."""
    places = places or Places()
    machine = places.machine
    return Toolchain(
        system=machine.system,
        arch=machine.arch,
        compilers=_compilers(places),
        cmake=places.tool("cmake", tool_text.parse_cmake),
        ninja=places.tool("ninja", tool_text.parse_number),
        make=places.tool("make", tool_text.parse_number),
        pip=_pip(places),
        ccache=places.which("ccache") is not None,
        cuda=_cuda(places),
        rocm=_rocm(places),
        vulkan=_vulkan(places),
        sycl=_sycl(places),
        gpu_architectures=_gpu_architectures(machine),
        gfx_targets=_gfx_targets(machine.root),
    )


def _compilers(places: Places) -> tuple[Compiler, ...]:
    if places.machine.system == "Windows":
        return _visual_studio(places)
    names = [places.machine.environ["CXX"]] if places.machine.environ.get("CXX") else []
    others = {name for name in places.names() if _OTHER_GCC.fullmatch(name)}
    newest_first = sorted(others, key=lambda name: int(name.rpartition("-")[2]), reverse=True)
    found: list[Compiler] = []
    for name in (*names, *_CXX, *newest_first):
        path = places.which(name)
        known = tool_text.parse_compiler(places.machine.run((path, "--version")) or "") if path else None
        # `c++` and `g++` are one compiler under two names on most systems.
        if path and known and known not in [(each.kind, each.version) for each in found]:
            found.append(Compiler(kind=known[0], cxx=path, version=known[1]))
    return tuple(found)


def _visual_studio(places: Places) -> tuple[Compiler, ...]:
    """CMake finds Visual Studio by itself; vswhere says whether its tools for C++ are installed."""
    environ = places.machine.environ
    vswhere = environ.get("ProgramFiles(x86)", r"C:\Program Files (x86)") + "\\" + _VSWHERE
    wanted = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64"
    text = places.machine.run((vswhere, "-latest", "-products", "*", "-requires", wanted, "-format", "json"))
    version = tool_text.parse_vswhere(text or "")
    return (Compiler(kind="msvc", cxx="cl", version=version),) if version else ()


def _pip(places: Places) -> tuple[str, ...]:
    """This Python's own first: it has the same certificates and settings. uv runs one without installing it."""
    if places.has_pip():
        return (places.machine.python, "-m", "pip")
    uv = places.which("uv")
    if uv:
        return (uv, "tool", "run", "--quiet", "pip")
    pip = places.which("pip3") or places.which("pip")
    return (pip,) if pip else ()


def _cuda(places: Places) -> Cuda | None:
    machine = places.machine
    environ = machine.environ
    named = [Path(environ[name]) for name in ("CUDACXX", "CUDA_PATH", "CUDA_HOME") if environ.get(name)]
    suffix = ".exe" if machine.system == "Windows" else ""
    candidates = [path if path.is_file() else path / "bin" / f"nvcc{suffix}" for path in named]
    candidates += [Path(path)] if (path := places.which("nvcc")) else []
    candidates += [machine.root / place / "bin/nvcc" for place in _CUDA_PLACES]
    nvcc = next((path for path in candidates if path.is_file()), None)
    if nvcc is None:
        return None
    version = places.version(str(nvcc), tool_text.parse_nvcc)
    root = _cuda_root(nvcc, machine, version)
    config = read_text(root / "include/crt/host_config.h") or read_text(root / "include/host_config.h") or ""
    return Cuda(
        nvcc=Tool(path=str(nvcc), version=version),
        root=str(root),
        architectures=tool_text.parse_architectures(machine.run((str(nvcc), "--list-gpu-arch")) or ""),
        newest_gcc=tool_text.parse_newest_gcc(config),
        cublas=_has_header(root, "cublas_v2.h") and _has_library(root, "cublas", machine),
        driver_library=_has_driver_library(places, root),
    )


def _cuda_root(nvcc: Path, machine: Machine, version: str | None) -> Path:
    """The toolkit that an nvcc belongs to: above it, unless it is a script or a link in a common folder."""
    above = nvcc.resolve().parent.parent
    if (above / "include/cuda_runtime.h").is_file() and above != machine.root / "usr":
        return above
    numbered = [f"usr/local/cuda-{version}"] if version else []
    for place in (*numbered, *_CUDA_PLACES):
        if (machine.root / place / "include/cuda_runtime.h").is_file():
            return machine.root / place
    return above


def _has_header(root: Path, name: str) -> bool:
    return any(True for folder in _INCLUDE_DIRS for _ in root.glob(f"{folder}/{name}"))


def _has_library(root: Path, name: str, machine: Machine) -> bool:
    names = (f"{name}.lib",) if machine.system == "Windows" else (f"lib{name}.so",)
    places = [root.glob(f"{folder}/{each}") for folder in _LIBRARY_DIRS for each in names]
    if root == machine.root / "usr":  # a distribution's own package
        places += [machine.root.glob(f"{folder}/{each}") for folder in _SYSTEM_LIBRARY_DIRS for each in names]
    return any(True for place in places for _ in place)


def _has_driver_library(places: Places, root: Path) -> bool:
    """CMake's FindCUDAToolkit looks for the driver's library and for the stub that a toolkit brings."""
    if places.machine.system == "Windows":
        return _has_library(root, "cuda", places.machine)
    stubs = any(True for folder in _LIBRARY_DIRS for _ in root.glob(f"{folder}/stubs/libcuda.so"))
    return stubs or places.first(*(f"{folder}/libcuda.so" for folder in _SYSTEM_LIBRARY_DIRS)) is not None


def _rocm(places: Places) -> Rocm | None:
    machine = places.machine
    named = machine.environ.get("ROCM_PATH") or machine.environ.get("HIP_PATH")
    root = Path(named) if named else machine.root / "opt/rocm"
    hipconfig = places.which("hipconfig") or (str(root / "bin/hipconfig") if root.is_dir() else None)
    if hipconfig is None:
        return None
    if not root.is_dir():
        root = machine.root / "usr"
    folder = (machine.run((hipconfig, "-l")) or "").strip()
    clang = Path(folder) / ("clang.exe" if machine.system == "Windows" else "clang") if folder else None
    headers = ("include/hipblas/hipblas.h", "include/rocblas/rocblas.h")
    return Rocm(
        root=str(root),
        version=places.version(hipconfig, tool_text.parse_number),
        compiler=str(clang) if clang is not None and clang.is_file() else None,
        hipblas=all((root / header).is_file() for header in headers),
    )


def _vulkan(places: Places) -> VulkanSdk | None:
    machine = places.machine
    sdk = machine.environ.get("VULKAN_SDK")
    includes = [Path(sdk) / name for name in ("include", "Include")] if sdk else []
    includes += [machine.root / folder for folder in _VULKAN_INCLUDE]
    texts = (read_text(folder / "vulkan/vulkan_core.h") or "" for folder in includes)
    core = next((text for text in texts if tool_text.parse_vulkan_core(text)), "")
    headers = tool_text.parse_vulkan_core(core)
    glslc = places.tool("glslc", tool_text.parse_glslc)
    if glslc is None and sdk:
        inside = next((path for path in Path(sdk).glob("[bB]in/glslc*") if path.stem == "glslc"), None)
        glslc = Tool(path=str(inside), version=places.version(str(inside), tool_text.parse_glslc)) if inside else None
    if headers is None and glslc is None:
        return None
    libraries = (f"{folder}/libvulkan.{end}" for folder in _SYSTEM_LIBRARY_DIRS for end in ("so", "dylib"))
    loader = places.first(*libraries, "opt/homebrew/lib/libvulkan.dylib") is not None
    return VulkanSdk(
        glslc=glslc,
        headers=headers,
        layer_settings="VK_EXT_layer_settings" in core,
        loader=bool(sdk) or loader,
        spirv_headers=bool(sdk) or places.first(*_SPIRV_CMAKE) is not None,
    )


def _sycl(places: Places) -> Sycl | None:
    machine = places.machine
    icpx = places.tool("icx" if machine.system == "Windows" else "icpx", tool_text.parse_icpx)
    setvars = machine.root / _SETVARS
    if icpx is None and not setvars.is_file():
        return None
    return Sycl(icpx=icpx, setvars=str(setvars) if setvars.is_file() else None)


def _gpu_architectures(machine: Machine) -> tuple[int, ...]:
    if not nvidia.driver_present(machine.root, machine.system):
        return ()
    try:
        gpus, _notes = nvidia.read_gpus(machine.load_nvml)
    except Exception:  # noqa: BLE001  # the driver's library fails in its own ways; the list then is llama.cpp's own
        return ()
    told = {tool_text.numbers(gpu.compute_capability) for gpu in gpus if gpu.compute_capability}
    return tuple(sorted(major * 10 + minor for major, minor in told))


def _gfx_targets(root: Path) -> tuple[str, ...]:
    nodes = sorted(root.glob("sys/class/kfd/kfd/topology/nodes/*/properties"))
    found = (tool_text.parse_gfx(read_text(node) or "") for node in nodes)
    return tuple(sorted({target for target in found if target}))


def pip_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables for pip: the index that uv was told of counts for it too, unless it has one of its own."""
    env = dict(environ)
    index = env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL")
    if index and "PIP_INDEX_URL" not in env and "://" in index:
        # uv takes `name=https://...` as well.
        name, equals, address = index.partition("=")
        env["PIP_INDEX_URL"] = address if equals and "://" not in name else index
    return env
