"""The connections of one download: a few threads that fetch ranges of all its files, until told to stop."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from launcher.errors import NetworkError
from launcher.store.checking import Checker
from launcher.store.connection import LONGEST_RETRY_AFTER_S, TRIES_WITHOUT_BYTES, Patience, RemoteFile, TransientError
from launcher.store.pace import RateLimit
from launcher.store.partial import Claim, ClosedError, Partial
from launcher.store.source import Source
from launcher.store.transfer import Line, fetch_range
from launcher.units import MIB, format_duration

if TYPE_CHECKING:
    import httpx

LOOK_S = 0.1
"""How often the caller looks at what has come, to tell it."""
_JOIN_S = 2.0
"""For a connection that is being opened when all is over: it can't be cut, and does no harm."""
_TRIES_BEFORE_MIRROR = 2
"""In a row that brought nothing. Where no mirror can be asked either it is the network, and waiting goes on."""
_NOT_ALLOWED = frozenset({401, 403})
"""What the hub does not let this login read is not looked for elsewhere."""
_SYNC_BYTES = 16 * MIB
_SYNC_SHARE = 0.1
"""After so many bytes the disk is told to keep them, as long as that takes no more than this share of the time."""


@dataclass(kw_only=True, slots=True, eq=False)
class Growing:
    """A file that the pool works on."""

    source: Source
    partial: Partial
    checker: Checker


