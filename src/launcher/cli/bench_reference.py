"""What `bench --quality` compares with: the largest file of the same model on this disk, loaded in the plainest way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.catalogue.headers import file_from_path
from launcher.catalogue.load import load_catalogue
from launcher.catalogue.request import RELEASES
from launcher.cli.context import is_offline, prepare_plan
from launcher.errors import DamagedFileError, DoesNotFitError, LauncherError
from launcher.paths import folders
from launcher.settings import Settings

if TYPE_CHECKING:
    from launcher.catalogue.types import ModelFile
    from launcher.flow import Prepared
    from launcher.planner.types import LoadParams

_N_CTX = 2048
"""More than a check reads, and so little that it decides nothing."""
_SIBLINGS = 64
"""Files of a folder that are looked at, each for a hundredth of a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A file and how it is loaded."""

    model: Path
    load_params: LoadParams


def find_reference(prepared: Prepared, path: Path, settings: Settings, named: str) -> Reference:
    """The reference for a plan whose file lies at `path`: the file that is `named`, or with `auto` the largest.

    It is loaded with an f16 cache, without flash attention and repacked weights, and on the CPU where RAM holds it, so
    that a device whose kernels are broken is not its own judge.

    Raises:
        DamagedFileError: what is named is no loadable GGUF.
        DoesNotFitError: it fits nowhere.
    """
    model = _largest(prepared, path) if named == "auto" else _named(Path(named).expanduser(), prepared)
    return Reference(model=model, load_params=_plainest(model, prepared, settings))


def _named(path: Path, prepared: Prepared) -> Path:
    found = file_from_path(path, isa=prepared.hardware.cpu.isa).file.local_path
    return path if found is None else found


def _largest(prepared: Prepared, path: Path) -> Path:
    """The largest file of the model here; the plan's own among equals."""
    here = [(path, _bytes(path, prepared.plan.file)), *_others(prepared, path)]
    return max(here, key=lambda found: found[1])[0]


def _bytes(path: Path, file: ModelFile) -> int:
    return file.size_bytes if file.size_bytes is not None else path.stat().st_size


def _others(prepared: Prepared, path: Path) -> Iterator[tuple[Path, int]]:
    """Other complete files of the model: the catalogue's that are on this disk, and those beside the plan's."""
    plan, isa = prepared.plan, prepared.hardware.cpu.isa
    if plan.file.model in RELEASES:
        listed = load_catalogue(
            request_model=plan.file.model, offline=True, refresh=False, isa=isa, cache_dir=folders().cache
        )
        for file in listed.files:
            if file.local_path is not None and file.model == plan.file.model:
                yield file.local_path, _bytes(file.local_path, file)
    for other in sorted(path.parent.glob("*.gguf"))[:_SIBLINGS]:
        try:
            known = file_from_path(other, isa=isa)
        except DamagedFileError:
            continue
        if known.spec == plan.spec and known.file.local_path is not None:
            yield known.file.local_path, _bytes(other, known.file)


def _plainest(model: Path, prepared: Prepared, settings: Settings) -> LoadParams:
    wish = replace(
        Settings(),
        model=str(model),
        ctx_size=min(_N_CTX, prepared.plan.spec.n_ctx_train),
        cache_type_k="f16",
        cache_type_v="f16",
        device="none",
        threads=settings.threads,
        build=prepared.hardware.engine.name,
        offline=is_offline(settings),
    )
    try:
        params = prepare_plan(wish).plan.load_params
    except DoesNotFitError as no_ram:
        try:
            params = prepare_plan(replace(wish, device=None)).plan.load_params
        except LauncherError:
            raise no_ram from None
    return replace(params, flash_attn=False, repack=False)
