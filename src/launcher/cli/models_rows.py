"""What `gpt-oss models` tells of each model on this disk, and which of them a name stands for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.catalogue.inventory import FoundModel, Inventory, take_inventory
from launcher.catalogue.known import known_files
from launcher.catalogue.request import RELEASES
from launcher.catalogue.shipped import read_shipped
from launcher.catalogue.types import FilePart, ModelFile
from launcher.configs import configs_dir
from launcher.errors import DamagedFileError, UsageError
from launcher.paths import folders
from launcher.settings import Settings
from launcher.store.cache import IMPORT_SUFFIX, RepoCache
from launcher.store.config import hub_endpoint
from launcher.store.growing import bytes_so_far
from launcher.store.removal import DAMAGED_SUFFIX
from launcher.store.used import last_used
from launcher.store.walk import SeenFile

_DAMAGED = "set aside: its content has not the hash that it should have"
State = Literal["complete", "incomplete", "damaged", "unusable", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRow:
    """One model on this disk, or what is left of one."""

    name: str
    """As `--model` takes it: `owner/name:QUANT` where it is a file that the hub lists, else its path."""
    model: str | None
    quant: str | None
    size_bytes: int
    """Of what is here."""
    total_bytes: int | None
    """Of the whole model; None where it is not known."""
    app: str
    state: State
    why: str | None
    paths: tuple[Path, ...]
    also: tuple[Path, ...]
    """Other names of the same content."""
    repo: str | None
    commit: str | None
    sha256s: tuple[str | None, ...]
    """Of each part: computed, or as the cache that holds it calls it."""
    verified_at: str | None
    last_used_at: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Here:
    """Everything that was found."""

    inventory: Inventory
    files: tuple[ModelFile, ...]
    """What is known of the hub, without asking it."""
    rows: tuple[ModelRow, ...]
    found: tuple[FoundModel | None, ...]
    """The model behind each row; None for a download that is not finished."""

    def of(self, row: ModelRow) -> FoundModel | None:
        """The model behind a row."""
        return next(found for own, found in zip(self.rows, self.found, strict=True) if own is row)

    def listed(self, row: ModelRow) -> ModelFile | None:
        """The listed file that a row is."""
        return next((file for file in self.files if file.name == row.name), None)


def look(settings: Settings) -> Here:
    """Look through the folders of all applications."""
    own = folders()
    shipped = read_shipped(configs_dir())
    inventory = take_inventory(cache_dir=own.cache, shipped=shipped, model_dirs=settings.model_dirs)
    files = known_files(own.cache, shipped, hub_endpoint(os.environ))
    listed = inventory.identified(files)
    pairs: list[tuple[ModelRow, FoundModel | None]] = [
        (_row(found, listed.get(index), own.state), found) for index, found in enumerate(inventory.models)
    ]
    pairs += [(_unfinished(seen, files), None) for seen in inventory.walked.unfinished]
    pairs.sort(key=lambda pair: (pair[0].state == "other", pair[0].model or "~", pair[0].quant or "", pair[0].name))
    return Here(
        inventory=inventory,
        files=files,
        rows=tuple(row for row, _ in pairs),
        found=tuple(found for _, found in pairs),
    )


def _row(found: FoundModel, listed: ModelFile | None, state_dir: Path) -> ModelRow:
    first = found.parts[0]
    state: State = "damaged" if found.is_damaged else found.facts.state
    name = listed.name if listed is not None else str(found.path)
    if state == "unusable" and first.label is not None:
        name = first.label  # as its own application calls it: there is nothing to type here
    return ModelRow(
        name=name,
        model=listed.model if listed is not None else found.facts.model or found.facts.arch,
        quant=listed.quant if listed is not None else found.facts.quant,
        size_bytes=found.size_bytes,
        total_bytes=found.size_bytes if state not in ("incomplete", "damaged") else None,
        app=found.app,
        state=state,
        why=found.facts.why or ("its content has not the hash that it should have" if found.is_damaged else None),
        paths=tuple(part.path for part in found.parts),
        also=tuple(seen.path for seen in found.also),
        repo=first.repo,
        commit=first.commit,
        sha256s=found.sha256s,
        verified_at=_verified_at(found, listed),
        last_used_at=last_used(state_dir, found.path),
    )


def _verified_at(found: FoundModel, listed: ModelFile | None) -> str | None:
    """When it was hashed with the right outcome: against its name at that time, or against the listing now."""
    if found.verified_at is not None or listed is None:
        return found.verified_at
    pairs = list(zip(found.hashes, listed.parts, strict=True))
    if all(record is not None and record.sha256 == part.sha256 for record, part in pairs):
        return max(record.hashed_at for record, _ in pairs if record is not None)
    return None


def _unfinished(seen: SeenFile, files: Sequence[ModelFile]) -> ModelRow:
    etag = seen.path.name.partition(".")[0]
    file, part = next(((file, part) for file in files for part in file.parts if part.sha256 == etag), (None, None))
    damaged = seen.path.name.endswith(DAMAGED_SUFFIX)
    carried = seen.path.name.endswith(IMPORT_SUFFIX)
    what = "an unfinished import" if carried else "an unfinished download"
    return ModelRow(
        name=file.name if file is not None else str(seen.path),
        model=file.model if file is not None else None,
        quant=file.quant if file is not None else None,
        size_bytes=seen.size_bytes if damaged or carried else _so_far(seen, part, etag),
        total_bytes=part.size_bytes if part is not None else None,
        app=seen.app,
        state="damaged" if damaged else "incomplete",
        why=_DAMAGED if damaged else f"{what}{f' of {seen.repo}' if seen.repo else ''}",
        paths=(seen.path,),
        also=(),
        repo=seen.repo,
        commit=None,
        sha256s=(None,),
        verified_at=None,
        last_used_at=None,
    )


def _so_far(seen: SeenFile, part: FilePart | None, etag: str) -> int:
    """Bytes that have come: a file that ranges are written into is as long as the whole from the beginning."""
    if part is None or part.size_bytes is None or seen.repo is None:
        return seen.size_bytes
    try:
        return bytes_so_far(RepoCache(cache_dir=seen.root, repo=seen.repo), etag, part.size_bytes)
    except UsageError:
        return seen.size_bytes


def select(here: Here, text: str, *, usable: bool = False) -> tuple[ModelRow, ...]:
    """The rows that a name stands for: a path, `owner/name[:QUANT]`, a release, or Ollama's name.

    Args:
        here: what was found.
        text: what was typed.
        usable: only models that can be loaded.

    Raises:
        DamagedFileError: nothing here is called so (exit code 5: it is missing).
    """
    chosen = _called(here, text)
    wrong = () if not usable else tuple(row for row in chosen if row.state != "complete")
    chosen = tuple(row for row in chosen if row not in wrong)
    if not chosen:
        details = tuple(f"{row.paths[0]}: {row.why}" for row in wrong)
        if not wrong:
            raise DamagedFileError(f"no model here is called {text!r}", hint="gpt-oss models")
        begun = next((row.name for row in wrong if row.state == "incomplete" and ":" in row.name), None)
        hint = "gpt-oss models" if begun is None else f"gpt-oss pull {begun}"
        raise DamagedFileError(f"{text} can't be loaded", hint=hint, details=details)
    return chosen


def _called(here: Here, text: str) -> tuple[ModelRow, ...]:
    """By path first: a file may be called as anything."""
    by_path = tuple(row for row in here.rows if path_in(row, text) is not None)
    if by_path:
        return by_path
    wanted = text.strip().lower()
    if not wanted:
        return ()  # an unset variable of a script: it must not stand for what has no name
    release = RELEASES.get(wanted)
    found = []
    for row, model in zip(here.rows, here.found, strict=True):
        name = row.name.lower()
        if (
            wanted in (name, name.rpartition(":")[0])
            or (release is not None and row.model == release)
            or (
                model is not None
                and any(seen.label is not None and seen.label.lower() == wanted for seen in model.parts)
            )
        ):
            found.append(row)
    return tuple(found)


def path_in(row: ModelRow, text: str) -> Path | None:
    """The path of a row that was typed, in whatever way its folder was written; None where it is another."""
    name = os.path.basename(text)  # noqa: PTH119  # of text that may be no path
    same = [path for path in (*row.paths, *row.also) if path.name == name]
    if not same:
        return None
    folder = os.path.realpath(os.path.dirname(os.path.expanduser(text)))  # noqa: PTH111, PTH120
    return next((path for path in same if os.path.realpath(path.parent) == folder), None)
