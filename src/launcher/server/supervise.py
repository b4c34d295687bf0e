"""Look after a llama-server: start it, wait until it answers, start it again after a crash, end it with the launcher.

What a state means, and what ends it:

- loading: from the start until llama-server says `ready`. Ends in running; or in a failure where it ends by itself or
  shows no sign of life for STALL_S.
- running: answers. Ends in waiting where the process ends by itself; in sleeping where it was idle for long enough.
- waiting: between a crash and the next start, longer each time. More than `max_restarts` crashes within CALM_S of the
  start before are the end.
- stopping: a signal came. The child is asked, then told, then killed, within 5 s.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Protocol

from launcher.errors import EngineError
from launcher.hardware.crashes import crash_of_status, is_about_memory, keep_crash
from launcher.hardware.types import ENVIRONMENT
from launcher.server import registry
from launcher.server.child import Child, ChildEvent, Ended, LoadProgress, StateChange, Warned
from launcher.server.log import LogFile, message_of
from launcher.server.types import ServerRecord
from launcher.system import stop_event

STALL_S = 600.0
"""Without progress while loading. The warm-up of a 120b on a slow disk reads 60 GB without telling: at 100 MB/s."""
_LOOK_S = 1.0
"""Between looks at a server that does not tell by itself that it is ready."""
CALM_S = 600.0
"""A server that ran for so long has recovered from its last crash."""
MAX_RESTARTS = 5
DELAYS_S = (0.2, 1.0, 2.0, 5.0, 10.0)
"""Before each start after a crash. The first is short: most crashes are one request's."""
_SHOWN_LINES = 8
_OTHERWISE = f"gpt-oss serve --build {ENVIRONMENT}"
_AGAIN_S = 300.0
"""Before the same warning is told again; the log has each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that a supervisor needs; it crosses to another process as JSON."""

    command: tuple[str, ...]
    """Of llama-server."""
    record: ServerRecord
    """As it is once it runs; pids are filled in."""
    state_dir: Path
    max_restarts: int = MAX_RESTARTS


class MemoryRanOutError(EngineError):
    """llama-server ended because there was less memory than its plan takes."""


class Sink(Protocol):
    """Who is told."""

    def progress(self, value: float) -> None:
        """Loaded so far, 0 to 1."""
        ...

    def ready(self, record: ServerRecord) -> None:
        """It answers."""
        ...

    def say(self, text: str) -> None:
        """Something a person should know."""
        ...


class _Stop:
    """A signal came."""

    def __init__(self, number: int) -> None:
        self.number = number


_Event = ChildEvent | _Stop
Spawn = Callable[[tuple[str, ...], LogFile, Callable[[ChildEvent], None], Mapping[str, str]], Child]
Front = Callable[[ServerRecord], AbstractContextManager[object]]
"""Something that stands before llama-server, for as long as the supervisor runs."""


