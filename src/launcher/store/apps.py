"""Where other applications keep models on this disk, as each of them decides it. Standard library only.

Looked up in their sources and documents in 2026:

- llama.cpp (`common/hf-cache.cpp`, `common/common.cpp`): the hub's layout in LLAMA_CACHE, else the hub's own cache;
  files of older versions lie flat in LLAMA_CACHE, else in `llama.cpp` in the user's cache folder.
- LM Studio: `publisher/model/file.gguf` in `downloadsFolder` of its settings, else in `models` in its home, which
  `~/.lmstudio-home-pointer` may name.
- Jan: `llamacpp/models/ID/model.gguf` with a `model.yml` that may point elsewhere, in `data_folder` of its settings.
- GPT4All: flat, in `modelPath` of its settings, else in its data folder; its Python library uses `~/.cache/gpt4all`.
- Ollama: `manifests/HOST/NAMESPACE/MODEL/TAG` and `blobs/sha256-HEX` in OLLAMA_MODELS, else in its or its service's
  home.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launcher.store.local import expand, hub_cache_dir
from launcher.store.small import read_small

App = Literal["hub cache", "llama.cpp", "LM Studio", "Jan", "GPT4All", "Ollama", "your folder"]
Layout = Literal["hub", "tree", "flat", "jan", "ollama"]
"""How files lie below a root: the hub's cache, folders in folders, one folder, Jan's manifests, Ollama's blobs."""

