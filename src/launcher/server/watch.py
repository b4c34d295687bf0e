"""Ask a running server how it is, without waking it or keeping it awake."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import psutil

from launcher.errors import LauncherError
from launcher.server.keys import read_key
from launcher.server.metrics import (
    REQUESTS_PROCESSING,
    TOKENS_PREDICTED,
    KvUse,
    Reading,
    Sample,
    ServerFlags,
    Slot,
    at_rest,
    follow,
    kv_use,
    parse_metrics,
    parse_slots,
    server_flags,
)
from launcher.server.types import ServerRecord

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 2.0
"""llama-server answers these between two batches, or beside one (`yield_to_queue`). Longer, and `q` seems dead."""
_LOOKS = 3
"""Tries to see slots and counters at the same time: an answer that ends in between is in both, or in neither."""

State = Literal["ready", "asleep", "loading", "away"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How a server is now."""

    record: ServerRecord
    state: State
    problem: str | None = None
    """Why there are no numbers, in a line."""
    reading: Reading | None = None
    kv: KvUse | None = None


class Watch:
    """Looks at one port again and again. A context manager: it holds a connection.

    What may be asked of a server that was started with --sleep-idle-seconds, whose model leaves memory when idle (read
    in llama.cpp, tools/server, at the pinned commit):

    - /metrics does not wake it: the route is made with `bypass_sleep` and answers from `cached_metrics` in sleep. Nor
      does it keep it awake: `task_resets_idle_timer` leaves out SERVER_TASK_TYPE_METRICS.
    - /props does not wake it either, and says `is_sleeping`; it posts no task.
    - /slots wakes it (`create_response()` waits until no sleep) and counts as use (SERVER_TASK_TYPE_SLOT_GET). So it is
      asked of such a server only while /metrics tells of a request at work, when it is awake anyway and its idle time
      begins when that request ends.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        import httpx

        # A proxy of the environment has no business on loopback.
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
        self._clock = clock
        self._last: Reading | None = None
        self._flags = (-1, ServerFlags())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def look(self, record: ServerRecord) -> Status:
        """Ask once. A server that does not answer is a state, not an error."""
        import httpx

        try:
            return self._ask(record)
        except LauncherError as error:
            return Status(record=record, state="ready", problem=error.message)
        except httpx.ConnectError:
            starting = record.server_pid is None or not record.ready
            why = "it does not listen yet" if starting else "nothing listens on its port: it has ended, or starts again"
            return Status(record=record, state="loading" if starting else "away", problem=why)
        except httpx.TimeoutException:
            return Status(record=record, state="ready", problem=f"no answer within {TIMEOUT_S:g} s")
        except (httpx.HTTPError, ValueError) as error:
            return Status(record=record, state="away", problem=str(error) or type(error).__name__)

    def _ask(self, record: ServerRecord) -> Status:
        base = f"http://127.0.0.1:{record.server_port or record.port}"
        headers = {"Authorization": f"Bearer {read_key(record.key_file)}"} if record.key_file is not None else {}
        answer = self._client.get(f"{base}/metrics", headers=headers)
        if answer.status_code != 200:
            return _refused(record, answer)
        values, slots = parse_metrics(answer.text), None
        flags = self._flags_of(record)
        busy = bool(values.get(REQUESTS_PROCESSING))
        if busy or not flags.may_sleep:
            slots, values = self._slots(base, headers, values)
        else:
            known = self._last is not None and self._last.sample.server_pid == record.server_pid
            slots = at_rest(self._last.sample.slots if self._last is not None and known else None)
        asleep = flags.may_sleep and not busy and self._sleeps(base, headers)
        sample = Sample(at_s=self._clock(), server_pid=record.server_pid, values=values, slots=slots)
        self._last = follow(self._last, sample)
        return Status(
            record=record,
            state="asleep" if asleep else "ready",
            reading=self._last,
            # In sleep the context is gone, and the tokens in it.
            kv=None if asleep else kv_use(slots, kv_unified=flags.kv_unified),
        )

    def _slots(
        self, base: str, headers: dict[str, str], values: dict[str, float]
    ) -> tuple[tuple[Slot, ...] | None, dict[str, float]]:
        """Slots and counters of the same time, as well as it goes; None for slots that the server does not show."""
        slots = None
        for _ in range(_LOOKS):
            answer = self._client.get(f"{base}/slots", headers=headers)
            if answer.status_code != 200:
                return None, values
            slots, before = parse_slots(answer.text), values
            if not any(slot.is_processing for slot in slots):
                break
            again = self._client.get(f"{base}/metrics", headers=headers)
            values = parse_metrics(again.text) if again.status_code == 200 else values
            if values.get(TOKENS_PREDICTED) == before.get(TOKENS_PREDICTED):
                break
        return slots, values

    def _sleeps(self, base: str, headers: dict[str, str]) -> bool:
        answer = self._client.get(f"{base}/props", headers=headers)
        return answer.status_code == 200 and answer.json().get("is_sleeping") is True

    def _flags_of(self, record: ServerRecord) -> ServerFlags:
        """What the command line says; read once for each process."""
        pid = record.server_pid
        if pid is None:
            return ServerFlags()
        if self._flags[0] != pid:
            self._flags = (pid, server_flags(_argv(pid)))
        return self._flags[1]


def _argv(pid: int) -> tuple[str, ...] | None:
    try:
        return tuple(psutil.Process(pid).cmdline())
    except psutil.Error:
        return None


def _refused(record: ServerRecord, answer: httpx.Response) -> Status:
    if answer.status_code == 503:
        return Status(record=record, state="loading", problem="the model is being loaded")
    if answer.status_code in {401, 403}:
        where = f"the key in {record.key_file}" if record.key_file else "a request without a key"
        return Status(record=record, state="ready", problem=f"the server refuses {where}")
    if answer.status_code in {404, 501}:
        return Status(record=record, state="ready", problem="the server was started without --metrics")
    return Status(record=record, state="ready", problem=f"/metrics answers with status {answer.status_code}")


def away(record: ServerRecord) -> Status:
    """Its record is gone: it was stopped, or its launcher has ended."""
    return Status(record=replace(record, server_pid=None, ready=False), state="away", problem="it has ended")
