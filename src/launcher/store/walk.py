"""Look for model files in the folders of applications, within limits. Standard library only.

Names and `stat` tell nearly all; nothing is opened but the small manifests of Jan and Ollama.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.store.apps import App, Place
from launcher.store.cache import is_commit, is_sha256
from launcher.store.small import read_small

MAX_ENTRIES = 50_000
"""Names read below one root. A model folder holds hundreds; a home folder named by mistake must not cost minutes."""
MAX_DEPTH = 6
"""Folders in folders below one root. LM Studio and Jan need four."""
_MANIFEST_BYTES = 256 * 1024
_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_MODEL_PATH = re.compile(r"^model_path:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_UNFINISHED = re.compile(
    r"""
    \A(?:
      downloading_.+\.part                              # LM Studio
      | incomplete-.+                                   # GPT4All
      | .+\.gguf\.(?:part|tmp|aria2|downloadInProgress|crdownload|incomplete)
      | .+\.downloadInProgress                          # llama.cpp
    )\Z""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenFile:
    """One file as a walk found it: what `stat` says, and what its place says of its content."""

    file: str
    """Its path, as text: there may be thousands of them."""
    app: App
    size_bytes: int
    mtime_ns: int
    file_id: tuple[int, int]
    """Device and inode: equal for hard links and for links to one blob."""
    sha256: str | None = None
    """The hash by which a cache calls it. Whoever wrote it there vouches for it; nothing was hashed here."""
    repo: str | None = None
    """Hub repository, where the place tells."""
    commit: str | None = None
    inner: str | None = None
    """Path inside the repository."""
    label: str | None = None
    """The application's own name for it: `gpt-oss:20b`."""
    unfinished: bool = False
    """Whether a program is still writing it, or gave up."""
    root: Path
    """Of the place it was found in."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.file)


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """What a walk found."""

    files: tuple[SeenFile, ...]
    """GGUF files by name or by manifest; the same file (`file_id`) may stand here under several paths."""
    unfinished: tuple[SeenFile, ...]
    """Downloads that other programs and this one have not ended."""
    notes: tuple[str, ...]
    """Folders that could not be read, or not to their end."""


def walk(places: Iterable[Place], *, max_entries: int = MAX_ENTRIES) -> Walk:
    """Look through the places, in order. A folder that cannot be read is noted and left out; nothing is raised."""
    files: list[SeenFile] = []
    unfinished: list[SeenFile] = []
    notes: list[str] = []
    for place in places:
        looking = _Looking(place=place, left=max_entries)
        for seen in _LAYOUTS[place.layout](looking):
            (unfinished if seen.unfinished else files).append(seen)
        notes += looking.notes
    return Walk(files=tuple(files), unfinished=tuple(unfinished), notes=tuple(notes))


@dataclass(kw_only=True, slots=True)
class _Looking:
    """One place, with what may still be read of it."""

    place: Place
    left: int
    notes: list[str] = field(default_factory=list)
    visited: set[tuple[int, int]] = field(default_factory=set)

    def entries(self, folder: Path | str) -> Iterator[os.DirEntry[str]]:
        """Entries of a folder; each folder once, so that links in a circle end, and no more than are left."""
        try:
            own = os.stat(folder)  # noqa: PTH116  # ten thousand of them
            if (own.st_dev, own.st_ino) in self.visited or not stat.S_ISDIR(own.st_mode):
                return
            self.visited.add((own.st_dev, own.st_ino))
            with os.scandir(folder) as found:
                for entry in found:
                    self.left -= 1
                    if self.left < 0:
                        if self.left == -1:
                            self.notes.append(f"{self.place.root} holds more than was looked through")
                        return
                    yield entry
        except FileNotFoundError:
            return
        except OSError as error:
            self.notes.append(f"{folder} cannot be read: {error.strerror or error}")

    def seen(self, path: Path | str, **known: Any) -> SeenFile | None:
        """A file as `stat` sees it, through links; None for what is gone, no file or empty."""
        try:
            found = os.stat(path)  # noqa: PTH116  # ten thousand of them
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
            return None
        return SeenFile(
            file=str(path),
            app=self.place.app,
            root=self.place.root,
            size_bytes=found.st_size,
            mtime_ns=found.st_mtime_ns,
            # Some network file systems number no files: then each name is a file of its own.
            file_id=(found.st_dev, found.st_ino or hash(str(path))),
            **known,
        )


def _of_interest(looking: _Looking, entry: os.DirEntry[str]) -> Iterator[SeenFile]:
    """A GGUF file, or one that is not finished."""
    unfinished = _UNFINISHED.match(entry.name) is not None
    if not unfinished and not entry.name.lower().endswith(".gguf"):
        return
    seen = looking.seen(entry.path, unfinished=unfinished)
    if seen is not None:
        yield seen


def _flat(looking: _Looking) -> Iterator[SeenFile]:
    for entry in looking.entries(looking.place.root):
        yield from _of_interest(looking, entry)


def _tree(looking: _Looking) -> Iterator[SeenFile]:
    for entry in _below(looking, str(looking.place.root), MAX_DEPTH):
        yield from _of_interest(looking, entry)


def _below(looking: _Looking, folder: str, depth: int) -> Iterator[os.DirEntry[str]]:
    """Files below a folder. Hidden folders are left out: caches, rubbish bins, version control."""
    folders = []
    for entry in looking.entries(folder):
        if _is_folder(entry):
            if depth > 1 and not entry.name.startswith("."):
                folders.append(entry.path)
        else:
            yield entry
    for inner in sorted(folders):
        yield from _below(looking, inner, depth - 1)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _jan(looking: _Looking) -> Iterator[SeenFile]:
    data = looking.place.root
    for models in (data / "llamacpp" / "models", data / "models"):
        for entry in _below(looking, str(models), MAX_DEPTH):
            if entry.name == "model.yml":
                yield from _pointed(looking, data, entry.path)
            else:
                yield from _of_interest(looking, entry)


def _pointed(looking: _Looking, data: Path, manifest: str) -> Iterator[SeenFile]:
    """A model that Jan was told of and left where it was; one of its own is found by its name."""
    match = _MODEL_PATH.search(_small_text(manifest) or "")
    path = Path(match[1].strip("\"'")) if match else None
    if path is not None and path.is_absolute() and not path.is_relative_to(data):
        seen = looking.seen(path, label=Path(manifest).parent.name)
        if seen is not None:
            yield seen


def _hub(looking: _Looking) -> Iterator[SeenFile]:
    for folder in sorted(
        (entry for entry in looking.entries(looking.place.root) if entry.name.startswith("models--")),
        key=lambda entry: entry.name,
    ):
        repo = folder.name.removeprefix("models--").replace("--", "/", 1)
        for blob in looking.entries(Path(folder.path) / "blobs"):
            if blob.name.endswith((".incomplete", ".part", ".damaged")):
                seen = looking.seen(blob.path, unfinished=True, repo=repo)
                if seen is not None:
                    yield seen
        for commit in sorted(looking.entries(Path(folder.path) / "snapshots"), key=lambda entry: entry.name):
            if is_commit(commit.name):
                yield from _snapshot(looking, commit, repo)


def _snapshot(looking: _Looking, commit: os.DirEntry[str], repo: str) -> Iterator[SeenFile]:
    for entry in _below(looking, commit.path, MAX_DEPTH):
        if not entry.name.lower().endswith(".gguf"):
            continue
        try:
            # The link's own target, not the end of the chain: newer huggingface_hub links blobs on into a shared store.
            blob = os.path.basename(os.readlink(entry.path))  # noqa: PTH115, PTH119  # ten thousand of them
        except OSError:
            blob = ""
        seen = looking.seen(
            entry.path,
            repo=repo,
            commit=commit.name,
            inner=os.path.relpath(entry.path, commit.path).replace(os.sep, "/"),
            sha256=blob if is_sha256(blob) else None,
        )
        if seen is not None:
            yield seen


def _ollama(looking: _Looking) -> Iterator[SeenFile]:
    root = looking.place.root
    manifests = root / "manifests"
    for entry in _below(looking, str(manifests), MAX_DEPTH):
        for digest in _model_layers(entry.path):
            seen = looking.seen(
                root / "blobs" / f"sha256-{digest}", sha256=digest, label=_ollama_name(Path(entry.path), manifests)
            )
            if seen is not None:
                yield seen
    for entry in looking.entries(root / "blobs"):
        if entry.name.endswith("-partial"):
            seen = looking.seen(entry.path, unfinished=True)
            if seen is not None:
                yield seen


def _model_layers(manifest: str) -> Iterator[str]:
    """Hashes of the layers that hold weights."""
    try:
        data = json.loads(_small_text(manifest) or "null")
    except (ValueError, RecursionError):
        return
    layers = data.get("layers") if isinstance(data, dict) else None
    for layer in layers if isinstance(layers, list) else []:
        if isinstance(layer, dict) and layer.get("mediaType") == _OLLAMA_MODEL:
            digest = str(layer.get("digest", "")).replace("sha256-", "sha256:").removeprefix("sha256:").lower()
            if is_sha256(digest):
                yield digest


def _ollama_name(manifest: Path, manifests: Path) -> str:
    """As Ollama calls it: `gpt-oss:20b`, `hf.co/owner/name:QUANT`."""
    *name, tag = manifest.relative_to(manifests).parts
    if name[:2] == ["registry.ollama.ai", "library"]:
        name = name[2:]
    elif name[:1] == ["registry.ollama.ai"]:
        name = name[1:]
    return f"{'/'.join(name)}:{tag}"


def _small_text(path: str) -> str | None:
    try:
        return read_small(path, limit_bytes=_MANIFEST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):
        return None


_LAYOUTS = {"hub": _hub, "tree": _tree, "flat": _flat, "jan": _jan, "ollama": _ollama}