class Pool:
    """Fetches files in the order in which they are added, the next one's beginning beside the last one's end.

    A context manager: when it is left, nobody writes any more.
    """

    def __init__(
        self,
        *,
        n_connections: int,
        limit_bytes_per_s: float | None = None,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sleep` None: the real one, cut short when the pool is stopped."""
        self.n_connections = n_connections
        self._limit = RateLimit(limit_bytes_per_s, clock)
        self._clock = clock
        self._stop = threading.Event()
        self._sleep = sleep or self._nap
        self._files: list[Growing] = []
        self._work = threading.Condition()
        self._notes: deque[str] = deque()
        self._error: BaseException | None = None
        self._hold_until_s = 0.0
        self._lines: list[Line] = []
        self._answers: dict[int, httpx.Response] = {}
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with self._work:
            self._work.notify_all()
            for response in self._answers.values():
                _cut(response)
        deadline_s = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        for file in self._files:
            self.remove(file)

    def add(self, source: Source, file: Partial) -> Growing:
        """Work on a file from now on."""
        growing = Growing(source=source, partial=file, checker=Checker(file, self._wake))
        with self._work:
            self._files = [*self._files, growing]
            self._work.notify_all()
        if not self._threads:
            self._start()
        return growing

    def again(self, growing: Growing) -> None:
        """Pieces of a file, or all of it, have to come anew."""
        growing.checker = Checker(growing.partial, self._wake)
        self._wake()

    def remove(self, growing: Growing) -> None:
        """Leave a file alone: it is closed, and what has come of it stays."""
        with self._work:
            self._files = [file for file in self._files if file is not growing]
        if not growing.partial.is_closed:
            growing.partial.close()
        growing.checker.join()

    def look(self) -> list[str]:
        """Wait a moment; what the connections have to tell. Raises what stopped one of them."""
        with self._work:
            self._work.wait(LOOK_S)
        if self._error is not None:
            raise self._error
        notes = [self._notes.popleft() for _ in range(len(self._notes))]
        for file in self._files:
            if file.checker.error is not None:
                raise file.checker.error
        return notes

    @property
    def is_hungry(self) -> bool:
        """Whether a connection has nothing to do, so that the next file can be begun."""
        return len(self._answers) < self.n_connections and not any(file.partial.has_open_ranges for file in self._files)

    def _start(self) -> None:
        for _ in range(self.n_connections):
            self._lines.append(Line(limit=self._limit, sleep=self._sleep, fastest=self._fastest, clock=self._clock))
        for line in self._lines:
            self._threads.append(threading.Thread(target=self._run, args=(line,), name="gpt-oss-fetch", daemon=True))
        self._threads.append(threading.Thread(target=self._sync, name="gpt-oss-sync", daemon=True))
        for thread in self._threads:
            thread.start()

    def _fastest(self) -> float:
        return max(line.bytes_per_s for line in self._lines)

    def _run(self, line: Line) -> None:
        patience = Patience(TRIES_WITHOUT_BYTES, LONGEST_RETRY_AFTER_S)
        line.on_answer = partial(self._note_answer, id(line))
        while (job := self._next()) is not None:
            growing, claim = job
            try:
                self._fetch(growing, claim, line, patience)
            except ClosedError:
                return
            except BaseException as error:  # noqa: BLE001 -- handed to the thread that waits
                self._fail(error)
            finally:
                claim.partial.release(claim)
                self._wake()

    def _fetch(self, growing: Growing, claim: Claim, line: Line, patience: Patience) -> None:
        """Fetch one range, over as many tries as it takes."""
        seen_bytes = self._brought()
        while not self._stop.is_set():
            remote = growing.source.remote
            try:
                self._hold(line)
                fetch_range(growing.source, claim, line)
            except TransientError as trouble:
                if self._brought() > seen_bytes:
                    patience.reset()
                seen_bytes = self._brought()
                self._bear(trouble, patience, growing, remote, line)
            except NetworkError as error:
                if error.status in _NOT_ALLOWED or not self._moved_on(growing, remote, error):
                    raise
            else:
                patience.reset()
                return

    def _brought(self) -> int:
        return sum(line.new_bytes for line in self._lines)

    def _bear(
        self, trouble: TransientError, patience: Patience, growing: Growing, remote: RemoteFile, line: Line
    ) -> None:
        """Wait before the next try, or go on at a mirror. Raises NetworkError where neither helps."""
        if self._stop.is_set():
            return
        growing.source.forget_address()
        if patience.failed >= _TRIES_BEFORE_MIRROR and self._moved_on(growing, remote, trouble.error):
            patience.reset()
            return
        try:
            wait_s = patience.wait_s(trouble)
        except NetworkError as error:
            if not self._moved_on(growing, remote, error):
                raise
            patience.reset()
            return
        if wait_s <= 0:
            return
        self._notes.append(f"{trouble.error.message}; trying again in {format_duration(wait_s)}")
        if trouble.wait_s is not None:
            # The hub asked for it: the other connections wait as well.
            self._hold_until_s = line.held_until_s = self._clock() + wait_s
        self._wake()
        self._sleep(wait_s)

    def _moved_on(self, growing: Growing, remote: RemoteFile, error: NetworkError) -> bool:
        """Whether a mirror has the file too; from now on all connections ask there."""
        if not growing.source.next_endpoint(remote):
            return False
        self._notes.append(f"{error.message}; going on at {growing.source.remote.asked.endpoint}")
        return True

    def _nap(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _hold(self, line: Line) -> None:
        """Wait as long as the hub asked another connection to."""
        until_s = self._hold_until_s
        wait_s = until_s - self._clock()
        if wait_s > 0 and line.held_until_s != until_s:
            self._sleep(wait_s)
        line.held_until_s = until_s

    def _next(self) -> tuple[Growing, Claim] | None:
        """The next range to fetch, waited for; None when all is over."""
        with self._work:
            while not self._stop.is_set() and self._error is None:
                for growing in self._files:
                    claim = growing.partial.claim(self.n_connections)
                    if claim is not None:
                        return growing, claim
                self._work.wait(LOOK_S)
        return None

    def _note_answer(self, key: int, answer: httpx.Response | None) -> None:
        with self._work:
            if answer is None:
                self._answers.pop(key, None)
                return
            self._answers[key] = answer
            if self._stop.is_set():
                _cut(answer)

    def _sync(self) -> None:
        """Bring to the disk what has come, so that a power cut loses little; in the background, and never too much."""
        synced_bytes = 0
        pause_s = LOOK_S
        while not self._stop.wait(pause_s):
            brought = self._brought()
            if brought - synced_bytes < _SYNC_BYTES:
                pause_s = LOOK_S
                continue
            began_s = time.monotonic()
            for growing in self._files:
                # What fails here fails for the connections as well, who say so.
                with suppress(ClosedError, OSError):
                    growing.partial.sync()
            synced_bytes = brought
            pause_s = max(LOOK_S, (time.monotonic() - began_s) * (1 / _SYNC_SHARE - 1))

    def _fail(self, error: BaseException) -> None:
        with self._work:
            self._error = self._error or error
            self._work.notify_all()

    def _wake(self) -> None:
        with self._work:
            self._work.notify_all()


def _cut(response: httpx.Response) -> None:
    """End the reading of an answer in another thread."""
    stream = response.extensions.get("network_stream")
    found = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(found, socket.socket):
        with suppress(OSError):
            found.shutdown(socket.SHUT_RDWR)
