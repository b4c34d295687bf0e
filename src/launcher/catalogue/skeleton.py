"""A model file without its weights: the real header and a hole behind it, which llama.cpp loads `no_alloc`."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import BinaryIO

from launcher.catalogue.cache import header_key
from launcher.catalogue.gguf import read_header
from launcher.catalogue.headers import OpenRemote
from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import DamagedFileError


def skeleton(file: ModelFile, *, cache_dir: Path, open_remote: OpenRemote | None) -> Path:
    """The first part of a file that llama.cpp can be asked about: the model itself where it is here, else a skeleton.

    Skeletons are kept in the cache folder; they are sparse, 13 MB each on disk.

    Raises:
        DamagedFileError: the header is not on this disk and may not be read, or the file is no GGUF.
        NetworkError: the hub could not be read.
        OSError: the cache folder cannot be written.
    """
    if file.local_path is not None:
        return file.local_path
    key = header_key(file)
    if key is None or file.repo is None or any(part.size_bytes is None for part in file.parts):
        if open_remote is None:
            raise _not_here(file, file.parts[0].path)
        what = f"the hub does not say what {file.name} holds"
        raise DamagedFileError(what, path=file.parts[0].path, hint=_again(file))
    folder = cache_dir / "skeletons" / key
    paths = [folder / Path(part.path).name for part in file.parts]
    for part, path in zip(file.parts, paths, strict=True):
        if path.is_file() and path.stat().st_size == part.size_bytes:
            continue
        if open_remote is None:
            raise _not_here(file, part.path)
        with open_remote(file.repo, part.path, revision=file.revision) as stream:
            _write(stream, part, path, where=f"{file.repo}/{part.path}")
    return paths[0]


def _again(file: ModelFile) -> str:
    """The command that asks the hub of this file anew."""
    return f"gpt-oss plan --verify --refresh --model {shlex.quote(file.name)}"


def _not_here(file: ModelFile, path: str) -> DamagedFileError:
    what = f"{file.name} is not on this disk, and its header cannot be read without the hub"
    return DamagedFileError(what, path=path, hint=_again(file))


def _write(stream: BinaryIO, part: FilePart, path: Path, *, where: str) -> None:
    """Copy the header, then lengthen the file to its full size; whole or not at all under its name."""
    size_bytes = part.size_bytes or 0
    header = read_header(stream, size_bytes=size_bytes, path=where)
    stream.seek(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as out:
            left = header.data_offset
            while left:
                chunk = stream.read(min(left, 1 << 20))
                if not chunk:
                    raise DamagedFileError("the file ends within its header", path=where)  # noqa: TRY301  # cleans up
                out.write(chunk)
                left -= len(chunk)
            out.truncate(size_bytes)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
