"""What `gpt-oss models export` and `import` do: find the model, move it, keep its catalogue entry, say what is next."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from launcher.catalogue.cache import SCHEMA, CachedListing, read_listing, write_listing
from launcher.catalogue.load import load_catalogue
from launcher.catalogue.types import ModelFile
from launcher.cli.context import load_settings
from launcher.cli.download import DownloadBar
from launcher.cli.models_in_use import note_verified
from launcher.cli.output import print_json, say
from launcher.errors import DamagedFileError, LauncherError, UsageError
from launcher.paths import folders
from launcher.settings import Settings
from launcher.store.carry import Manifest
from launcher.store.config import hub_endpoint
from launcher.store.local import hub_cache_dir
from launcher.units import format_bytes, parse_bytes


def run_export(
    folder: Path, *, model: str | None, quant: str | None, piece_size: str | None, link: bool, as_json: bool
) -> None:
    """Write the one model that is meant and here.

    Raises:
        LauncherError: none or several are, or whatever the export refuses.
    """
    from launcher.store.carry_export import ExportOptions, export_model

    settings = load_settings({"model": model, "quant": quant})
    how = ExportOptions(piece_bytes=_piece_bytes(piece_size), link=link)
    file = _here(settings)
    with DownloadBar() as bar:
        done = export_model(file, folder, cache_dir=hub_cache_dir(), options=how, progress=bar)
    if as_json:
        print_json({"folder": done.folder, "notes": done.notes, "manifest": done.manifest})
        return
    for note in done.notes:
        say(note)
    say(f"{file.name}, {format_bytes(done.manifest.size_bytes)}, is verified in:")
    sys.stdout.write(f"{done.folder}\n")
    say(f"on the other machine: gpt-oss models import {shlex.quote(str(done.folder))}")


def run_import(path: Path, *, as_json: bool) -> None:
    """Bring all models of a folder, or a bare GGUF, into the hub's cache.

    Raises:
        LauncherError: whatever the import refuses; models before that one are there.
    """
    from launcher.store.carry_find import carried_file, find_carried
    from launcher.store.carry_import import import_model

    known = _known()
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        with DownloadBar() as bar:
            found = [carried_file(path, known, bar)]
    else:
        found = list(find_carried(path))
    done = []
    for carried in found:
        with DownloadBar() as bar:
            local = import_model(carried, cache_dir=hub_cache_dir(), known=known, progress=bar)
        note_verified(local.verified)
        name = carried.manifest.model_file().name
        _keep_entry(carried.manifest)
        done.append({"model": name, "paths": local.paths, "notes": local.notes})
        if not as_json:
            for note in local.notes:
                say(f"{name}: {note}")
            say(f"{name}, {format_bytes(carried.manifest.size_bytes)}, is here and verified:")
            sys.stdout.writelines(f"{each}\n" for each in local.paths)
            say(f"now: gpt-oss chat --offline --model {name}")
    if as_json:
        print_json({"imported": done})


def _piece_bytes(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise UsageError(f"--piece-size: {error}", hint="gpt-oss models export --help") from error


def _here(settings: Settings) -> ModelFile:
    """The one file that `--model` and `--quant` mean, of those on this disk."""
    model = settings.model
    wanted = _catalogue(model, settings.quant, settings.model_dirs)
    here = [file for file in wanted if file.local_path is not None]
    if len(here) == 1 and here[0].repo is None:
        return _of_repository(here[0])
    if len(here) == 1:
        return here[0]
    if not here:
        what = "no model" if model == "auto" else f"nothing of {model}"
        raise DamagedFileError(
            f"{what} is on this disk to be exported",
            hint="gpt-oss pull" if model == "auto" else f"gpt-oss pull {shlex.quote(model)}",
        )
    names = tuple(file.name for file in here)
    raise UsageError(
        f"{len(here)} models are here: say which by --model",
        hint=f"gpt-oss models export --model {names[0]} DIR",
        details=names,
    )


def _of_repository(file: ModelFile) -> ModelFile:
    """A file given by path as the catalogue's entry of the same hashes, which has a repository and a commit."""
    from launcher.store.carry_find import carried_file

    path = file.local_path or Path()
    with DownloadBar() as bar:
        return replace(carried_file(path, _known(), bar).manifest.model_file(), local_path=path)


def _catalogue(model: str, quant: str | None = None, model_dirs: tuple[Path, ...] = ()) -> tuple[ModelFile, ...]:
    """What is known without a network."""
    found = load_catalogue(
        request_model=model,
        request_quant=quant,
        offline=True,
        refresh=False,
        isa=(),
        cache_dir=folders().cache,
        model_dirs=model_dirs,
    )
    return found.files


def _known() -> tuple[ModelFile, ...]:
    return _catalogue("auto")


def _keep_entry(manifest: Manifest) -> None:
    """Keep the catalogue entry, where without it a plan would not find what is here now."""
    file = manifest.model_file()
    try:
        if any(known.local_path is not None for known in _catalogue(file.name)):
            return
    except LauncherError:
        pass  # nothing is known of this repository, or of this quant of it
    cache_dir, endpoint = folders().cache, hub_endpoint(os.environ)
    kept = read_listing(cache_dir, endpoint, manifest.repo) or CachedListing(
        schema=SCHEMA,
        endpoint=endpoint,
        repo=manifest.repo,
        commit=manifest.commit,
        # Old at once: a machine that has a network after all asks the hub.
        fetched_at=manifest.exported_at,
        files=(),
    )
    paths = {part.path for part in file.parts}
    others = tuple(part for part in kept.files if part.path not in paths)
    write_listing(cache_dir, replace(kept, files=(*others, *file.parts)))
