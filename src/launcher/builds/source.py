"""The source of an engine: llama-cpp-python's archive, which has the llama.cpp of its commit in it."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from launcher.builds.compile_types import CompileRequest, Work
from launcher.builds.pip import Pip
from launcher.builds.unpack import unpack
from launcher.configs import configs_dir
from launcher.errors import DamagedFileError, NetworkError

PACKAGE = "llama-cpp-python"
_FILE = re.compile(r"llama_cpp_python-(\d[\w.]*)\.tar\.gz", re.IGNORECASE)
_DONE = ".unpacked"
_COMMIT = re.compile(r"[0-9a-f]{40}")
GIT_TIMEOUT_S = 20.0
"""It reads two files; a home folder over a network may be slow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """A source tree that is ready to be compiled."""

    sha256: str
    """Of its archive."""
    known: bool
    """Whether the archive was known beforehand by that hash."""


def pinned_version() -> str | None:
    """The version that this launcher is made for, by its own metadata."""
    try:
        needed = requires("gpt-oss-launcher") or []
    except PackageNotFoundError:
        return None
    pins = [text.partition("==")[2] for text in needed if text.startswith(f"{PACKAGE}==")]
    return pins[0].partition(";")[0].strip() if pins else None


def known_sha256(version: str, folder: Path | None = None) -> str | None:
    """The hash of a version's archive in configs/engines.toml; None for a version that is not in it."""
    path = (folder or configs_dir()) / "engines.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        found = table.get("source", {}).get(version, {}).get("sha256")
    except (OSError, tomllib.TOMLDecodeError, AttributeError) as error:
        raise DamagedFileError(
            f"{path.name}: {error}", path=str(path), hint="uv sync --reinstall-package gpt-oss-launcher"
        ) from error
    return found if isinstance(found, str) else None


def commit_definitions(tree: Path, environ: Mapping[str, str], *, pinned: str | None = None) -> dict[str, str]:
    """CMake's definitions that tell llama.cpp its commit, where git does not: it would call itself `unknown`.

    The archive has it, as git's note of a submodule; `pinned` is what else is known. Git may not be here, may take the
    folder for somebody else's, or find the repository of a home folder that this one lies in.
    """
    try:
        noted = (tree / ".git/modules/vendor/llama.cpp/HEAD").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        noted = ""
    commit = noted if _COMMIT.fullmatch(noted) else pinned
    if commit is None or _told_by_git(tree / "vendor" / "llama.cpp", environ) == commit:
        return {}
    # ggml has llama.cpp's, unless it finds a git to ask (CMakeLists.txt of both).
    return {"LLAMA_BUILD_COMMIT": commit[:7], "GIT_EXE": ""}


def _told_by_git(folder: Path, environ: Mapping[str, str]) -> str | None:
    git = shutil.which("git", path=environ.get("PATH"))
    if git is None:
        return None
    try:
        done = subprocess.run(
            [git, "rev-parse", "HEAD"], cwd=folder, env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=GIT_TIMEOUT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def get_source(request: CompileRequest, work: Work, pip: Pip) -> Unpacked:
    """Have the source tree in the work folder: from an earlier run, a file, or the person's package index.

    Raises:
        NetworkError: it is to be downloaded, and cannot.
        DamagedFileError: the archive has another hash, or cannot be unpacked.
    """
    marker = work.source / _DONE
    if marker.is_file():
        found = marker.read_text(encoding="utf-8").strip()
        if request.source is None or sha256_of(request.source) == found:
            return Unpacked(sha256=found, known=found == request.sha256)
    shutil.rmtree(work.source, ignore_errors=True)
    archive = request.source or _download(request, work, pip)
    digest = sha256_of(archive)
    if request.sha256 is not None and digest != request.sha256:
        raise DamagedFileError(
            f"{archive.name} is not the {PACKAGE} {request.version} that is expected: its sha256 is {digest}",
            path=str(archive),
            hint="gpt-oss engine build --help",
        )
    half = work.folder / ".source"
    shutil.rmtree(half, ignore_errors=True)
    unpack(archive, half)
    if not (half / "CMakeLists.txt").is_file() or not (half / "llama_cpp" / "__init__.py").is_file():
        raise DamagedFileError(
            f"{archive.name} is not a source archive of {PACKAGE}",
            path=str(archive),
            hint="gpt-oss engine build --help",
        )
    (half / _DONE).write_text(digest + "\n", encoding="utf-8")
    half.rename(work.source)
    if request.source is None:
        shutil.rmtree(archive.parent, ignore_errors=True)
    return Unpacked(sha256=digest, known=digest == request.sha256)


def _download(request: CompileRequest, work: Work, pip: Pip) -> Path:
    if request.offline:
        raise NetworkError(
            f"the source of {PACKAGE} {request.version} is to be downloaded, and offline mode is on",
            hint="gpt-oss engine build --help",
            details=("An archive that is here is taken with --source FILE.",),
        )
    folder = work.folder / "download"
    shutil.rmtree(folder, ignore_errors=True)
    return pip.download(f"{PACKAGE}=={request.version}", folder, sha256=request.sha256, source=True)


def version_of(archive: Path) -> str | None:
    """The version in a source archive's name; None for another name."""
    found = _FILE.fullmatch(archive.name)
    return found[1] if found else None


def sha256_of(path: Path) -> str:
    """A file's hash. Raises DamagedFileError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedFileError(
            f"{path}: {error.strerror or error}", path=str(path), hint="gpt-oss engine build --help"
        ) from error
