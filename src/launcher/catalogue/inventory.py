"""The models on this disk, wherever they lie, and which of the listed files each of them is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from launcher.catalogue.classify import classify
from launcher.catalogue.local import FactsCache, LocalFacts, recognise
from launcher.catalogue.shipped import Shipped, recipe_of_label
from launcher.catalogue.types import FilePart, ModelFile
from launcher.store.apps import Place, places
from launcher.store.hashes import HashRecord, hash_file, read_hash, write_hash
from launcher.store.walk import SeenFile, Walk, walk

HASH_AT_ONCE_BYTES = 64 * 1024**2
"""Up to this size a model is known by its hash, which takes no longer than reading its header."""
_SPLIT = re.compile(r"(?P<prefix>.*)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf\Z", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundModel:
    """One model on this disk."""

    parts: tuple[SeenFile, ...]
    """Those that are here, in order."""
    n_parts: int
    facts: LocalFacts
    hashes: tuple[HashRecord | None, ...] = ()
    """What was computed of each part, and still holds."""
    also: tuple[SeenFile, ...] = ()
    """First parts under other names: links to the same content."""

    @property
    def path(self) -> Path:
        """The file that llama.cpp opens."""
        return self.parts[0].path

    @property
    def app(self) -> str:
        """The application in whose folder it lies."""
        return self.parts[0].app

    @property
    def size_bytes(self) -> int:
        """Bytes of the parts that are here."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def sha256s(self) -> tuple[str | None, ...]:
        """Of each part: as computed, else as the cache that holds it calls it."""
        return tuple(
            record.sha256 if record else part.sha256 for part, record in zip(self.parts, self.hashes, strict=True)
        )

    @property
    def is_damaged(self) -> bool:
        """Whether a part was found not to be what it should be."""
        return self.facts.state == "damaged" or any(record is not None and record.is_damaged for record in self.hashes)

    @property
    def is_usable(self) -> bool:
        """Whether llama.cpp can load it, as far as is known."""
        return self.facts.state == "complete" and not self.is_damaged

    @property
    def verified_at(self) -> str | None:
        """When all parts had the hashes that they should have; None where they were not hashed, or not against any."""
        times = [record.hashed_at for record in self.hashes if record and record.expected == record.sha256]
        return max(times) if times and len(times) == self.n_parts else None


@dataclass(kw_only=True, slots=True)
class Inventory:
    """All models that were found."""

    models: tuple[FoundModel, ...]
    walked: Walk
    places: tuple[Place, ...]
    shipped: Shipped
    cache_dir: Path
    now: datetime
    _by_sizes: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, model in enumerate(self.models):
            self._by_sizes.setdefault(tuple(part.size_bytes for part in model.parts), []).append(index)

    def match(self, file: ModelFile) -> FoundModel | None:
        """The model here that is a listed file.

        By hash where both are known, and else by the sizes of all parts and by a header that says the same release
        with the same tensors. A model that was found damaged is none.
        """
        index = next(self._matching(file), None)
        return None if index is None else self.models[index]

    def _matching(self, file: ModelFile) -> Iterator[int]:
        sizes = tuple(part.size_bytes for part in file.parts)
        candidates: Iterable[int] = range(len(self.models))
        if None not in sizes:
            candidates = self._by_sizes.get(tuple(size for size in sizes if size is not None), ())
        for index in candidates:
            if self.models[index].is_usable and self._is_the_same(index, file):
                yield index

    def _is_the_same(self, index: int, file: ModelFile) -> bool:
        model = self.models[index]
        by_hash = [part.sha256 for part in file.parts]
        if len(model.parts) != len(by_hash):
            return False
        known_size = file.size_bytes is not None
        if None not in by_hash:
            if None in model.sha256s and known_size and model.size_bytes <= HASH_AT_ONCE_BYTES:
                model = self._hashed(index)
            if None not in model.sha256s:
                return list(model.sha256s) == by_hash
        return known_size and self._says_the_same(model.facts, file)

    def _says_the_same(self, facts: LocalFacts, file: ModelFile) -> bool:
        if not facts.release or facts.model != file.model:
            return False
        recipe = recipe_of_label(file.quant)
        if facts.recipe is not None:
            return facts.recipe == recipe
        return recipe not in self.shipped.recipes and (facts.quant or "").upper() == file.quant.upper()

    def _hashed(self, index: int) -> FoundModel:
        """The model with the hashes of all its parts, which are small."""
        model = self.models[index]
        records: list[HashRecord | None] = []
        for part, known in zip(model.parts, model.hashes, strict=True):
            record = known
            if record is None:
                try:
                    record = hash_file(part.path, hashed_at=self.now.isoformat(timespec="seconds"))
                except OSError:
                    record = None
                if record is not None:
                    write_hash(self.cache_dir, record)
            records.append(record)
        found = replace(model, hashes=tuple(records))
        self.models = (*self.models[:index], found, *self.models[index + 1 :])
        return found

    def of_repo(self, repo: str) -> tuple[ModelFile, ...]:
        """The models of a hub repository that a cache in the hub's layout holds, as a listing would give them."""
        commits: dict[str | None, list[FilePart]] = {}
        for model in self.models:
            if model.is_usable and model.parts[0].repo == repo:
                commits.setdefault(model.parts[0].commit, []).extend(
                    FilePart(path=part.inner or "", size_bytes=part.size_bytes, sha256=part.sha256)
                    for part in model.parts
                )
        files: dict[str, ModelFile] = {}
        for commit, parts in commits.items():
            for file in classify(parts, repo=repo, revision=commit, releases_only=False).files:
                files.setdefault(file.name, file)
        return tuple(files.values())

    def identified(self, files: Iterable[ModelFile]) -> dict[int, ModelFile]:
        """Which listed file each model is, by its place in `models`; the first that it matches."""
        found: dict[int, ModelFile] = {}
        for file in files:
            for index in self._matching(file):
                found.setdefault(index, file)
        return found

    def marked(self, files: Sequence[ModelFile]) -> tuple[ModelFile, ...]:
        """The files, those that are elsewhere on this disk than in the hub's cache with where they are."""
        return tuple(file if file.local_path is not None else self._marked(file) for file in files)

    def _marked(self, file: ModelFile) -> ModelFile:
        model = self.match(file)
        return file if model is None else replace(file, local_path=model.path, found_in=model.app)

    def own_entries(self, listed: Sequence[ModelFile], *, model: str | None) -> tuple[ModelFile, ...]:
        """Releases here that are none of the listed files: older uploads, other people's conversions.

        They hold the same weights, and spare a download as well as the listed ones do.
        """
        taken = {index for file in listed for index in self._matching(file)}
        own: dict[tuple[object, ...], ModelFile] = {}
        for index, found in enumerate(self.models):
            if index in taken or not found.is_usable or not found.facts.release:
                continue
            if model in (None, found.facts.model):
                # Two copies of one file are one candidate.
                what = (found.facts, tuple(part.size_bytes for part in found.parts))
                own.setdefault(what, as_file(found))
        return tuple(own.values())

    def notes(self, *, model: str | None) -> tuple[str, ...]:
        """What a person might take for a model that is here, and is none."""
        return tuple(
            f"{found.parts[0].label or found.path} of {found.app} is not used: it is in {found.facts.why}"
            for found in self.models
            if found.facts.state == "unusable" and model in (None, found.facts.model)
        )