def answers(record: ServerRecord) -> bool:
    """Whether llama-server says by HTTP that it is ready: builds that are no router's child say it so alone."""
    connection = HTTPConnection("127.0.0.1", record.server_port or record.port, timeout=_LOOK_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def supervise(
    job: Job,
    sink: Sink,
    *,
    spawn: Spawn = Child,
    healthy: Callable[[ServerRecord], bool] = answers,
    front: Front = lambda _record: nullcontext(),
    clock: Callable[[], float] = time.monotonic,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run until a signal. Gives the signal's number, or 0 where the server was told to end by somebody else.

    Raises:
        EngineError: it does not start, or crashes again and again; with the last lines of its log.
        MemoryRanOutError: the same, and they are about memory.
    """
    events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    pid = os.getpid()
    record = replace(
        job.record,
        pid=pid,
        pid_started_s=registry.process_started_s(pid) or 0.0,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    log = LogFile(record.log_path)
    try:
        with _signals(events.put), front(record):
            registry.save(job.state_dir, record)
            return _Supervisor(
                job,
                record,
                sink,
                spawn=lambda: spawn(job.command, log, events.put, environ),
                world=_World(events=events, clock=clock, log=log, healthy=healthy),
            ).run()
    finally:
        registry.remove(job.state_dir, record.port)
        log.close()


@contextmanager
def _signals(put: Callable[[_Event], None]) -> Iterator[None]:
    """SIGINT, SIGTERM and a closed terminal as events, for as long as the block runs."""
    # A closed terminal is SIGBREAK on Windows, where SIGTERM comes from nobody: a stop event does.
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    wanted = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda got, _frame: put(_Stop(got))) for number in wanted}
    try:
        with stop_event.listen(lambda: put(_Stop(signal.SIGTERM))):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, kw_only=True, slots=True)
class _World:
    """What the loop takes from outside."""

    events: queue.SimpleQueue[_Event]
    clock: Callable[[], float]
    log: LogFile
    healthy: Callable[[ServerRecord], bool]


class _Supervisor:
    """The loop and what it remembers."""

    def __init__(
        self, job: Job, record: ServerRecord, sink: Sink, *, spawn: Callable[[], Child], world: _World
    ) -> None:
        self._job, self._record, self._sink = job, record, sink
        self._spawn, self._world = spawn, world
        self._crashes = 0
        self._held: list[str] = []
        self._warned: dict[str, float] = {}

    def run(self) -> int:
        """Start, watch, start again."""
        while True:
            self._world.log.write(f"--- {' '.join(self._job.command)}")
            started = self._world.clock()
            child = self._spawn()
            try:
                ended = self._watch(child)
            except BaseException:
                child.stop()
                raise
            if isinstance(ended, _Stop):
                return ended.number
            if ended.returncode == 0:
                self._say("llama-server was told to end by somebody else.")
                return 0
            self._crashes = 1 if self._world.clock() - started > CALM_S else self._crashes + 1
            if self._crashes > self._job.max_restarts:
                crashed = f"llama-server crashed {self._crashes} times; the last time it {_how(ended)}"
                raise self._failure(child, crashed, ended)
            delay = DELAYS_S[min(self._crashes, len(DELAYS_S)) - 1]
            again = f"llama-server {_how(ended)}; it is started again in {delay:g} s"
            # A second crash is no accident of one request.
            way_out = f"; if it goes on: {_OTHERWISE}" if self._crashes == 2 and self._of_store else ""
            self._say(f"{again}{way_out}")
            stop = self._sleep(delay)
            if stop is not None:
                return stop.number

    def _say(self, text: str) -> None:
        """To whoever watches, and into the log for whoever looks later."""
        self._world.log.write(f"--- {text}")
        self._sink.say(text)

    def _watch(self, child: Child) -> Ended | _Stop:
        """Until the child ends, or a signal ends both."""
        self._held = []
        alive = self._world.clock()
        self._update(server_pid=child.pid, ready=False, sleeping=False)
        while True:
            left = alive + STALL_S - self._world.clock()
            try:
                event = self._world.events.get(timeout=_wait_s(left, ready=self._record.ready))
            except queue.Empty:
                if self._record.ready:
                    continue
                if left <= 0:
                    raise self._failure(child, f"llama-server shows no sign of life for {STALL_S:.0f} s") from None
                if self._world.healthy(self._record):
                    self._tell(StateChange(state="ready"))
                continue
            alive = self._world.clock()
            if isinstance(event, _Stop):
                child.stop()
                return event
            if isinstance(event, Ended):
                if not self._record.ready and self._crashes == 0 and event.returncode != 0:
                    raise self._failure(child, f"llama-server {_how(event)} before it was ready", event)
                self._update(server_pid=None, ready=False, sleeping=False)
                return event
            self._tell(event)

    def _tell(self, event: LoadProgress | StateChange | Warned) -> None:
        """What the child says, to whoever watches."""
        if isinstance(event, LoadProgress):
            self._sink.progress(event.value)
        elif isinstance(event, Warned):
            self._warn(message_of(event.text))
        elif event.state == "sleeping":
            self._update(sleeping=True)
            self._say("no request for a while: the model leaves memory until the next one")
        elif event.state == "ready" and (self._record.sleeping or not self._record.ready):
            self._update(ready=True, sleeping=False)
            self._sink.ready(self._record)
        # Warnings wait while it loads: where it fails, the error shows them.
        if self._record.ready:
            for text in self._held:
                self._sink.say(text)
            self._held = []

    def _warn(self, message: str) -> None:
        """Keep a warning to be told, unless one that differs in numbers alone was told a while ago."""
        kind, now = re.sub(r"\d+", "", message), self._world.clock()
        if now - self._warned.get(kind, -_AGAIN_S) >= _AGAIN_S:
            self._warned[kind] = now
            self._held.append(f"llama-server: {message}")

    def _update(self, **changes: object) -> None:
        self._record = replace(self._record, **changes)  # type: ignore[arg-type]
        registry.save(self._job.state_dir, self._record)

    def _sleep(self, seconds: float) -> _Stop | None:
        """Wait, unless a signal comes."""
        until = self._world.clock() + seconds
        while (left := until - self._world.clock()) > 0:
            try:
                event = self._world.events.get(timeout=left)
            except queue.Empty:
                return None
            if isinstance(event, _Stop):
                return event
        return None

    @property
    def _of_store(self) -> bool:
        """Whether an engine of the store serves, which another one can take the place of."""
        return self._record.build not in {None, ENVIRONMENT}

    def _failure(self, child: Child, message: str, ended: Ended | None = None) -> EngineError:
        lines = [line for line in child.tail if line][-_SHOWN_LINES:]
        kind, hint = EngineError, f"gpt-oss logs --port {self._record.port}"
        crash = None if ended is None else crash_of_status(ended.returncode)
        if is_about_memory(child.tail):
            message, kind = f"{message}: memory ran out", MemoryRanOutError
        elif crash is not None and self._record.build is not None and self._of_store:
            keep_crash(self._job.state_dir, self._record.build, "server", crash)
            message, hint = f"{message}; plans leave the engine {self._record.build} out from now on", _OTHERWISE
        self._world.log.write(f"--- {message}")
        return kind(message, log=tuple(child.tail), details=tuple(message_of(line) for line in lines), hint=hint)


def _wait_s(left_s: float, *, ready: bool, system: str = sys.platform) -> float | None:
    """How long to wait for an event. Windows has no wait that Ctrl-C ends: it is noticed between two."""
    if not ready:
        return max(0.0, min(left_s, _LOOK_S))
    return _LOOK_S if system == "win32" else None


def _how(ended: Ended) -> str:
    """How a process ended, in words."""
    if ended.returncode < 0:
        try:
            return f"was ended by {signal.Signals(-ended.returncode).name}"
        except ValueError:
            return f"was ended by signal {-ended.returncode}"
    return f"ended with status {ended.returncode}"
