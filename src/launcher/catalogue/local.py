"""What a GGUF on this disk is, by its header: release, quant, whether it is whole. Kept until the file changes."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from launcher.catalogue.cache import local_key, write_table
from launcher.catalogue.classify import quant_label, release_of
from launcher.catalogue.gguf import MAGIC, GgufHeader, TensorInfo
from launcher.catalogue.headers import read_parts
from launcher.catalogue.recipes import model_tensors
from launcher.catalogue.shipped import Shipped, recipe_of_label
from launcher.errors import DamagedFileError
from launcher.records import from_jsonable, to_jsonable
from launcher.store.small import read_small, write_json
from launcher.store.walk import SeenFile

State = Literal["complete", "incomplete", "damaged", "unusable", "other"]
"""`unusable`: GPT OSS in a layout that llama.cpp does not load. `other`: a model of another architecture."""

SCHEMA = 1
_FILE = "local-models.json"
_OLLAMA = "gptoss"
_ARCHITECTURES = ("gpt-oss", _OLLAMA)
_NO_GGUF = "it does not begin as a GGUF does"
_PEEK_BYTES = 4096
_NATIVE = "MXFP4"
_KV = struct.Struct("<4sIQQQ")
_FILLER = re.compile(
    r"openai|gpt|oss|gptoss|20b|120b|a3\.?6b|a5\.?1b|gguf|mxfp4|moe|ggml|org|lmstudio|community|unsloth|bartowski|hf"
    r"|original|release|i1|ud|xl|xs|xxs|nl|[kmsl01]|i?q\d|bf16|fp?16|f32|\d{5}|of|[0-9a-f]{40}"
)
"""Words that the name of a release may have beside its own. Any other makes it somebody's fine-tune."""
_RELEASE = re.compile(r"gpt[-_. ]?oss")


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFacts:
    """What a model's own header says, and its name."""

    state: State
    why: str | None = None
    """What is wrong, unless it is complete."""
    arch: str | None = None
    model: str | None = None
    """`gpt-oss-20b`, `gpt-oss-120b`; of what is no release its own name."""
    release: bool = False
    """Whether it is one of the two models as OpenAI released them, however quantized."""
    quant: str | None = None
    recipe: str | None = None
    """The shipped recipe that gives exactly these tensors."""


class FactsCache:
    """Facts by path, size and time, in one file of the launcher's cache folder."""

    def __init__(self, cache_dir: Path) -> None:
        self._path = cache_dir / _FILE
        self._old: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        with suppress(OSError, ValueError, RecursionError):
            data = json.loads(read_small(self._path))
            if isinstance(data, dict) and data.get("schema") == SCHEMA and isinstance(data.get("files"), dict):
                self._old = data["files"]

    def get(self, parts: Sequence[SeenFile]) -> LocalFacts | None:
        """What was noted of these very files."""
        key = parts[0].file
        entry = self._old.get(key)
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] != _signature(parts):
            return None
        if isinstance(entry[1], str):
            facts = LocalFacts(state="other", arch=entry[1])
        else:
            try:
                facts = from_jsonable(LocalFacts, entry[1])
            except ValueError:
                return None
        self._new[key] = entry
        return facts

    def put(self, parts: Sequence[SeenFile], facts: LocalFacts) -> None:
        """Note facts. Of a model of another architecture only that is kept: there may be thousands."""
        data = facts.arch if facts.state == "other" and facts.arch else to_jsonable(facts)
        self._new[parts[0].file] = [_signature(parts), data]

    def save(self) -> None:
        """Write what was asked for since it was read; files that are gone drop out. Failures are let be."""
        if self._new != self._old:
            with suppress(OSError):
                write_json(self._path, {"schema": SCHEMA, "files": self._new})


def _signature(parts: Sequence[SeenFile]) -> list[int]:
    return [number for part in parts for number in (part.size_bytes, part.mtime_ns)]


def recognise(
    parts: Sequence[SeenFile], n_parts: int, *, cache_dir: Path, shipped: Shipped, facts: FactsCache
) -> LocalFacts:
    """What the model in these files is; read once, and again when a file has changed. Nothing is raised.

    Args:
        parts: those that are here, in order.
        n_parts: how many the model has by its name.
        cache_dir: the launcher's cache folder, where headers are kept.
        shipped: recipes, by which quants are told.
        facts: what is known from earlier.
    """
    found = facts.get(parts)
    if found is None:
        found = _read(parts, n_parts, cache_dir=cache_dir, shipped=shipped)
        # What is being written as it is read says nothing, and is looked at again.
        if not _unchanged(parts):
            return replace(found, state="incomplete", why="it is being written")
        facts.put(parts, found)
    if found.state == "complete" and any(Path(f"{part.path}.aria2").exists() for part in parts):
        # aria2 gives a file its name and its full length before its content.
        return replace(found, state="incomplete", why="a download manager is still writing it")
    return found


