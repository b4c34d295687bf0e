"""A model file from the hub into the hub's own cache: whole, verified, shared with other tools."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import DamagedFileError, LauncherError, NetworkError, UsageError
from launcher.store.cache import RepoCache, is_commit, link_pointer, unfinished, write_ref
from launcher.store.config import HubConfig, hub_config
from launcher.store.connection import Connection, RemoteFile, default_client
from launcher.store.disk import disk_error, free_bytes, is_full, locked, no_room, open_part
from launcher.store.local import check_parts, find_cached_parts, hub_cache_dir
from launcher.store.refusals import Asked
from launcher.store.transfer import Part, changed, transfer
from launcher.store.types import LocalModel, NullProgress, ProgressSink
from launcher.units import format_bytes

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """What a download touches outside this program; tests put fakes here."""

    client: Callable[[], httpx.Client] = default_client
    sleep: Callable[[float], None] = time.sleep
    free_bytes: Callable[[Path], int] = free_bytes
    open_part: Callable[[Path], BinaryIO] = open_part


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fetch:
    """One call of `fetch`, past the point where everything was already here."""

    file: ModelFile
    config: HubConfig
    cache: RepoCache
    progress: ProgressSink
    outside: Outside
    connection: Connection
    notes: list[str] = field(default_factory=list)

    @property
    def retry(self) -> str:
        """The command that goes on with this download."""
        return f"gpt-oss pull {self.file.name}"


def fetch(
    file: ModelFile,
    *,
    cache_dir: Path | None = None,
    config: HubConfig | None = None,
    progress: ProgressSink | None = None,
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
    config = config or hub_config()
    config.check_online(f"downloading {file.name}")
    outside = outside or Outside()
    with outside.client() as client:
        connection = Connection(config, client, outside.sleep)
        run = _Fetch(
            file=file,
            config=config,
            cache=cache,
            progress=progress or NullProgress(),
            outside=outside,
            connection=connection,
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


def _fetch(run: _Fetch) -> LocalModel:
    remotes = [_look_up(run, part) for part in run.file.parts]
    if len({remote.commit for remote in remotes}) > 1:
        # Only without a pinned revision: the repository changed between two questions.
        raise changed(remotes[-1])
    total = sum(remote.size_bytes for remote in remotes)
    with _disk_errors(run):
        counted = [_bytes_here(run, remote) for remote in remotes]
        _check_room(run, total - sum(counted))
        run.progress.start(total, sum(counted), run.file.name)
        try:
            paths = []
            for no, (remote, here) in enumerate(zip(remotes, counted, strict=True), start=1):
                of = f", part {no} of {len(remotes)}" if len(remotes) > 1 else ""
                paths.append(_fetch_part(run, remote, counted_bytes=here, of=of))
            if remotes[0].ref is not None:
                write_ref(run.cache.ref(remotes[0].ref), remotes[0].commit)
        finally:
            run.progress.finish()
    return LocalModel(paths=tuple(paths), notes=tuple(run.notes))


def _look_up(run: _Fetch, part: FilePart) -> RemoteFile:
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


def _blob_name(run: _Fetch, remote: RemoteFile) -> str:
    return _sha256(run, remote) or remote.etag


def _sha256(run: _Fetch, remote: RemoteFile) -> str | None:
    """The hash that the content must have: the listing's, else the one that the hub's answer carries."""
    listed = next((part.sha256 for part in run.file.parts if part.path == remote.asked.path), None)
    return listed or remote.sha256


def _bytes_here(run: _Fetch, remote: RemoteFile) -> int:
    """Bytes of a file that need not be fetched: its blob's, or those of an unfinished transfer."""
    name = _blob_name(run, remote)
    pointer = run.cache.pointer(remote.commit, str(remote.asked.path))
    for path in (pointer, run.cache.blob(name)):
        if path.exists() and path.stat().st_size == remote.size_bytes:
            return remote.size_bytes
    part = run.cache.part(name)
    here = part.stat().st_size if part.exists() else 0
    return here if here <= remote.size_bytes else 0


