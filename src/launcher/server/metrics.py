"""What llama-server tells of itself at /metrics and /slots, and how fast it works between two looks. Pure.

Names are those of `server_task_result_metrics::to_metrics` (tools/server/server-task.cpp) and of `server_slot::to_json`
(tools/server/server-context.cpp) at the pinned commit; METRICS.md beside this file explains each of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

PREFIX = "llamacpp:"
PROMPT_TOKENS = "llamacpp:prompt_tokens_total"
PROMPT_TOKENS_CACHED = "llamacpp:prompt_tokens_cached_total"
TOKENS_PREDICTED = "llamacpp:tokens_predicted_total"
REQUESTS_PROCESSING = "llamacpp:requests_processing"
REQUESTS_DEFERRED = "llamacpp:requests_deferred"

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^}]*\})?)\s+(\S+)")
_DIGITS = 6
"""Of a value: to_metrics() writes doubles through a stringstream, so 12,345,678 tokens read 1.23457e+07."""

SlotState = Literal["idle", "reading", "writing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One of the conversations that a server can have at a time."""

    id: int
    n_ctx: int
    """Tokens of context that it may use."""
    is_processing: bool
    id_task: int | None
    """The request that it works on, or worked on last."""
    n_prompt_tokens: int
    """Tokens that its context holds, read and written: llama-server's word, although the answer is among them."""
    n_prompt_tokens_processed: int
    """Tokens of this request's prompt that were computed; 0 again when the request is done."""
    n_prompt_tokens_cache: int
    """Tokens of this request's prompt that were there already."""
    n_decoded: int
    """Tokens of this request's answer; 0 again when it is done."""

    @property
    def share(self) -> float | None:
        """Of its context, 0 to 1."""
        return self.n_prompt_tokens / self.n_ctx if self.n_ctx else None

    @property
    def state(self) -> SlotState:
        """What it does."""
        if not self.is_processing:
            return "idle"
        return "writing" if self.n_decoded else "reading"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What a server told at one time."""

    at_s: float
    """By a clock that never goes back."""
    server_pid: int | None
    values: Mapping[str, float]
    """/metrics, by name."""
    slots: tuple[Slot, ...] | None
    """/slots; None where that was not asked, or not answered."""

    def value(self, name: str) -> float | None:
        """A metric; None where this server does not tell it."""
        return self.values.get(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A sample, and what it says next to the one before."""

    sample: Sample
    prompt_tokens: float
    """Tokens of prompts that were certainly computed since the server started."""
    predicted_tokens: float
    """Tokens of answers that were certainly written since then."""
    prompt_tokens_per_s: float | None = None
    """None for the first sample."""
    predicted_tokens_per_s: float | None = None
    restarted: bool = False
    """The server began anew since the sample before."""


def parse_metrics(text: str) -> dict[str, float]:
    """Read the Prometheus text format. Series with labels keep them in their name; what is no number is left out."""
    values = {}
    for line in text.splitlines():
        match = _LINE.match(line)  # comments begin with `#`, which no name does
        if match is None:
            continue
        try:
            value = float(match.group(2))
        except ValueError:
            continue
        if math.isfinite(value):
            values[match.group(1)] = value
    return values


def parse_slots(text: str) -> tuple[Slot, ...]:
    """Read what /slots answers.

    Raises:
        ValueError: it is no list of slots.
    """
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("/slots: expected a list")  # noqa: TRY004  # one kind of error for all that it may be instead
    return tuple(_slot(entry) for entry in found)


def _slot(entry: Any) -> Slot:
    try:
        next_token = (entry.get("next_token") or [{}])[0]
        task = entry.get("id_task")
        return Slot(
            id=int(entry["id"]),
            n_ctx=int(entry["n_ctx"]),
            is_processing=bool(entry["is_processing"]),
            id_task=None if task is None else int(task),
            # A slot that never had a request tells none of these: its context is empty.
            n_prompt_tokens=int(entry.get("n_prompt_tokens", 0)),
            n_prompt_tokens_processed=int(entry.get("n_prompt_tokens_processed", 0)),
            n_prompt_tokens_cache=int(entry.get("n_prompt_tokens_cache", 0)),
            n_decoded=int(next_token.get("n_decoded", 0)),
        )
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"/slots: no slot: {error}") from error


def at_rest(slots: Sequence[Slot] | None) -> tuple[Slot, ...]:
    """The slots as they are while no request runs: what they held last, and no work. None known: no slots."""
    return tuple(
        replace(slot, is_processing=False, n_prompt_tokens_processed=0, n_prompt_tokens_cache=0, n_decoded=0)
        for slot in slots or ()
    )


