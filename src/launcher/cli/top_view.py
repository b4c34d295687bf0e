"""A server's state as a page: as wide as it is, in a terminal or as plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from launcher.cli.ps_view import duration
from launcher.server.memory import MemoryRow
from launcher.server.metrics import (
    PROMPT_TOKENS_CACHED,
    REQUESTS_DEFERRED,
    REQUESTS_PROCESSING,
    Reading,
    Slot,
)
from launcher.server.watch import Status
from launcher.text import printable
from launcher.units import format_bytes

_WIDEST_BAR = 60
_NARROWEST_BAR = 6
_MEDIUM = 72
"""Columns from which everything is shown; below, the most telling half."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_STATE_STYLES = {"ready": "green", "asleep": "cyan", "loading": "yellow", "away": "red"}
_SLOT_STYLES = {"idle": "dim", "reading": "yellow", "writing": "green"}
_HIGH = 0.9
"""Share of a context from which an answer may soon be cut."""
_OVER_PLAN = 1.02
"""Share of the plan from which something takes what nobody planned; all of it is what the plan said."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that is shown at one time. Rich asks it for lines as wide as the terminal is now."""

    status: Status
    memory: tuple[MemoryRow, ...]
    now: datetime
    history: Sequence[Reading] = ()
    live: bool = True
    """On a terminal, with bars and the way out; else plain text."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Line by line; what does not fit is cut at the edge, never wrapped."""
        for line in self.lines(options.max_width, ascii_only=options.ascii_only):
            line.truncate(options.max_width)
            line.rstrip()
            yield line

    def lines(self, width: int, *, ascii_only: bool = False) -> list[Text]:
        """The page for a width."""
        draw = _Drawing(width=width if self.live else 0, ascii_only=ascii_only)
        found = [self._head(width)]
        reading = self.status.reading
        if self.status.problem:
            found.append(Text(printable(self.status.problem), style="bold"))
        if reading is not None:
            found += _speeds(reading, self.history, draw)
            found += _requests(self.status, reading, draw)
            found += [Text(), *_slots(reading.sample.slots, draw)] if reading.sample.slots else []
        found += [Text(), *_memory(self.memory, draw)]
        return [*found, Text(), Text("q leaves", style="dim")] if self.live else found

    def _head(self, width: int) -> Text:
        record, state = self.status.record, self.status.state
        since_s = (self.now - datetime.fromisoformat(record.started_at)).total_seconds()
        parts = [(printable(record.model), "bold"), (state, _STATE_STYLES[state]), (f"up {duration(since_s)}", "")]
        url = record.url if width >= _MEDIUM else f":{record.port}"
        parts.insert(1, (url, ""))
        return Text("  ").join(Text(text, style=style) for text, style in parts if state != "away" or text[:3] != "up ")


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    """Bars and lines for the room that is left."""

    width: int
    ascii_only: bool

    def bar(self, share: float | None, used: int, *, warn_from: float = _HIGH) -> Text:
        """A bar beside `used` columns of text; empty where there is no room for one."""
        room = min(_WIDEST_BAR, self.width - used)
        if share is None or room < _NARROWEST_BAR:
            return Text()
        filled = min(room, round(share * room))
        style = "yellow" if share >= warn_from else "green"
        full, empty = ("#", ".") if self.ascii_only else ("█", "░")
        return Text(full * filled, style=style).append(empty * (room - filled), style="dim")

    def trend(self, values: Sequence[float], used: int) -> Text:
        """The last values, the newest at the right; their highest fills the line."""
        room = min(_WIDEST_BAR, self.width - used)
        if room < _NARROWEST_BAR or self.ascii_only:
            return Text()
        shown = list(values)[-room:]
        highest = max(shown, default=0)
        top = len(_BLOCKS) - 1
        blocks = "".join(_BLOCKS[math.ceil(value / highest * top)] if highest > 0 else _BLOCKS[0] for value in shown)
        return Text(blocks, style="dim")


