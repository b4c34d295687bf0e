"""From a repository's list of files to the models in it: which release, which quant, which parts belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from launcher.catalogue.types import FilePart, ModelFile
from launcher.text import is_safe_path


class ListedFile(Protocol):
    """One file of a repository, as the hub lists it."""

    @property
    def path(self) -> str:
        """Inside the repository."""
        ...

    @property
    def size_bytes(self) -> int | None:
        """None where the hub does not say."""
        ...

    @property
    def sha256(self) -> str | None:
        """Of the content; None for files that are not in large-file storage."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Classified:
    """The models of one repository, and what was left out that somebody might look for."""

    files: tuple[ModelFile, ...]
    notes: tuple[str, ...]


UNIFORM_BPW = {
    "MXFP4": 8.5,
    "MXFP4_MOE": 8.5,
    "Q8_0": 8.5,
    "F16": 16.0,
    "BF16": 16.0,
    "FP16": 16.0,
    "F32": 32.0,
}
"""Dense bits per weight of the labels that mean one type for all dense matrices (MXFP4 leaves them Q8_0)."""

_PART = re.compile(r"-(\d{5})-of-(\d{5})\Z")
_RELEASE = re.compile(r"gpt[-_. ]?oss[-_. ]?(20|120)b(?![a-z0-9])", re.IGNORECASE)
_NOT_A_MODEL = re.compile(r"(?:\A|[-_.])(?:eagle\d*|dflash|dspark|mtp|draft|mmproj|imatrix)(?:[-_.]|\Z)", re.IGNORECASE)
_OTHER_MODEL = re.compile(r"safeguard", re.IGNORECASE)
_QUANT = re.compile(
    r"(?:\A|[-_.])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|F32))\Z", re.IGNORECASE
)


def quant_label(path: str) -> str | None:
    """The quant as the file name spells it (`UD-Q4_K_XL`), without folder, part number and suffix; None without one."""
    stem = _PART.sub("", _stem(path.rsplit("/", 1)[-1]))
    match = _QUANT.search(stem)
    return match.group(1) if match else None


def release_of(path: str, repo: str = "") -> str | None:
    """`gpt-oss-20b` or `gpt-oss-120b`, by file name first and repository second; None for anything else."""
    name = path.rsplit("/", 1)[-1]
    if _OTHER_MODEL.search(name) or _OTHER_MODEL.search(repo):
        return None
    match = _RELEASE.search(name) or _RELEASE.search(repo)
    return f"gpt-oss-{match.group(1)}b" if match else None


def classify(files: Sequence[ListedFile], *, repo: str, revision: str | None, releases_only: bool = True) -> Classified:
    """The models of one repository.

    Draft heads, projectors and importance matrices are never models, whatever their name ends in; the safeguard models
    are others, and come out only with `releases_only=False` (a repository that the user named), like all that is not
    one of the two releases.
    """
    groups: dict[tuple[str, int], dict[int, ListedFile]] = {}
    safe = [file for file in files if is_safe_path(file.path)]
    for file in sorted(safe, key=lambda file: file.path):
        name = file.path.rsplit("/", 1)[-1]
        if not name.lower().endswith(".gguf") or not _stem(name) or _NOT_A_MODEL.search(_stem(name)):
            continue
        if releases_only and release_of(file.path, repo) is None:
            continue
        stem = _stem(file.path)
        part = _PART.search(stem)
        index, count = (int(part.group(1)), int(part.group(2))) if part else (1, 1)
        groups.setdefault((_PART.sub("", stem), count), {})[index] = file
    models: list[ModelFile] = []
    notes = [f"{repo}: {len(files) - len(safe)} files whose names are no safe paths are left out"]
    notes = notes if len(safe) < len(files) else []
    for (stem, count), parts in groups.items():
        missing = count - len([index for index in parts if 1 <= index <= count])
        if missing or len(parts) != count:
            notes.append(f"{repo}: {stem} has {missing} of {count} parts missing and is left out")
            continue
        models.append(_model(repo, revision, stem, [parts[index] for index in range(1, count + 1)]))
    return _without_twins(repo, models, notes)


def _model(repo: str, revision: str | None, stem: str, parts: list[ListedFile]) -> ModelFile:
    name = stem.rsplit("/", 1)[-1]
    label = quant_label(f"{stem}.gguf")
    model = release_of(f"{stem}.gguf", repo)
    if model is None:
        model = name[: -len(label)].rstrip("-_.") if label else name
    return ModelFile(
        model=model or name,
        quant=label or name,
        repo=repo,
        revision=revision,
        parts=tuple(FilePart(path=part.path, size_bytes=part.size_bytes, sha256=part.sha256) for part in parts),
        dense_bpw=UNIFORM_BPW.get((label or "").upper()) if model in ("gpt-oss-20b", "gpt-oss-120b") else None,
    )


def _without_twins(repo: str, models: list[ModelFile], notes: list[str]) -> Classified:
    """One file per typed name: `owner/name:QUANT` must mean one thing.

    Where two models share a label, the model's name goes before it. Of two spellings of one, the one in fewer parts
    stays.
    """
    sharing: dict[str, set[str]] = {}
    for model in models:
        sharing.setdefault(model.quant.upper(), set()).add(model.model.upper())
    named = [
        replace(model, quant=f"{model.model}-{model.quant}") if len(sharing[model.quant.upper()]) > 1 else model
        for model in models
    ]
    kept: dict[str, ModelFile] = {}
    for model in sorted(named, key=lambda model: (len(model.parts), model.parts[0].path)):
        key = model.quant.upper()
        twin = kept.get(key)
        if twin is None:
            kept[key] = model
        else:
            notes.append(f"{repo}: {model.parts[0].path} is left out beside {twin.parts[0].path}")
    files = sorted(kept.values(), key=lambda model: (-(model.dense_bpw or 0.0), model.parts[0].path))
    return Classified(files=tuple(files), notes=tuple(notes))


def _stem(name: str) -> str:
    return name[: -len(".gguf")] if name.lower().endswith(".gguf") else name
