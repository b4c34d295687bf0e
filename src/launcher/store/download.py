"""A model file from the hub into the hub's own cache: whole, verified, shared with other tools."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import LauncherError, UsageError
from launcher.store.cache import RepoCache, is_commit, link_pointer, write_ref
from launcher.store.config import HubConfig, hub_config
from launcher.store.connection import Connection, RemoteFile
from launcher.store.disk import disk_errors, no_room
from launcher.store.fetching import Fetching
from launcher.store.growing import bytes_so_far, reserved_bytes
from launcher.store.local import check_parts, find_cached_parts, hub_cache_dir
from launcher.store.pool import Pool
from launcher.store.refusals import Asked
from launcher.store.run import Meter, Outside, Pace, Run
from launcher.store.transfer import changed
from launcher.store.types import LocalModel, NullProgress, ProgressSink

__all__ = ["Outside", "Pace", "fetch"]


def fetch(
    file: ModelFile,
    *,
    cache_dir: Path | None = None,
    config: HubConfig | None = None,
    progress: ProgressSink | None = None,
    pace: Pace | None = None,
    mirrors: tuple[str, ...] = (),
    outside: Outside | None = None,
) -> LocalModel:
    """Make `file` be on this disk, complete and verified, and tell where.

    Nothing is asked of the network where it is here already. What an interrupted or killed call had fetched is kept
    and taken up again. A file gets its final name only when its sha256 is the hub's.

    Args:
        file: What to fetch. All its parts are fetched; without a repository its `local_path` must be complete.
        cache_dir: Root of the hub's cache; None: as `config` has it.
        config: Which hub and as whom; None: as the environment says.
        progress: Where to tell how far it is; None: nowhere.
        mirrors: More hubs, where `config` is None.
        pace: Connections, and how fast they may be; None: the defaults.
        outside: HTTP client, sleep, disk; None: the real ones.

    Raises:
        NetworkError: The hub is offline, unreachable, refuses, or sends something else.
        DoesNotFitError: The disk has no room; needs and has in bytes.
        DamagedFileError: What arrived has another hash than the hub's (it is deleted), or a local part is missing.
        LauncherError: The cache folder can't be written.
    """
    if file.local_path is not None and (file.repo is None or _is_complete(file)):
        return LocalModel(paths=check_parts(file.local_path))
    if file.repo is None or not file.parts:
        raise UsageError(f"nothing to fetch: {file.quant} of {file.model} has no repository", hint="gpt-oss plan")
    if cache_dir is None:
        cache_dir = config.cache_dir if config else hub_cache_dir()
    cache = RepoCache(cache_dir=cache_dir, repo=file.repo)
    _link_known_blobs(file, cache)
    if found := find_cached_parts(file, cache.cache_dir):
        return LocalModel(paths=found)
    # Only now: for the token this imports huggingface_hub, half a second that a model on disk need not wait.
    config = config or hub_config(mirrors=mirrors)
    config.check_online(f"downloading {file.name}")
    outside = outside or Outside()
    with outside.client() as client:
        connection = Connection(config, client, outside.sleep or time.sleep)
        run = Run(
            file=file,
            config=config,
            cache=cache,
            progress=progress or NullProgress(),
            outside=outside,
            connection=connection,
            pace=pace or Pace(),
        )
        return _fetch(run)


def _is_complete(file: ModelFile) -> bool:
    """Whether `local_path` and the parts beside it have the listed sizes."""
    try:
        sizes = [path.stat().st_size for path in check_parts(file.local_path)] if file.local_path else []
    except (LauncherError, OSError):
        return False
    return len(sizes) == len(file.parts) and all(
        part.size_bytes in {None, size} for part, size in zip(file.parts, sizes, strict=True)
    )


def _link_known_blobs(file: ModelFile, cache: RepoCache) -> None:
    """Show blobs that are here under the wanted commit: the same content under another name needs no network."""
    if not is_commit(file.revision):
        return
    for part in file.parts:
        pointer = cache.pointer(str(file.revision), part.path)
        if part.sha256 is None or part.size_bytes is None or pointer.exists():
            continue
        blob = cache.blob(part.sha256)
        try:
            if blob.stat().st_size == part.size_bytes:
                link_pointer(blob, pointer)
        except OSError:
            # No such blob, or a read-only cache: the search that follows decides.
            continue


def _fetch(run: Run) -> LocalModel:
    remotes = [_look_up(run, part) for part in run.file.parts]
    if len({remote.commit for remote in remotes}) > 1:
        # Only without a pinned revision: the repository changed between two questions.
        raise changed(remotes[-1])
    total = sum(remote.size_bytes for remote in remotes)
    with disk_errors(
        run.file.name,
        run.cache.cache_dir,
        missing_bytes=lambda: sum(_room(run, remote) for remote in remotes),
        free_bytes=run.outside.free_bytes,
        retry=run.retry,
    ):
        counted = {str(remote.asked.path): _bytes_here(run, remote) for remote in remotes}
        _check_room(run, sum(_room(run, remote) for remote in remotes))
        run.progress.start(total, sum(counted.values()), run.file.name)
        try:
            with (
                ExitStack() as locks,
                Pool(
                    n_connections=run.pace.n_connections,
                    limit_bytes_per_s=run.pace.limit_bytes_per_s,
                    sleep=run.outside.sleep,
                ) as pool,
            ):
                # The pool is left first: nobody writes any more when the locks go.
                paths = Fetching(run, pool, Meter(run.progress, counted), locks).fetch_all(remotes)
            if remotes[0].ref is not None:
                write_ref(run.cache.ref(remotes[0].ref), remotes[0].commit)
        finally:
            run.progress.finish()
    return LocalModel(paths=tuple(paths), notes=tuple(run.notes), verified=tuple(run.verified))


def _look_up(run: Run, part: FilePart) -> RemoteFile:
    asked = Asked(
        endpoint=run.config.endpoint,
        repo=run.cache.repo,
        path=part.path,
        revision=run.file.revision,
        retry=run.retry,
    )
    remote = run.connection.look_up(asked)
    other_size = part.size_bytes is not None and part.size_bytes != remote.size_bytes
    other_hash = part.sha256 is not None and remote.sha256 is not None and part.sha256 != remote.sha256
    if other_size or other_hash:
        raise changed(remote)
    return remote


def _bytes_here(run: Run, remote: RemoteFile) -> int:
    """Bytes of a file that need not be fetched: its blob's, or those of an unfinished transfer."""
    if _is_here(run, remote):
        return remote.size_bytes
    return bytes_so_far(run.cache, run.blob_name(remote), remote.size_bytes)


def _room(run: Run, remote: RemoteFile) -> int:
    """Bytes that the disk must still have for a file."""
    if _is_here(run, remote):
        return 0
    return remote.size_bytes - reserved_bytes(run.cache, run.blob_name(remote), remote.size_bytes)


def _is_here(run: Run, remote: RemoteFile) -> bool:
    pointer = run.cache.pointer(remote.commit, str(remote.asked.path))
    blob = run.cache.blob(run.blob_name(remote))
    return any(path.exists() and path.stat().st_size == remote.size_bytes for path in (pointer, blob))


def _check_room(run: Run, missing_bytes: int) -> None:
    free = run.outside.free_bytes(run.cache.cache_dir)
    if missing_bytes > free:
        raise no_room(run.file.name, run.cache.cache_dir, missing_bytes=missing_bytes, free=free, retry=run.retry)
