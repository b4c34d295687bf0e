"""What a machine without a network needs to compile the engine: the source distribution without what no build reads."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

from gpu_stages.lab import LabError
from launcher.builds.pip import Pip
from launcher.builds.source import PACKAGE, known_sha256, pinned_version
from launcher.builds.toolchain import probe_toolchain
from launcher.units import MIB, format_bytes

MOST_BYTES = 60 * MIB
LEFT_OUT = (
    ".git",
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
    return not any(inside == PurePosixPath(out) or inside.is_relative_to(out) for out in LEFT_OUT)


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
        LabError: it is no source distribution, or stays too large.
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
        size = part.stat().st_size
        if size > MOST_BYTES:
            raise LabError(f"{target.name} is still {format_bytes(size)}")
        part.replace(target)
    except (tarfile.TarError, OSError) as error:
        raise LabError(f"{source} cannot be packed: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return size