def follow(before: Reading | None, now: Sample) -> Reading:
    """Read a sample next to the one before.

    The counters alone do not tell a speed: llama-server adds an answer to `tokens_predicted_total` when it is complete,
    and a prompt to `prompt_tokens_total` when it has been read, after a minute perhaps. The slots tell how far each is,
    but not what was begun and completed between two looks. Both are lower bounds of the truth: the higher one counts.
    It never falls, so no rate is negative; a server that began anew counts from zero, as Prometheus has it.
    """
    counted_in = _at_least(now.value(PROMPT_TOKENS))
    counted_out = _at_least(now.value(TOKENS_PREDICTED))
    under_way = sum(slot.n_decoded for slot in now.slots or () if slot.is_processing)
    if before is None:
        return Reading(sample=now, prompt_tokens=counted_in, predicted_tokens=counted_out + under_way)
    anew = _began_anew(before.sample, now)
    read, written = (0, 0) if anew else _progress(before.sample.slots, now.slots)
    prompt = max(counted_in, (0.0 if anew else before.prompt_tokens) + read)
    predicted = max(counted_out + under_way, (0.0 if anew else before.predicted_tokens) + written)
    elapsed_s = now.at_s - before.sample.at_s
    return Reading(
        sample=now,
        prompt_tokens=prompt,
        predicted_tokens=predicted,
        prompt_tokens_per_s=_rate(prompt - (0.0 if anew else before.prompt_tokens), elapsed_s),
        predicted_tokens_per_s=_rate(predicted - (0.0 if anew else before.predicted_tokens), elapsed_s),
        restarted=anew,
    )


def _began_anew(before: Sample, now: Sample) -> bool:
    """Another process, or a counter that has fallen: they only rise while a server lives."""
    if before.server_pid != now.server_pid:
        return True
    pairs = ((before.value(name), now.value(name)) for name in (PROMPT_TOKENS, TOKENS_PREDICTED))
    return any(old is not None and new is not None and new < old for old, new in pairs)


def _progress(before: Sequence[Slot] | None, now: Sequence[Slot] | None) -> tuple[int, int]:
    """Tokens that the slots say were read and written since; (0, 0) where one of the two looks is missing."""
    if before is None or now is None:
        return 0, 0
    earlier = {slot.id: slot for slot in before}
    read = written = 0
    for slot in now:
        if not slot.is_processing:
            continue  # its numbers are 0 again
        old = earlier.get(slot.id)
        same = old is not None and old.is_processing and old.id_task == slot.id_task
        read += max(0, slot.n_prompt_tokens_processed - (old.n_prompt_tokens_processed if same and old else 0))
        written += max(0, slot.n_decoded - (old.n_decoded if same and old else 0))
    return read, written


def _at_least(value: float | None) -> float:
    """The least that a counter can be that is told in six digits; 0 where it is not told."""
    if not value or value < 10**_DIGITS:
        return value or 0.0
    return value - 10.0 ** (math.floor(math.log10(value)) - _DIGITS + 1) / 2


def _rate(amount: float, elapsed_s: float) -> float | None:
    return max(0.0, amount) / elapsed_s if elapsed_s > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class KvUse:
    """How full the KV cache is."""

    n_tokens: int
    """Tokens that the slots hold, those of idle slots among them: they are kept for the next turn."""
    n_cells: int | None
    """Tokens that there is room for; None where it is not known whether the slots share it."""

    @property
    def share(self) -> float | None:
        """Of the room, 0 to 1."""
        return self.n_tokens / self.n_cells if self.n_cells else None


def kv_use(slots: Sequence[Slot] | None, *, kv_unified: bool | None) -> KvUse | None:
    """What the slots hold together; None where they are not known.

    With one unified cache every slot may use all of it, so its size is that of a slot; else it is that of all slots
    together (`llama_context`: n_ctx_seq = n_ctx / n_seq_max).
    """
    if not slots:
        return None
    n_tokens = sum(slot.n_prompt_tokens for slot in slots)
    if kv_unified is None and len(slots) > 1:
        return KvUse(n_tokens=n_tokens, n_cells=None)
    n_cells = max(slot.n_ctx for slot in slots) if kv_unified else sum(slot.n_ctx for slot in slots)
    return KvUse(n_tokens=n_tokens, n_cells=n_cells)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFlags:
    """What a server's command line says about watching it."""

    may_sleep: bool = True
    """Its model leaves memory after a while without requests; so it is taken to, where the command is not known."""
    kv_unified: bool | None = None


def server_flags(argv: Sequence[str] | None) -> ServerFlags:
    """Read a llama-server command (common/arg.cpp); None: it could not be read."""
    if not argv:
        return ServerFlags()
    after = dict(pairwise(argv))
    # --sleep-idle-seconds has no environment variable, so that the command alone decides; -1 is its default: never.
    sleeps = after.get("--sleep-idle-seconds", "-1") != "-1"
    return ServerFlags(may_sleep=sleeps, kv_unified="--kv-unified" in argv or "-kvu" in argv)
