"""Give listed files their weight tables: a kept header, a local file's, a recipe, or one header a repository."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from launcher.catalogue.cache import read_table, table_key
from launcher.catalogue.headers import KnownFile, OpenRemote, ensure_header, known_file
from launcher.catalogue.shipped import RecipeBook
from launcher.catalogue.types import ModelFile, ModelSpec, ModelWeights
from launcher.errors import DamagedFileError, NetworkError

_NATIVE = ("MXFP4", "MXFP4_MOE")
"""Labels of GPT OSS as it was released, which is what a repository that holds one is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """Files with what is known of their weights; one without an entry in `weights` cannot be planned for."""

    files: tuple[ModelFile, ...]
    weights: Mapping[str, ModelWeights]
    specs: Mapping[str, ModelSpec]
    notes: tuple[str, ...]


@dataclass(kw_only=True, slots=True)
class _Join:
    files: dict[str, ModelFile] = field(default_factory=dict)
    weights: dict[str, ModelWeights] = field(default_factory=dict)
    specs: dict[str, ModelSpec] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, file: ModelFile, known: KnownFile | None, weights: ModelWeights | None) -> None:
        """Take a file, with its header's facts or a recipe's, or with neither."""
        if known is not None:
            self.specs.setdefault(file.model, known.spec)
            self.specs[file.name] = known.spec
        if weights is not None:
            self.weights[file.name] = weights
            file = replace(file, dense_bpw=weights.dense_bpw)
        self.files[file.name] = file


def join_weights(
    files: tuple[ModelFile, ...],
    *,
    book: RecipeBook,
    cache_dir: Path,
    isa: Collection[str],
    open_remote: OpenRemote | None,
    must_know: bool,
) -> Joined:
    """Give every file its weight table, as far as that costs little.

    What is known without a network comes first. Then, of each repository that has no plannable file by that (its files
    were rebuilt, or it is not one of those that shipped), the header of its most preferred file is read from the hub:
    13 MB, once, since headers are kept.

    Args:
        files: as listed.
        book: recipes by hash, path and label.
        cache_dir: the launcher's cache folder, where headers are kept.
        isa: of the CPU that would hold weights.
        open_remote: opens a file on the hub for ranged reads; None where the hub must not be asked.
        must_know: a header that cannot be read is an error rather than a note.

    Raises:
        DamagedFileError: with `must_know`, a file that is no loadable GGUF.
        NetworkError: with `must_know`, the hub cannot be read.
    """
    join = _Join()
    for file in files:
        _add_by_what_is_here(join, file, book, cache_dir, isa)
    if open_remote is not None:
        for file in _one_of_each_unknown_repo(join):
            try:
                known = ensure_header(file, cache_dir=cache_dir, isa=isa, open_remote=open_remote)
            except (DamagedFileError, NetworkError) as error:
                if must_know:
                    raise
                join.notes.append(f"{file.name} is left out: {error.message}")
                if isinstance(error, NetworkError) and error.status is None:
                    break  # out of reach: each of the others would wait for the same time-out
            else:
                join.add(file, known, known.weights)
    return Joined(files=tuple(join.files.values()), weights=join.weights, specs=join.specs, notes=tuple(join.notes))


def _add_by_what_is_here(join: _Join, file: ModelFile, book: RecipeBook, cache_dir: Path, isa: Collection[str]) -> None:
    known: KnownFile | None = None
    key = table_key(file)
    table = read_table(cache_dir, key) if key else None
    if table is not None:
        known = known_file(file, table, isa)
    elif file.local_path is not None:
        try:
            known = ensure_header(file, cache_dir=cache_dir, isa=isa)
        except DamagedFileError as error:
            join.notes.append(f"{file.local_path} is not used: {error.message}")
            file = replace(file, local_path=None, found_in=None)
    join.add(file, known, known.weights if known else book.weights(file))


def _one_of_each_unknown_repo(join: _Join) -> list[ModelFile]:
    """The file to read a header of, per repository none of whose files has weights: the native release, else the first.

    Files come in order of dense bits per weight; the first may be a full-precision one, twice as large and no better.
    """
    by_repo: dict[str, list[ModelFile]] = {}
    for file in join.files.values():
        if file.repo is not None:
            by_repo.setdefault(file.repo, []).append(file)
    unknown = [files for files in by_repo.values() if not any(file.name in join.weights for file in files)]
    return [next((file for file in files if file.quant.upper() in _NATIVE), files[0]) for files in unknown]