def _speeds(reading: Reading, history: Sequence[Reading], draw: _Drawing) -> list[Text]:
    rows = (
        ("in", reading.prompt_tokens_per_s, [past.prompt_tokens_per_s or 0.0 for past in history]),
        ("out", reading.predicted_tokens_per_s, [past.predicted_tokens_per_s or 0.0 for past in history]),
    )
    lines = [Text(), Text("tokens per second", style="bold")]
    for name, value, past in rows:
        line = Text(f"  {name:<4}{'-' if value is None else f'{value:,.1f}':>10}  ")
        lines.append(line.append_text(draw.trend(past, len(line))))
    cached = reading.sample.value(PROMPT_TOKENS_CACHED)
    told = cached is not None and not 0 < draw.width < _MEDIUM
    reused = f" (+{cached:,.0f} cached)" if told else ""
    so_far = f"  so far {reading.prompt_tokens:,.0f} in{reused}, {reading.predicted_tokens:,.0f} out"
    lines.append(Text(so_far, style="dim"))
    return lines


def _requests(status: Status, reading: Reading, draw: _Drawing) -> list[Text]:
    running, waiting = reading.sample.value(REQUESTS_PROCESSING), reading.sample.value(REQUESTS_DEFERRED)
    line = Text().append("requests  ", style="bold")
    line.append(f"{_count(running)} running, {_count(waiting)} waiting", style="yellow" if waiting else "")
    lines = [Text(), line]
    if status.kv is None:
        why = "empty while the model sleeps" if status.state == "asleep" else "not known until a request runs"
        return [*lines, Text().append("KV cache  ", style="bold").append(why)]
    kv, share = status.kv, status.kv.share
    text = f"{kv.n_tokens:,} of {kv.n_cells:,} tokens" if kv.n_cells is not None else f"{kv.n_tokens:,} tokens"
    held = Text().append("KV cache  ", style="bold").append(text)
    if share is not None:
        held.append(f" {share:>4.0%} ")
    return [*lines, held.append_text(draw.bar(share, len(held)))]


def _slots(slots: Sequence[Slot], draw: _Drawing) -> list[Text]:
    wide = not 0 < draw.width < _MEDIUM
    head = (
        f"{'slot':>4}  {'state':<8}{'context':>9}" + (f"{'of':>9}{'read':>9}{'written':>9}" if wide else "") + "  use"
    )
    lines = [Text(head, style="bold")]
    for slot in slots:
        share = slot.share
        line = Text(f"{slot.id:>4}  ").append(f"{slot.state:<8}", style=_SLOT_STYLES[slot.state])
        line.append(f"{slot.n_prompt_tokens:>9,}")
        if wide:
            line.append(f"{slot.n_ctx:>9,}{slot.n_prompt_tokens_processed:>9,}{slot.n_decoded:>9,}")
        line.append(f"{'-' if share is None else f'{share:.0%}':>5} ")
        lines.append(line.append_text(draw.bar(share, len(line))))
    return lines


def _memory(rows: Sequence[MemoryRow], draw: _Drawing) -> list[Text]:
    lines = [Text(f"{'memory':<8}{'in use':>9}{'plan':>10}{'':>6}", style="bold")]
    for row in rows:
        share = row.share
        line = Text(f"{printable(row.name):<8}{_bytes(row.used_bytes):>9}{_bytes(row.planned_bytes):>10}")
        line.append(f"{'' if share is None else f'{share:.0%}':>6} ")
        lines.append(line.append_text(draw.bar(share, len(line), warn_from=_OVER_PLAN)))
        parts = (("buffers", row.anonymous_bytes), ("mapped", row.mapped_bytes))
        lines += [Text(f" {name:<8}{_bytes(value):>8}", style="dim") for name, value in parts if value is not None]
    return lines


def as_json(page: Page) -> dict[str, Any]:
    """The page as data; what is not known is null."""
    status, reading = page.status, page.status.reading
    sample = reading.sample if reading is not None else None
    return {
        "port": status.record.port,
        "url": status.record.url,
        "model": status.record.model,
        "server_pid": status.record.server_pid,
        "state": status.state,
        "problem": status.problem,
        "prompt_tokens_per_s": reading.prompt_tokens_per_s if reading is not None else None,
        "predicted_tokens_per_s": reading.predicted_tokens_per_s if reading is not None else None,
        "kv": status.kv,
        "slots": sample.slots if sample is not None else None,
        "metrics": sample.values if sample is not None else None,
        "memory": page.memory,
    }


def page_now(status: Status, memory: tuple[MemoryRow, ...], history: Sequence[Reading] = (), *, live: bool) -> Page:
    """A page of this moment."""
    return Page(status=status, memory=memory, now=datetime.now(UTC), history=history, live=live)


def _bytes(amount: int | None) -> str:
    return "-" if amount is None else format_bytes(amount)


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
