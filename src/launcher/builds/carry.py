"""Make what CMake installed an engine that stands alone: bindings, every library it needs, and its licences."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from launcher.builds.pip import Pip
from launcher.builds.recipe import Recipe
from launcher.builds.tool_types import Cuda
from launcher.builds.unpack import same_file, unpack
from launcher.errors import DamagedFileError

_CUBLAS_LIBRARIES = ("libcublas.so.*", "libcublasLt.so.*")
_LICENCES = ("LICENSE.md", "LICENSE", "vendor/llama.cpp/LICENSE", "vendor/llama.cpp/licenses")


def get_cublas(version: str, into: Path, pip: Pip) -> Path:
    """Headers and libraries of cuBLAS for a CUDA version (`13.0`), from NVIDIA's package; the folder with both.

    Raises:
        NetworkError: it cannot be downloaded.
        DamagedFileError: the package is not laid out as it should be.
    """
    if not any(into.rglob("cublas_v2.h")):
        shutil.rmtree(into, ignore_errors=True)
        wheel = pip.download(cublas_requirement(version), into.parent / "download")
        half = into.with_name(".cublas")
        shutil.rmtree(half, ignore_errors=True)
        unpack(wheel, half, keep=lambda path: "cublas" in path.name.lower() or "licen" in path.name.lower())
        half.rename(into)
        shutil.rmtree(wheel.parent, ignore_errors=True)
    header = next(into.rglob("cublas_v2.h"), None)
    if header is None or not any(header.parent.parent.glob("lib/libcublas.so.*")):
        raise DamagedFileError(
            "the package of cuBLAS has no headers or no library", path=str(into), hint="gpt-oss engine build cpu"
        )
    return header.parent.parent


def cublas_requirement(version: str) -> str:
    """NVIDIA numbers cuBLAS as the toolkit that it belongs to, and names its package by major version until 12."""
    major, _, minor = version.partition(".")
    name = "nvidia-cublas" if int(major) >= 13 else f"nvidia-cublas-cu{major}"
    return f"{name}=={major}.{minor or '0'}.*"


def named_cublas(recipe: Recipe, cuda: Cuda | None) -> Path | None:
    """The folder of a cuBLAS that a person names (`--define CUDA_cublas_LIBRARY=...`), unless it is the toolkit's."""
    named = dict(recipe.definitions).get("CUDA_cublas_LIBRARY")
    if named is None or cuda is None or Path(named).is_relative_to(cuda.root):
        return None
    return Path(named).parent.parent


def cublas_definitions(folder: Path, flags: str | None) -> dict[str, str]:
    """What tells CMake where cuBLAS is. `flags` are those that a person gives nvcc."""
    library, light = (next((folder / "lib").glob(pattern)) for pattern in _CUBLAS_LIBRARIES)
    include = f'-I"{folder / "include"}"'
    return {
        "CUDA_cublas_LIBRARY": str(library),
        "CUDA_cublasLt_LIBRARY": str(light),
        "CMAKE_CUDA_FLAGS": f"{flags} {include}" if flags else include,
    }


def finish_site(site: Path, source: Path, recipe: Recipe, cuda: Cuda | None, cublas: Path | None) -> None:
    """Bring the installed files into the shape of the store: `llama_cpp` with all libraries, and `bin`."""
    package = site / "llama_cpp"
    shutil.copytree(
        source / "llama_cpp", package, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lib", "__pycache__", "*.pyc")
    )
    libraries = package / "lib"
    for path in _libraries(site / "lib"):
        target = libraries / path.name
        if not os.path.lexists(target):
            # Links lead to a name beside them, and keep doing so.
            path.rename(target)
    for name in ("lib", "lib64", "include", "share"):
        shutil.rmtree(site / name, ignore_errors=True)
    if cublas is not None:
        for pattern in _CUBLAS_LIBRARIES:
            _take(next((cublas / "lib").glob(pattern)), libraries)
    if recipe.backend == "cuda" and cuda is not None:
        for path in _runtime(Path(cuda.root)):
            _take(path, libraries)
    licences = site.parent / "licences"
    for number, path in enumerate(_found(source, cublas)):
        licences.mkdir(exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, licences, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, licences / f"{number}-{path.name}")


def _libraries(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if ".so" in path.name or path.suffix == ".dylib")


def _runtime(root: Path) -> Iterator[Path]:
    """CUDA's own runtime, by the name that libraries ask for it: `libcudart.so.13`."""
    seen = set()
    for folder in ("lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"):
        for path in sorted((root / folder).glob("libcudart.so.*")):
            if path.name.count(".") == 2 and path.name not in seen:
                seen.add(path.name)
                yield path


def _take(path: Path, into: Path) -> None:
    """Another name for a file in a folder, or a copy of it."""
    target = into / path.name
    with suppress(FileNotFoundError):
        target.unlink()
    same_file(path.resolve(), target)


def _found(source: Path, cublas: Path | None) -> Iterator[Path]:
    yield from (source / name for name in _LICENCES if (source / name).exists())
    if cublas is not None:
        yield from (path for path in cublas.parent.parent.rglob("*") if "licen" in path.name.lower() and path.is_file())
