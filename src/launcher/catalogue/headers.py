"""A file's real header: kept from earlier, read from this disk, or read from the hub in ranges."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from launcher.catalogue.cache import TensorTable, read_table, table_key, write_table
from launcher.catalogue.classify import quant_label
from launcher.catalogue.gguf import GgufHeader, check_complete, merge_parts, read_header
from launcher.catalogue.types import FilePart, ModelFile, ModelSpec, ModelWeights
from launcher.catalogue.weights import spec_from_header, weights_from_tensors
from launcher.errors import DamagedFileError


class OpenRemote(Protocol):
    """Opens one file of a hub repository for ranged reads, without downloading it."""

    def __call__(self, repo: str, path: str, *, revision: str | None) -> AbstractContextManager[BinaryIO]:
        """Raises NetworkError where the hub cannot be read."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownFile:
    """A file with its exact hyperparameters and weights, as its header gives them."""

    file: ModelFile
    spec: ModelSpec
    weights: ModelWeights


def ensure_header(
    file: ModelFile, *, cache_dir: Path, isa: Collection[str], open_remote: OpenRemote | None = None
) -> KnownFile:
    """Read the real header of one file: from the cache, from disk if the file is there, else 13 MB from the hub.

    Args:
        file: as the catalogue lists it.
        cache_dir: the launcher's cache folder; the header is kept there.
        isa: of the CPU that would hold weights (see `weights_from_tensors`).
        open_remote: how a file on the hub is opened; None where the hub must not be asked.

    Raises:
        DamagedFileError: the file is not a GGUF of a model that llama.cpp loads, or is not on disk and may not be
            read from the hub.
        NetworkError: the hub could not be read.
    """
    key = table_key(file)
    table = read_table(cache_dir, key) if key else None
    if table is None:
        if file.local_path is not None:
            table, _, _ = read_parts(file.local_path)
        elif file.repo is not None and open_remote is not None:
            table = _remote_table(file, file.repo, open_remote)
        else:
            raise DamagedFileError(
                f"the header of {file.name} is not on this disk", path=file.parts[0].path, hint="gpt-oss plan --refresh"
            )
        if key:
            write_table(cache_dir, key, table)
    return known_file(file, table, isa)


def known_file(file: ModelFile, table: TensorTable, isa: Collection[str]) -> KnownFile:
    """Join a listed file with its header."""
    spec = replace(table.spec, id=file.model)
    weights = weights_from_tensors(table.tensors, spec, "header", isa)
    return KnownFile(file=replace(file, dense_bpw=weights.dense_bpw), spec=spec, weights=weights)


def file_from_path(path: Path, *, isa: Collection[str]) -> KnownFile:
    """A GGUF of the user's own, of any architecture, with all parts that its name promises.

    Raises:
        DamagedFileError: missing, unreadable, not a GGUF, truncated, a part missing, no text model, or Ollama's layout.
    """
    table, parts, _ = read_parts(path)
    label = quant_label(path.name)
    file = ModelFile(
        model=table.spec.id,
        quant=label or path.name,
        repo=None,
        revision=None,
        parts=tuple(FilePart(path=part.name, size_bytes=part.stat().st_size, sha256=None) for part in parts),
        dense_bpw=None,
        local_path=parts[0],
    )
    return known_file(file, table, isa)


def read_parts(path: Path) -> tuple[TensorTable, tuple[Path, ...], GgufHeader]:
    """A model on this disk: its tensors, its parts in order, and the header of the first with the tensors of all.

    Raises:
        DamagedFileError: as `file_from_path`.
    """
    from launcher.store.local import check_parts

    paths = check_parts(path)
    headers = []
    for part in paths:
        try:
            with part.open("rb") as stream:
                size_bytes = part.stat().st_size
                header = read_header(stream, size_bytes=size_bytes, path=str(part))
        except OSError as error:
            raise DamagedFileError(f"cannot read {part.name}: {error.strerror}", path=str(part)) from error
        check_complete(header, size_bytes, path=str(part))
        headers.append(header)
    table, merged = _table(headers, fallback_id=path.stem, path=str(path))
    return table, paths, merged


def _remote_table(file: ModelFile, repo: str, open_remote: OpenRemote) -> TensorTable:
    headers = []
    for part in file.parts:
        where = f"{repo}/{part.path}"
        with ExitStack() as stack:
            stream = stack.enter_context(open_remote(repo, part.path, revision=file.revision))
            header = read_header(stream, size_bytes=part.size_bytes, path=where)
        if part.size_bytes is not None:
            check_complete(header, part.size_bytes, path=where)
        headers.append(header)
    return _table(headers, fallback_id=file.model, path=f"{repo}/{file.parts[0].path}")[0]


def _table(headers: list[GgufHeader], *, fallback_id: str, path: str) -> tuple[TensorTable, GgufHeader]:
    merged = merge_parts(headers, path=path)
    spec = spec_from_header(merged, fallback_id=fallback_id, path=path)
    if not merged.tensors:
        raise DamagedFileError("the GGUF holds no tensors: it is a vocabulary or metadata alone", path=path)
    return TensorTable(spec=spec, tensors=merged.tensors), merged