def as_file(found: FoundModel) -> ModelFile:
    """A model on this disk as an entry of its own, called by its path."""
    return ModelFile(
        model=found.facts.model or found.path.stem,
        quant=found.facts.quant or found.path.name,
        repo=None,
        revision=None,
        parts=tuple(
            FilePart(path=part.path.name, size_bytes=part.size_bytes, sha256=sha256)
            for part, sha256 in zip(found.parts, found.sha256s, strict=True)
        ),
        dense_bpw=None,
        local_path=found.path,
        found_in=found.app,
    )


def take_inventory(
    *,
    cache_dir: Path,
    shipped: Shipped,
    env: Mapping[str, str] | None = None,
    model_dirs: Iterable[Path] = (),
    find_places: Callable[..., tuple[Place, ...]] = places,
    now: datetime | None = None,
) -> Inventory:
    """Look for models everywhere. Nothing is raised: what cannot be read is noted.

    Args:
        cache_dir: the launcher's cache folder: what was read of a file is kept there until it changes.
        shipped: recipes, by which quants are told.
        env: variables by which applications find their folders; None: this process's own.
        model_dirs: folders that the person named.
        find_places: tells the folders.
        now: the time, with zone.
    """
    where = find_places(env=env, model_dirs=model_dirs)
    walked = walk(where)
    facts = FactsCache(cache_dir)
    models: list[FoundModel] = []
    by_content: dict[tuple[tuple[int, int], ...], int] = {}
    for parts, n_parts in _groups(walked.files):
        content = tuple(part.file_id for part in parts)
        if content in by_content:
            first = by_content[content]
            models[first] = replace(models[first], also=(*models[first].also, parts[0]))
            continue
        by_content[content] = len(models)
        found = recognise(parts, n_parts, cache_dir=cache_dir, shipped=shipped, facts=facts)
        hashes: tuple[HashRecord | None, ...] = (None,) * len(parts)
        if found.state != "other":
            hashes = tuple(read_hash(cache_dir, part.path) for part in parts)
        models.append(FoundModel(parts=parts, n_parts=n_parts, facts=found, hashes=hashes))
    facts.save()
    return Inventory(
        models=tuple(models),
        walked=walked,
        places=where,
        shipped=shipped,
        cache_dir=cache_dir,
        now=now or datetime.now(UTC),
    )


def _groups(files: Iterable[SeenFile]) -> list[tuple[tuple[SeenFile, ...], int]]:
    """Files by model: the parts of a split one together, in order, with the number that their names promise."""
    groups: dict[tuple[str, int], dict[int, SeenFile]] = {}
    for seen in files:
        match = _SPLIT.match(seen.file)
        key, no = ((match["prefix"], int(match["count"])), int(match["no"])) if match else ((seen.file, 1), 1)
        groups.setdefault(key, {}).setdefault(no, seen)
    return [
        (tuple(parts[no] for no in sorted(parts) if 1 <= no <= count) or tuple(parts.values()), count)
        for (_, count), parts in groups.items()
    ]
