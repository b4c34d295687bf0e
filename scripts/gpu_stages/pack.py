"""What a machine without a network needs: the engine's source without what no build reads, and Python packages."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path, PurePosixPath

from gpu_stages.lab import LabError
from launcher.builds.pip import Pip
from launcher.builds.record import RECORD
from launcher.builds.source import PACKAGE, known_sha256, pinned_version
from launcher.builds.toolchain import pip_environment, probe_toolchain
from launcher.builds.types import Build
from launcher.units import MIB

MOST_BYTES = 60 * MIB
"""Of the archive and the packages together."""
CARRIED = ("libcublas.so", "libcublasLt.so")
"""What an engine carries of NVIDIA's: half a gigabyte, which a machine with CUDA has."""
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
LEFT_OUT = (
    ".github",
    "docker",
    "docs",
    "examples",
    "tests",
    *(
        f"vendor/llama.cpp/{name}"
        for name in (
            ".devops",
            ".github",
            "benches",
            "ci",
            "conversion",
            "docs",
            "examples",
            "gguf-py",
            "grammars",
            "media",
            "models",
            "pocs",
            "requirements",
            "skills",
            "tests",
        )
    ),
)
"""Below the folder that the archive holds: vocabularies for tests, documents, tools for converting."""


def is_needed(name: str) -> bool:
    """Whether a build reads a file, by its path in the archive."""
    inside = PurePosixPath(*PurePosixPath(name).parts[1:])
    if inside.parts[:1] == (".git",):
        # A build asks git which commit it is, and git wants folders to be there, not what is in them.
        return "hooks" not in inside.parts and "objects" not in inside.parts[:-1]
    return not any(inside.is_relative_to(out) for out in LEFT_OUT)


def is_git_head(name: str) -> bool:
    """Whether a file makes its folder one of git's, which then wants a folder of objects."""
    parts = PurePosixPath(name).parts
    return parts[1:2] == (".git",) and parts[-1] == "HEAD" and not {"logs", "refs"} & set(parts)


def archive_name(source: Path) -> str:
    """What the archive is called: as the source distribution, without its folder."""
    if not source.name.endswith((".tar.gz", ".tgz", ".tar.xz")):
        raise LabError(f"{source} is no source archive")
    return source.name.rpartition(".tar")[0].removesuffix(".tgz") + ".tar.gz" if ".tar" in source.name else source.name


def downloaded(folder: Path) -> Path:
    """The source distribution of the pinned version, from the person's package index.

    Raises:
        LauncherError: there is no pip, or the index does not have it.
    """
    version = pinned_version()
    if version is None:
        raise LabError("which version is pinned is not known: name an archive with --source")
    pip = Pip(command=probe_toolchain().pip, log=folder / "pip.log")
    return pip.download(f"{PACKAGE}=={version}", folder / "download", sha256=known_sha256(version), source=True)


def slimmed(source: Path, target: Path) -> int:
    """Write the archive without what no build reads; its size.

    Raises:
        LabError: it is no source distribution, or there is no room.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        with tarfile.open(source) as archive, tarfile.open(part, "w:gz") as packed:
            kept = [member for member in archive if is_needed(member.name)]
            if not any(member.name.endswith("vendor/llama.cpp/CMakeLists.txt") for member in kept):
                raise LabError(f"{source} is no source distribution of llama-cpp-python")
            for member in kept:
                packed.addfile(member, archive.extractfile(member) if member.isreg() else None)
                if is_git_head(member.name):
                    packed.addfile(tarfile.TarInfo(str(PurePosixPath(member.name).parent / "objects/info/packs")))
        size = part.stat().st_size
        part.replace(target)
    except (tarfile.TarError, OSError) as error:
        raise LabError(f"{source} cannot be packed: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return size


def requirements() -> list[str]:
    """What the launcher and the engine's bindings import, without the bindings. Raises LabError where nobody tells."""
    try:
        named = [*(requires("gpt-oss-launcher") or ()), *(requires(PACKAGE) or ())]
    except PackageNotFoundError as error:
        raise LabError(f"{error.name} is not installed: pack where the launcher is") from error
    return [text for text in named if "extra ==" not in text and not text.startswith(PACKAGE)]


def packed_engine(build: Build, target: Path) -> int:
    """Write an engine of the store as an archive, without the GPU maker's large libraries; its size.

    Raises:
        LabError: it is the environment's, or there is no room.
    """
    if build.record is None:
        raise LabError("the environment's engine is not packed: name one of `gpt-oss engine list`")
    folder = build.site.parent
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        with tarfile.open(part, "w:xz") as packed:
            for path in (folder / RECORD, *sorted(build.site.rglob("*"))):
                if path.is_dir() or path.suffix == ".pyc" or path.name.startswith(CARRIED):
                    continue
                packed.add(path, f"{build.name}/{path.relative_to(folder)}")
        part.replace(target)
    except OSError as error:
        raise LabError(f"{build.name} cannot be packed: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def get_wheels(into: Path, *, python: str, wanted: Sequence[str], pure: bool) -> int:
    """Download packages, and what they need, for another Python on x86-64 Linux; their size.

    Args:
        into: a folder.
        python: its version, `3.12`.
        wanted: requirements.
        pure: leave out what is compiled: a Python that has PyTorch has most of that.

    Raises:
        LabError: pip cannot get them.
    """
    into.mkdir(parents=True, exist_ok=True)
    platforms = [word for tag in _PLATFORMS for word in ("--platform", f"{tag}_x86_64")]
    words = ["download", "--quiet", "--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    command = [*probe_toolchain().pip, *words, *platforms, "--dest", str(into), *wanted]
    if subprocess.run(command, env=pip_environment(os.environ), check=False).returncode != 0:
        raise LabError(f"pip could not download the packages for Python {python}")
    for path in into.glob("*.whl"):
        if pure and not path.name.endswith("-none-any.whl"):
            path.unlink()
    return sum(path.stat().st_size for path in into.glob("*.whl"))
