"""What `gpt-oss models rm` does: a model of the hub's cache goes whole, and nobody else's file by accident."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.catalogue.inventory import FoundModel
from launcher.catalogue.known import StaleFile
from launcher.cli.ask import agreed, can_be_asked
from launcher.cli.context import load_settings
from launcher.cli.models_in_use import refuse_if_served
from launcher.cli.models_rows import Here, ModelRow, look, path_in, select
from launcher.cli.models_view import print_doomed, short
from launcher.cli.output import print_json, say
from launcher.errors import LauncherError, UsageError
from launcher.paths import folders
from launcher.store.cache import RepoCache
from launcher.store.hashes import forget_hash
from launcher.store.local import hub_cache_dir, part_paths
from launcher.store.removal import Doomed, doomed_model, doomed_parts, remove
from launcher.store.used import forget_use
from launcher.store.walk import SeenFile
from launcher.units import format_bytes

_OURS = "hub cache"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """One model that is to go."""

    name: str
    """As it was named."""
    row: ModelRow
    paths: tuple[Path, ...]
    doomed: Doomed
    cache: RepoCache | None
    """None outside the hub's cache."""


def remove_models(names: Sequence[str], *, outside_cache: bool, yes: bool, as_json: bool) -> None:
    """`gpt-oss models rm`.

    Raises:
        DamagedFileError: nothing here is called so.
        UsageError: a name stands for several models, the file is another application's, or a server uses it; or nobody
            can be asked.
    """
    here = look(load_settings({}))
    targets = [target for name in names for target in _targets(here, name, outside_cache=outside_cache)]
    for target in targets:
        refuse_if_served({target.name, target.row.name}, target.paths)
    total = format_bytes(sum(target.doomed.freed_bytes for target in targets))
    again = shlex.join(["gpt-oss", "models", "rm", *(["--outside-cache"] if outside_cache else []), *names, "--yes"])
    ask([target.doomed for target in targets], (), question=f"Remove for good ({total})?", again=again, yes=yes)
    freed = {target.name: _remove(target) for target in targets}
    if as_json:
        print_json({"removed": [{"name": name, "freed_bytes": n_bytes} for name, n_bytes in freed.items()]})
        return
    for name, n_bytes in freed.items():
        say(f"removed {short(name)}: {format_bytes(n_bytes)} freed")


def _targets(here: Here, text: str, *, outside_cache: bool) -> list[_Target]:
    rows = select(here, text)
    path = path_in(rows[0], text)
    if path is not None:
        return [_by_path(here, rows[0], path, outside_cache=outside_cache)]
    ours = [row for row in rows if row.app == _OURS]
    if not ours:
        raise _not_ours(rows[0])
    if len({row.name for row in ours}) > 1:
        raise UsageError(
            f"{text} stands for {len(ours)} models",
            hint=f"gpt-oss models rm {shlex.quote(ours[0].name)}",
            details=tuple(row.name for row in ours),
        )
    return [_in_cache(here, row, row.paths, everywhere=True) for row in ours]


def _by_path(here: Here, row: ModelRow, path: Path, *, outside_cache: bool) -> _Target:
    """What a person named by its path: that file alone, with the parts beside it."""
    model = here.of(row)
    seen = next((seen for seen in _seen(model) if seen.path == path), None)
    app = seen.app if seen is not None else row.app
    paths = part_paths(path, model.n_parts) if model is not None and path not in row.paths else row.paths
    if app == _OURS:
        return _in_cache(here, row, paths, everywhere=False)
    if app == "Ollama" or not outside_cache or (seen is not None and not path.is_relative_to(seen.root)):
        raise _not_ours(row)
    doomed = Doomed(repo=app, what=f"{row.model or '-'} {row.quant or ''}".strip(), pointers=(), blobs=tuple(paths))
    return _Target(name=str(path), row=row, paths=tuple(paths), doomed=doomed, cache=None)


def _seen(model: FoundModel | None) -> tuple[SeenFile, ...]:
    return () if model is None else (*model.parts, *model.also)


def _in_cache(here: Here, row: ModelRow, paths: Sequence[Path], *, everywhere: bool) -> _Target:
    cache = RepoCache(cache_dir=hub_cache_dir(), repo=str(row.repo))
    what = f"{row.model or '-'} {row.quant or ''}".strip()
    if here.of(row) is None:
        doomed = doomed_parts(cache, paths[0].name.partition(".")[0], what=f"{what}, {row.state}")
    else:
        doomed = doomed_model(cache, paths, what=what, everywhere=everywhere)
    return _Target(name=row.name, row=row, paths=tuple(paths), doomed=doomed, cache=cache)


def _not_ours(row: ModelRow) -> UsageError:
    """The error for a file that another program looks after."""
    if row.app == "Ollama":
        how = "Ollama removes it: ollama rm NAME"
    else:
        how = f"gpt-oss models rm --outside-cache {shlex.quote(str(row.paths[0]))}"
    return UsageError(
        f"{short(row.name)} is in {row.app}, not in the hub's cache: that is not removed by its name",
        hint="gpt-oss models",
        details=(how,),
    )


def _remove(target: _Target) -> int:
    own = folders()
    resolved = [path.resolve() for path in target.paths]
    if target.cache is not None:
        freed_bytes = remove(target.cache, target.doomed)
    else:
        freed_bytes = target.doomed.freed_bytes
        for path in target.paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise LauncherError(
                    f"cannot remove {path}: {error.strerror or error}", hint="gpt-oss models du"
                ) from error
    for path in resolved:
        if not path.exists():
            forget_hash(own.cache, path)
            forget_use(own.state, path)
    return freed_bytes


def ask(doomed: Sequence[Doomed], stale: Sequence[StaleFile], *, question: str, again: str, yes: bool) -> None:
    """Show what would go and ask once.

    Raises:
        UsageError: declined, or nobody can be asked.
    """
    if yes:
        return
    if not can_be_asked():
        raise UsageError("this removes files, and nobody can be asked", hint=again)
    print_doomed(doomed, [(file.what, file.path, file.size_bytes) for file in stale], stream=sys.stderr)
    if not agreed(question, default=False):
        raise UsageError("nothing removed", hint="gpt-oss models")