def _unchanged(parts: Iterable[SeenFile]) -> bool:
    try:
        now = [(part.path.stat().st_size, part.path.stat().st_mtime_ns) for part in parts]
    except OSError:
        return False
    return now == [(part.size_bytes, part.mtime_ns) for part in parts]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A model that is looked at, with what its names say."""

    parts: Sequence[SeenFile]
    n_parts: int
    name: str
    folder: str
    arch: str | None = None

    def facts(self, state: State, why: str | None) -> LocalFacts:
        """Facts of a model whose header tells nothing: `other` where its names do not say GPT OSS either."""
        model = release_of(self.name, self.folder)
        if model is None and self.arch is None:
            return LocalFacts(state="other", why=why)
        return LocalFacts(state=state, why=why, arch=self.arch, model=model, quant=quant_label(self.name))


def _read(parts: Sequence[SeenFile], n_parts: int, *, cache_dir: Path, shipped: Shipped) -> LocalFacts:
    first = parts[0]
    folder = (first.repo or "").rpartition("/")[2] or first.path.parent.name
    asked = _Asked(parts=parts, n_parts=n_parts, name=first.inner or first.path.name, folder=folder)
    try:
        arch = _peek(first.path)
    except OSError as error:
        return asked.facts("damaged", f"it cannot be read: {error.strerror or error}")
    if arch == _NO_GGUF:
        return asked.facts("damaged", _NO_GGUF)
    asked = replace(asked, arch=arch)
    if arch == _OLLAMA:
        why = "Ollama's own layout of GPT OSS (architecture `gptoss`), which llama.cpp cannot load"
        model = release_of(first.label or "") or _size_by(first.size_bytes)
        return LocalFacts(state="unusable", why=why, arch=arch, model=model, quant=_NATIVE)
    if arch is not None and arch not in _ARCHITECTURES:
        return LocalFacts(state="other", arch=arch)
    if len(parts) < n_parts:
        return asked.facts("incomplete", f"{len(parts)} of {n_parts} parts are here")
    return _read_header(asked, cache_dir=cache_dir, shipped=shipped)


def _read_header(asked: _Asked, *, cache_dir: Path, shipped: Shipped) -> LocalFacts:
    path = asked.parts[0].path
    try:
        table, paths, header = read_parts(path)
    except DamagedFileError as error:
        return asked.facts("incomplete" if error.message.startswith("truncated") else "damaged", error.message)
    if table.spec.arch not in _ARCHITECTURES:
        return LocalFacts(state="other", arch=table.spec.arch)
    key = local_key(paths)
    if key is not None:
        write_table(cache_dir, key, table)
    release = _is_release(table.spec.id, header, asked.name, asked.folder)
    recipe = _recipe(table.tensors, table.spec.id, shipped) if release else None
    return LocalFacts(
        state="complete",
        arch=table.spec.arch,
        model=table.spec.id if release else _own_name(header, path),
        release=release,
        quant=_quant(asked.name, recipe, table.tensors, shipped),
        recipe=recipe,
    )


def _size_by(n_bytes: int) -> str:
    """Ollama's blobs have no name: the two models differ fivefold in size."""
    return "gpt-oss-120b" if n_bytes > 30 * 10**9 else "gpt-oss-20b"


def _peek(path: Path) -> str | None:
    """The architecture, where it is among the first keys of a GGUF, as every writer puts it; None: read it all."""
    with path.open("rb") as stream:
        return _architecture(stream)


def _architecture(stream: BinaryIO) -> str | None:
    data = stream.read(_PEEK_BYTES)
    if len(data) < _KV.size or not data.startswith(MAGIC):
        return None if data.startswith(MAGIC) else _NO_GGUF
    key = b"general.architecture"
    at = data.find(key)
    value_at = at + len(key)
    if at < 0 or data[value_at : value_at + 4] != b"\x08\0\0\0":
        return None
    (length,) = struct.unpack_from("<Q", data.ljust(value_at + 12, b"\0"), value_at + 4)
    text = data[value_at + 12 : value_at + 12 + min(length, 64)]
    return text.decode("utf-8", errors="replace") if len(text) == length else None


def _is_release(model: str, header: GgufHeader, name: str, folder: str) -> bool:
    """Whether nothing in a model's names says that it is another than the release.

    The header's own names are decisive; those of file and folder where they name a release with something added.
    """
    if model not in ("gpt-oss-20b", "gpt-oss-120b"):
        return False
    own = [header.metadata.get(key) for key in ("general.name", "general.basename", "general.finetune")]
    texts = [text for text in own if isinstance(text, str)]
    outer = [text for text in (name.rsplit("/", 1)[-1], folder) if _RELEASE.search(text.lower())]
    return bool(texts or outer) and all(not _added(text) for text in (*texts, *outer))


def _added(text: str) -> bool:
    words = re.split(r"[^a-z0-9.]+", text.lower().removesuffix(".gguf"))
    return any(word and not _FILLER.fullmatch(word) for word in words)


def _own_name(header: GgufHeader, path: Path) -> str:
    name = header.metadata.get("general.name")
    return name if isinstance(name, str) and _added(name) else path.stem


def _recipe(tensors: Sequence[TensorInfo], model: str, shipped: Shipped) -> str | None:
    rows = {(tensor.name, tensor.shape, tensor.type) for tensor in tensors}
    for name, recipe in shipped.recipes.items():
        own = recipe.for_model(model)
        if own.attention_bytes is None and rows == {
            (tensor.name, tensor.shape, tensor.type) for tensor in model_tensors(shipped.models[model], own)
        }:
            return name
    return None


def _quant(name: str, recipe: str | None, tensors: Sequence[TensorInfo], shipped: Shipped) -> str:
    """The label in the name where the tensors do not contradict it; else what they are."""
    label = quant_label(name)
    if label is not None and (recipe is None or recipe_of_label(label) not in set(shipped.recipes) - {recipe}):
        return label
    if recipe is not None:
        return _NATIVE if recipe == recipe_of_label(_NATIVE) else recipe
    types: Mapping[str, str] = {tensor.name: tensor.type for tensor in tensors}
    return types.get("blk.0.attn_q.weight", types.get("token_embd.weight", "unknown")).upper()