_SETTINGS_BYTES = 1024**2
"""A settings file is a few kB; more is not one, and is not read."""
_MODEL_PATH = re.compile(r"^modelPath=(.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder that an application keeps models in."""

    app: App
    root: Path
    layout: Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """A person's folders, by one environment and one platform."""

    env: Mapping[str, str]
    platform: str

    @property
    def folder(self) -> Path:
        """The home folder."""
        own = self.env.get("USERPROFILE") if self.platform == "win32" else None
        return Path(own or expand("~", self.env))

    @property
    def data(self) -> Path:
        """Where applications keep data: roaming on Windows."""
        return self._of("XDG_DATA_HOME", ".local/share", "Library/Application Support", ("APPDATA", "AppData/Roaming"))

    @property
    def local_data(self) -> Path:
        """The same, for data that stays on one machine of several."""
        return self._of(
            "XDG_DATA_HOME", ".local/share", "Library/Application Support", ("LOCALAPPDATA", "AppData/Local")
        )

    @property
    def config(self) -> Path:
        """Where applications keep settings."""
        return self._of("XDG_CONFIG_HOME", ".config", "Library/Application Support", ("APPDATA", "AppData/Roaming"))

    @property
    def cache(self) -> Path:
        """Where applications keep what can be made again."""
        return self._of("XDG_CACHE_HOME", ".cache", "Library/Caches", ("LOCALAPPDATA", "AppData/Local"))

    def _of(self, xdg: str, linux: str, mac: str, windows: tuple[str, str]) -> Path:
        if self.platform == "win32":
            return Path(self.env[windows[0]]) if self.env.get(windows[0]) else self.folder / windows[1]
        if self.platform == "darwin":
            return self.folder / mac
        return Path(self.env[xdg]) if self.env.get(xdg) else self.folder / linux


def places(
    *, env: Mapping[str, str] | None = None, model_dirs: Iterable[Path] = (), platform: str = sys.platform
) -> tuple[Place, ...]:
    """The folders that are there, each once, in the order in which equal files in two of them are preferred.

    Args:
        env: variables by which the applications find their folders; None: this process's own.
        model_dirs: folders that the person named.
        platform: as `sys.platform` spells it.
    """
    home = Home(env=os.environ if env is None else env, platform=platform)
    found: dict[tuple[str, Layout], Place] = {}
    for place in _candidates(home, model_dirs):
        # Not Path.is_dir: a home that may not be entered is no error, and a NUL in a setting is no folder.
        if not os.path.isdir(place.root):  # noqa: PTH112
            continue
        found.setdefault((os.path.realpath(place.root), place.layout), place)
    return tuple(found.values())


def _candidates(home: Home, model_dirs: Iterable[Path]) -> Iterator[Place]:
    yield Place(app="hub cache", root=hub_cache_dir(home.env), layout="hub")
    for folder in model_dirs:
        yield Place(app="your folder", root=folder.absolute(), layout="tree")
    yield from _llama_cpp(home)
    for folder in _lm_studio(home):
        yield Place(app="LM Studio", root=folder, layout="tree")
    for folder in _jan(home):
        yield Place(app="Jan", root=folder, layout="jan")
    for folder in _gpt4all(home):
        yield Place(app="GPT4All", root=folder, layout="flat")
    for folder in _ollama(home):
        yield Place(app="Ollama", root=folder, layout="ollama")


def _llama_cpp(home: Home) -> Iterator[Place]:
    named = home.env.get("LLAMA_CACHE")
    if named:
        yield Place(app="llama.cpp", root=Path(named), layout="hub")
    yield Place(app="llama.cpp", root=Path(named) if named else home.cache / "llama.cpp", layout="flat")


def _lm_studio(home: Home) -> Iterator[Path]:
    pointer = _text(home.folder / ".lmstudio-home-pointer")
    pointed = Path(pointer.splitlines()[0].strip()) if pointer and pointer.strip() else None
    homes = [pointed] if pointed is not None and pointed.is_absolute() else []
    homes += [home.folder / ".lmstudio", home.folder / ".cache" / "lm-studio"]
    for settings in (*(folder / "settings.json" for folder in homes), home.config / "LM Studio" / "settings.json"):
        folder = _named_folder(_json(settings).get("downloadsFolder"))
        if folder is not None:
            yield folder
    for folder in homes:
        yield folder / "models"


def _jan(home: Home) -> Iterator[Path]:
    named = _named_folder(home.env.get("JAN_DATA_FOLDER"))
    if named is not None:
        yield named
    flatpak = home.folder / ".var" / "app" / "ai.jan.Jan" / "data"
    roots = (_named_folder(home.env.get("JAN_DATA_ROOT")), home.data, home.config, flatpak)
    for root in (root for root in roots if root is not None):
        for settings in (root / "Jan" / "settings.json", root / "jan.ai.app" / "settings.json"):
            folder = _named_folder(_json(settings).get("data_folder"))
            if folder is not None:
                yield folder
        yield root / "Jan" / "data"
    yield home.folder / "jan"


def _gpt4all(home: Home) -> Iterator[Path]:
    # On macOS Qt names the file by the organisation's domain, and puts it where Linux has it.
    configs = (home.config, home.folder / ".config") if home.platform != "win32" else (home.config,)
    for settings in (folder / name / "GPT4All.ini" for folder in configs for name in ("nomic.ai", "gpt4all.io")):
        match = _MODEL_PATH.search(_text(settings) or "")
        folder = _named_folder(match[1].strip().strip('"').replace("\\\\", "\\")) if match else None
        if folder is not None:
            yield folder
    yield home.local_data / "nomic.ai" / "GPT4All"
    yield home.folder / ".var" / "app" / "io.gpt4all.gpt4all" / "data" / "nomic.ai" / "GPT4All"
    yield home.folder / ".cache" / "gpt4all"


def _ollama(home: Home) -> Iterator[Path]:
    named = home.env.get("OLLAMA_MODELS", "").strip().strip("\"'")
    if named:
        yield Path(named)
        return
    yield home.folder / ".ollama" / "models"
    if home.platform == "linux":
        yield Path("/usr/share/ollama/.ollama/models")
        yield Path("/var/lib/ollama/.ollama/models")
        yield Path("/var/lib/ollama/models")
        yield Path("/var/snap/ollama/common/models")


def _named_folder(value: object) -> Path | None:
    """A folder that a setting names. A relative one is relative to nothing that is known here."""
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    path = Path(value)
    return path if path.is_absolute() else None


def _json(path: Path) -> Mapping[str, Any]:
    """A settings file; empty where there is none that can be read."""
    try:
        found = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str | None:
    """A small text file of another program; None where there is none that can be read."""
    try:
        return read_small(path, limit_bytes=_SETTINGS_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):
        return None
