"""Unpack an archive of a release into a folder. What it says of itself is not trusted: names, links and sizes are."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from launcher.errors import DamagedFileError
from launcher.units import GIB, format_bytes

MAX_BYTES = 8 * GIB
"""The largest archive (llama.cpp for CUDA with NVIDIA's libraries) has about 2 GB in it."""
MAX_FILES = 20_000
"""rocBLAS has some thousand kernels of its own."""
_HINT = "gpt-oss engine install --how build"
_CHUNK_BYTES = 1 << 20

Keep = Callable[[PurePosixPath], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Member:
    """One entry, as the archive tells it."""

    name: str
    size_bytes: int
    link: str | None
    """Where it leads, beside itself for a symbolic link and from the top for a hard one; None for a file."""
    symbolic: bool
    runs: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, into: Path, *, keep: Keep = lambda _: True, max_bytes: int = MAX_BYTES) -> None:
    """Put an archive's files into a folder, without the one folder that all are in, if there is one.

    Links become further names of the files that they lead to: systems and file systems differ in what they know of
    symbolic ones. Files that are there already are replaced.

    Raises:
        DamagedFileError: it can't be read, is larger than any release is, or a name or link leads out of it.
    """
    try:
        if archive.name.endswith((".zip", ".whl")):
            with zipfile.ZipFile(archive) as opened:
                _put(archive, list(_zip_members(opened)), into, keep, max_bytes)
        else:
            with tarfile.open(archive, "r:*") as opened_tar:
                _put(archive, list(_tar_members(opened_tar)), into, keep, max_bytes)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise DamagedFileError(f"{archive.name} cannot be unpacked: {error}", path=str(archive), hint=_HINT) from error


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        if info.is_dir():
            continue
        if stat.S_ISLNK(mode):
            link = opened.read(info).decode("utf-8", "replace") if info.file_size < 4096 else ""
            yield _Member(name=info.filename, size_bytes=0, link=link, symbolic=True, runs=False, open=lambda: None)
            continue
        yield _Member(
            name=info.filename,
            size_bytes=info.file_size,
            link=None,
            symbolic=False,
            runs=bool(mode & 0o111),
            open=lambda info=info: opened.open(info),  # type: ignore[misc]
        )


def _tar_members(opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened:
        if info.isdir():
            continue
        if not (info.isreg() or info.issym() or info.islnk()):
            raise ValueError(f"{info.name} is neither a file nor a link")
        yield _Member(
            name=info.name,
            size_bytes=info.size if info.isreg() else 0,
            link=None if info.isreg() else info.linkname,
            symbolic=info.issym(),
            runs=bool(info.mode & 0o111),
            open=lambda info=info: opened.extractfile(info),  # type: ignore[misc]
        )


def _put(archive: Path, members: Sequence[_Member], into: Path, keep: Keep, max_bytes: int) -> None:
    total = sum(member.size_bytes for member in members)
    if total > max_bytes or len(members) > MAX_FILES:
        raise DamagedFileError(
            f"{archive.name} has {len(members)} files of {format_bytes(total)} in it: no release does",
            path=str(archive),
            hint=_HINT,
        )
    paths = [_inside(member.name) for member in members]
    top = _common_top(paths)
    short = [path.relative_to(top) if top is not None else path for path in paths]
    links: dict[PurePosixPath, PurePosixPath] = {}
    for member, path in zip(members, short, strict=True):
        if not keep(path):
            continue
        if member.link is None:
            _write(member, into / path, max_bytes)
        elif member.symbolic:
            links[path] = _beside(path, member.link)
        else:
            led = _inside(member.link)
            links[path] = led.relative_to(top) if top is not None and led.is_relative_to(top) else led
    for path in links:
        _link(path, links, into)


def _inside(name: str) -> PurePosixPath:
    """A name as a path from the top. Raises ValueError for one that leads out, or means something else elsewhere."""
    path = PurePosixPath(name)
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or not parts or any(part == ".." or "\\" in part or ":" in part for part in parts):
        raise ValueError(f"the name {name!r} leads out of the folder")
    return PurePosixPath(*parts)


def _beside(path: PurePosixPath, target: str) -> PurePosixPath:
    """Where a symbolic link leads, which may only be another name in its own folder."""
    if not target or "/" in target or "\\" in target or ":" in target or target in {".", ".."}:
        raise ValueError(f"the link {path} leads to {target!r}, out of its folder")
    return path.parent / target


def _common_top(paths: Sequence[PurePosixPath]) -> PurePosixPath | None:
    tops = {path.parts[0] for path in paths}
    return PurePosixPath(tops.pop()) if len(tops) == 1 and all(len(path.parts) > 1 for path in paths) else None


def _write(member: _Member, path: Path, max_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise ValueError(f"{member.name} has no content")
    left = min(member.size_bytes, max_bytes)
    with suppress(FileNotFoundError):
        path.unlink()  # never through a name that another file has, too
    with source, path.open("xb") as file:
        # Not one byte more than the entry announced: a zip may hold more than it says.
        while left and (chunk := source.read(min(left, _CHUNK_BYTES))):
            file.write(chunk)
            left -= len(chunk)
        if left or source.read(1):
            raise ValueError(f"{member.name} is not of the size that the archive says")
    if os.name != "nt":
        path.chmod(0o755 if member.runs else 0o644)


def _link(path: PurePosixPath, links: dict[PurePosixPath, PurePosixPath], into: Path) -> None:
    target, steps = links[path], 0
    while target in links:
        target, steps = links[target], steps + 1
        if steps > len(links):
            raise ValueError(f"the link {path} leads to itself")
    source, name = into / target, into / path
    if not source.is_file():
        raise ValueError(f"the link {path} leads to {target}, which is not in the archive")
    name.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        name.unlink()
    same_file(source, name)


def same_file(source: Path, name: Path) -> None:
    """Another name for a file; a copy where the file system has no such thing."""
    try:
        os.link(source, name)
    except OSError:
        shutil.copy2(source, name)
