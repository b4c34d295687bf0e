"""What is already on this disk. Standard library only, so that a plan with a warm cache stays cheap."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import DamagedFileError
from launcher.store.cache import RepoCache, is_commit, is_sha256

_SPLIT = re.compile(r"(?P<prefix>.*)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf\Z")
"""llama.cpp `llama_split_path`: `%s-%05d-of-%05d.gguf`."""
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})", re.ASCII)


def hub_cache_dir(env: Mapping[str, str] | None = None) -> Path:
    """The hub's cache folder, found as huggingface_hub's `constants.py` finds it.

    HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else `hub` in HF_HOME, else in `huggingface` in XDG_CACHE_HOME, else in
    `~/.cache`. Set but empty counts as set, as it does there.
    """
    env = os.environ if env is None else env
    return Path(expand(env.get("HF_HUB_CACHE", env.get("HUGGINGFACE_HUB_CACHE", str(hub_home(env) / "hub"))), env))


def hub_home(env: Mapping[str, str] | None = None) -> Path:
    """HF_HOME as huggingface_hub finds it: where the cache and the login token lie."""
    env = os.environ if env is None else env
    cache_home = env.get("XDG_CACHE_HOME", str(Path(expand("~", env)) / ".cache"))
    return Path(expand(env.get("HF_HOME", str(Path(cache_home) / "huggingface")), env))


def expand(text: str, env: Mapping[str, str]) -> str:
    """`~`, `$NAME` and `${NAME}` by `env` instead of the process's own; an unknown name stays as it is."""
    if text == "~" or text.startswith("~/"):
        text = env.get("HOME", "").rstrip("/") + text[1:] if env.get("HOME") else str(Path(text).expanduser())
    return _VARIABLE.sub(lambda match: env.get(match[1].strip("{}"), match[0]), text)


def find_cached(file: ModelFile, cache_dir: Path) -> Path | None:
    """First part of `file`, where all its parts are complete in one snapshot of the hub's cache; else None."""
    parts = find_cached_parts(file, cache_dir)
    return parts[0] if parts else None


def find_cached_parts(file: ModelFile, cache_dir: Path) -> tuple[Path, ...] | None:
    """All parts of `file`, where they are complete in one snapshot of the hub's cache; else None.

    The file's own revision is looked at first, then every other snapshot of the repository: the same bytes under
    another commit are as good. A part counts if its size is the listed one, and its blob, where it is a link, is named
    by the listed sha256. Contents are not hashed again: a blob gets its name only once its hash was right.
    """
    if file.repo is None or not file.parts:
        return None
    repo = RepoCache(cache_dir=cache_dir, repo=file.repo)
    own = [repo.folder / "snapshots" / str(file.revision)] if is_commit(file.revision) else []
    for snapshot in [*own, *(found for found in repo.snapshots() if found not in own)]:
        pointers = tuple(repo.pointer(snapshot.name, part.path) for part in file.parts)
        if all(_is_whole(pointer, part) for pointer, part in zip(pointers, file.parts, strict=True)):
            return pointers
    return None


def _is_whole(pointer: Path, part: FilePart) -> bool:
    try:
        size_bytes = pointer.stat().st_size
    except OSError:
        return False
    if part.size_bytes is not None and size_bytes != part.size_bytes:
        return False
    try:
        # The link's own target, not the end of the chain: newer huggingface_hub links blobs on into a shared store.
        blob_name = pointer.readlink().name
    except OSError:
        return size_bytes > 0
    return part.sha256 is None or not is_sha256(blob_name) or blob_name == part.sha256


def part_paths(first: Path, count: int) -> tuple[Path, ...]:
    """The parts of a split model beside `first`, by llama.cpp's naming; `first` alone where it is no split file."""
    match = _SPLIT.match(first.name)
    if match is None:
        return (first,)
    return tuple(first.with_name(f"{match['prefix']}-{no:05d}-of-{count:05d}.gguf") for no in range(1, count + 1))


def check_parts(path: Path) -> tuple[Path, ...]:
    """All files of the model that `path` belongs to, in order, each of them readable.

    `path` may be any part of a split model (`name-00001-of-00003.gguf`); llama.cpp wants the first, which comes first
    here. Raises DamagedFileError that names what is missing, is a folder, is empty or can't be read.
    """
    match = _SPLIT.match(path.name)
    count = int(match["count"]) if match else 1
    if match and not 1 <= int(match["no"]) <= count:
        raise DamagedFileError(
            f"{path.name} says part {int(match['no'])} of {count}: the file has been renamed", path=str(path)
        )
    paths = part_paths(path, count)
    for part in paths:
        _check_readable(part, of_model=path, count=count)
    return paths


def _check_readable(part: Path, *, of_model: Path, count: int) -> None:
    what = part.name if count == 1 else f"{part.name}, one of the {count} parts of {of_model.name},"
    try:
        kind = part.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            # A pipe would be waited for, and a device never ends.
            raise DamagedFileError(f"{part} is no file", path=str(part), hint=f"ls -l {shlex.quote(str(part))}")
        with part.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError:
        raise DamagedFileError(f"{what} is not in {part.parent}", path=str(part), hint="gpt-oss plan") from None
    except IsADirectoryError:
        raise DamagedFileError(
            f"{part} is a folder, not a GGUF file", path=str(part), hint=f"ls {shlex.quote(str(part))}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DamagedFileError(
            f"{what} can't be read: {reason}", path=str(part), hint=f"ls -l {shlex.quote(str(part))}"
        ) from error
    if empty:
        raise DamagedFileError(f"{what} is empty", path=str(part), hint=f"ls -l {shlex.quote(str(part))}")


def model_path(file: ModelFile, cache_dir: Path) -> Path:
    """Where the first part of a file lies, or will lie once it is downloaded: in the hub's cache, at its commit.

    Where the commit is not known yet (an offline plan), the file's own name.
    """
    if file.local_path is not None:
        return file.local_path
    if file.repo is None or not is_commit(file.revision):
        return Path(Path(file.parts[0].path).name)
    return RepoCache(cache_dir=cache_dir, repo=file.repo).pointer(str(file.revision), file.parts[0].path)
