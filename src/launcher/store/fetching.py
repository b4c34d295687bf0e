"""All files of one model, fetched together: locked, taken up, verified, and put in their places one by one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import DamagedFileError, NetworkError
from launcher.store.cache import link_pointer
from launcher.store.checking import drop_damaged
from launcher.store.connection import RemoteFile
from launcher.store.disk import locked
from launcher.store.growing import bytes_so_far, delete_partial, open_partial, place_blob
from launcher.store.pool import Growing, Pool
from launcher.store.run import Meter, Run
from launcher.store.source import Source
from launcher.units import MIB, format_bytes

_LARGE_BYTES = 256 * MIB
"""Of so much, the system may still hold a part in memory for seconds."""
_REPAIRS = 3
"""A disk that damages pieces again and again is not to be trusted with the rest."""


@dataclass(kw_only=True, slots=True, eq=False)
class _Open:
    """A file that is being fetched, and its lock."""

    remote: RemoteFile
    growing: Growing
    lock: ExitStack
    repairs: int = 0
    refetched: bool = False

    @property
    def path(self) -> str:
        return str(self.remote.asked.path)


class Fetching:
    """One download at work. The pool must be open."""

    def __init__(self, run: Run, pool: Pool, meter: Meter, locks: ExitStack) -> None:
        self._run = run
        self._pool = pool
        self._meter = meter
        self._locks = locks
        self._open: list[_Open] = []
        self._waited_for: set[str] = set()

    def fetch_all(self, remotes: list[RemoteFile]) -> list[Path]:
        """Fetch every file that is not here, and say where all of them are. Raises what `fetch` documents."""
        try:
            for no, remote in enumerate(remotes, start=1):
                of = f", part {no} of {len(remotes)}" if len(remotes) > 1 else ""
                self._begin(remote, f"downloading {remote.asked.path}{of}")
                while self._open and not self._pool.is_hungry:
                    self._look()
            while self._open:
                self._finish(self._open[0])
        except NetworkError as error:
            raise self._with_kept(error, remotes) from error
        return [self._run.cache.pointer(remote.commit, str(remote.asked.path)) for remote in remotes]

    def _begin(self, remote: RemoteFile, label: str) -> None:
        """Start to fetch one file, or wait until another process has it."""
        run, cache, path = self._run, self._run.cache, str(remote.asked.path)
        name = run.blob_name(remote)
        pointer, blob = cache.pointer(remote.commit, path), cache.blob(name)
        lock = ExitStack()
        self._locks.push(lock)
        lock.enter_context(locked(cache.lock(name), lambda: self._tell_waiting(remote)))
        if blob.exists() and blob.stat().st_size != remote.size_bytes:
            # Truncated by a copy or a full disk under another tool: it would be linked as if it were whole.
            blob.unlink()
        if blob.exists() or (pointer.exists() and pointer.stat().st_size == remote.size_bytes):
            self._meter.tell(path, remote.size_bytes)
            if blob.exists():
                link_pointer(blob, pointer)
            lock.close()
            return
        partial = open_partial(cache, name, remote.size_bytes, run.outside.open_part)
        self._meter.tell(path, partial.done_bytes)
        if partial.done_bytes:
            self._meter.note(f"checking the {format_bytes(partial.done_bytes)} that are already here")
        self._meter.begin(label)
        growing = self._pool.add(Source(run.connection, remote), partial)
        self._open.append(_Open(remote=remote, growing=growing, lock=lock))

    def _look(self) -> None:
        """Wait a moment, and tell what happened in it."""
        notes = self._pool.look()
        for item in self._open:
            self._meter.tell(item.path, item.growing.partial.done_bytes)
        for note in notes:
            self._meter.note(note)
        if notes:
            self._meter.begin(self._meter.label)

    def _finish(self, item: _Open) -> None:
        """Wait until a file is whole and verified, and give it its name."""
        run, name = self._run, self._run.blob_name(item.remote)
        want = run.sha256(item.remote)
        while True:
            while not item.growing.checker.is_done:
                self._look()
            self._look_at_damage(item)
            got = str(item.growing.checker.sha256)
            if want in {None, got}:
                break
            if not self._once_more(item, got, str(want)):
                self._pool.remove(item.growing)
                self._open.remove(item)
                delete_partial(run.cache, name)
                raise DamagedFileError(
                    f"{item.path} arrived damaged and was deleted: fetched twice, its sha256 is {got[:12]}…, "
                    f"the hub's {str(want)[:12]}…",
                    path=str(run.cache.pointer(item.remote.commit, item.path)),
                    hint=run.retry,
                )
        self._meter.tell(item.path, item.remote.size_bytes)
        if item.remote.size_bytes > _LARGE_BYTES:
            self._meter.begin(f"bringing {item.path} to the disk")
        item.growing.partial.sync()
        self._pool.remove(item.growing)
        self._open.remove(item)
        blob = run.cache.blob(name)
        if want is None:
            note = f"the hub gives no sha256 for {item.path}: its size is right, and its sha256 here is {got}"
            blob.with_name(f"{blob.name}.gpt-oss.sha256").write_text(f"{got}  {item.path}\n", encoding="utf-8")
            run.notes.append(note)
            self._meter.note(note)
        place_blob(run.cache, name)
        link_pointer(blob, run.cache.pointer(item.remote.commit, item.path))
        if want is not None:
            run.verified.append(run.cache.pointer(item.remote.commit, item.path))
        item.lock.close()

    def _look_at_damage(self, item: _Open) -> None:
        if n_pieces := len(item.growing.checker.dropped):
            item.growing.checker.dropped.clear()
            self._meter.note(f"{_pieces(n_pieces)} of {item.path} found on this disk, fetched again")

    def _once_more(self, item: _Open, got: str, want: str) -> bool:
        """Fetch the damaged pieces of a file again; where none can be told, all of it, once. False: not again."""
        partial = item.growing.partial
        self._meter.note(f"looking for the damage in {item.path}")
        if item.repairs < _REPAIRS and (n_pieces := drop_damaged(partial)):
            item.repairs += 1
            self._meter.note(f"{_pieces(n_pieces)} of {item.path} found on this disk, fetched again")
        elif not item.refetched:
            item.refetched = True
            source = item.growing.source
            source.next_endpoint(source.remote)
            source.forget_address()
            partial.clear()
            partial.file.reserve(partial.size_bytes)
            self._meter.note(
                f"{item.path} arrived damaged (sha256 {got[:12]}…, the hub's {want[:12]}…): all of it is fetched again"
            )
        else:
            return False
        self._meter.begin(self._meter.label)
        self._pool.again(item.growing)
        return True

    def _tell_waiting(self, remote: RemoteFile) -> None:
        """Another process has the lock: tell how far it is, and do not let our own connections starve meanwhile."""
        path = str(remote.asked.path)
        here = bytes_so_far(self._run.cache, self._run.blob_name(remote), remote.size_bytes)
        so_far = f", {format_bytes(here)} so far" if here else ""
        self._meter.tell(path, here)
        if path not in self._waited_for:
            # Once: where it is from then on is told as progress.
            self._waited_for.add(path)
            self._meter.note(f"another process is downloading {path}{so_far}: waiting for it")
        if self._open:
            self._look()

    def _with_kept(self, error: NetworkError, remotes: list[RemoteFile]) -> NetworkError:
        """Say what is not lost. Where nothing came, the error stays as it is."""
        kept = sum(item.growing.partial.done_bytes for item in self._open)
        if kept == 0:
            return error
        total = sum(item.remote.size_bytes for item in self._open)
        name = "" if len(remotes) == 1 else " of what was being fetched"
        return NetworkError(
            f"{error.message}; {format_bytes(kept)} of {format_bytes(total)}{name} are kept, and the "
            "same command goes on from there",
            url=error.url,
            status=error.status,
            hint=self._run.retry if error.hint != "hf auth login" else error.hint,
            details=error.details,
        )


def _pieces(count: int) -> str:
    return "1 damaged piece" if count == 1 else f"{count} damaged pieces"