def _check_room(run: _Fetch, missing_bytes: int) -> None:
    free = run.outside.free_bytes(run.cache.cache_dir)
    if missing_bytes > free:
        raise no_room(run.file.name, run.cache.cache_dir, missing_bytes=missing_bytes, free=free, retry=run.retry)


def _fetch_part(run: _Fetch, remote: RemoteFile, *, counted_bytes: int, of: str) -> Path:
    """Fetch one file, or wait until another process has, and put it in its place."""
    pointer = run.cache.pointer(remote.commit, str(remote.asked.path))
    name = _blob_name(run, remote)
    blob = run.cache.blob(name)
    with locked(run.cache.lock(name), lambda: _tell_waiting(run, remote, run.cache.part(name))):
        if blob.exists() and blob.stat().st_size != remote.size_bytes:
            # Truncated by a copy or a full disk under another tool: it would be linked as if it were whole.
            blob.unlink()
        if not blob.exists() and not (pointer.exists() and pointer.stat().st_size == remote.size_bytes):
            _fetch_blob(run, remote, blob, run.cache.part(name), counted_bytes=counted_bytes, of=of)
        else:
            run.progress.advance(remote.size_bytes - counted_bytes)
        if blob.exists():
            link_pointer(blob, pointer)
    return pointer


def _fetch_blob(run: _Fetch, remote: RemoteFile, blob: Path, path: Path, *, counted_bytes: int, of: str) -> None:
    want = _sha256(run, remote)
    with run.outside.open_part(path) as stream:
        part = Part(stream, run.progress, counted_bytes=counted_bytes)
        part.resume(remote.size_bytes)
        try:
            transfer(run.connection, remote, part, run.progress, label=f"downloading {remote.asked.path}{of}")
        except NetworkError as error:
            raise _with_kept(run, error, remote, part.have_bytes) from error
        got = part.finish()
    if want is not None and got != want:
        path.unlink()
        raise DamagedFileError(
            f"{remote.asked.path} arrived damaged and was deleted: its sha256 is {got[:12]}…, the hub's {want[:12]}…",
            path=str(path),
            hint=run.retry,
        )
    if want is None:
        note = f"the hub gives no sha256 for {remote.asked.path}: its size is right, and its sha256 here is {got}"
        blob.with_name(f"{blob.name}.gpt-oss.sha256").write_text(f"{got}  {remote.asked.path}\n", encoding="utf-8")
        run.notes.append(note)
        run.progress.phase(note)
    path.replace(blob)


def _with_kept(run: _Fetch, error: NetworkError, remote: RemoteFile, have_bytes: int) -> NetworkError:
    """Say what is not lost. Where nothing came, the error stays as it is."""
    if have_bytes == 0:
        return error
    return NetworkError(
        f"{error.message}; {format_bytes(have_bytes)} of {format_bytes(remote.size_bytes)} are kept, and the "
        "same command goes on from there",
        url=error.url,
        status=error.status,
        hint=run.retry if error.hint != "hf auth login" else error.hint,
        details=error.details,
    )


def _tell_waiting(run: _Fetch, remote: RemoteFile, part: Path) -> None:
    try:
        here = f", {format_bytes(part.stat().st_size)} so far"
    except OSError:
        here = ""
    run.progress.phase(f"another process is downloading {remote.asked.path}{here}: waiting for it")


@contextmanager
def _disk_errors(run: _Fetch) -> Iterator[None]:
    """Turn the disk's own errors into ones that say what to do. What has been fetched stays."""
    try:
        yield
    except OSError as error:
        folder = run.cache.cache_dir
        if not is_full(error):
            raise disk_error(error, folder, retry=run.retry) from error
        here = sum(size for path, size in unfinished(folder) if path.parent == run.cache.folder / "blobs")
        missing = max((run.file.size_bytes or 0) - here, 0)
        free = run.outside.free_bytes(folder)
        raise no_room(run.file.name, folder, missing_bytes=missing, free=free, retry=run.retry) from error
