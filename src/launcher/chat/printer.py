"""The plain view, for pipes and dumb terminals: the answer on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from launcher.chat.screen.safe import Cleaner, clean
from launcher.chat.types import Consent, ToolEnded, ToolStarted, TurnEvent
from launcher.engines.types import (
    EndDelta,
    NoteDelta,
    PromptDelta,
    TextDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
)
from launcher.tools.types import Tool

_DIM = "\x1b[2m"
_RESET = "\x1b[0m"
_ERASE_LINE = "\r\x1b[2K"
_N_RESULT_LINES = 12


@dataclass(kw_only=True, slots=True)
class Printer:
    """Writes one turn after another."""

    out: TextIO
    err: TextIO
    styled: bool
    """stderr is a terminal that shows escape sequences."""
    show_reasoning: bool = True
    show_timings: bool = False
    terminal: bool | None = None
    """stdout or stderr is a terminal, if only a dumb one: no text of others may steer it. None: as `styled`."""
    ask: Callable[[str], str] | None = None
    """Answers a question of ours; None where nobody is there, so that nothing is allowed."""
    _open: TextIO | None = field(default=None, init=False)
    """The stream whose last line is unfinished."""
    _progress: bool = field(default=False, init=False)
    _cleaners: dict[str, Cleaner] = field(default_factory=dict, init=False)
    """One for each channel: an escape sequence may be cut between two pieces of its text."""

    def show(self, event: TurnEvent) -> None:
        """Print one event at once."""
        if isinstance(event, PromptDelta):
            self._show_progress(event)
            return
        self._clear_progress()
        if isinstance(event, TextDelta):
            self._show_text(event)
        elif isinstance(event, ToolCallDelta):
            self._line(f"tool call: {event.call.name} {_one_line(event.call.arguments)}")
        elif isinstance(event, NoteDelta):
            self._line(f"note: {event.text}")
        elif isinstance(event, ToolEnded):
            self._show_result(event)
        elif not isinstance(event, ToolStarted):
            self._end(event)

    def confirm(self, tool: Tool, call: ToolCall) -> Consent:
        """Ask whether a call may run; where nobody can be asked it may not."""
        self.close()
        if self.ask is None:
            return "no"
        self._line(f"{tool.title} wants to run: {_one_line(call.arguments)}")
        while True:
            try:
                answer = self.ask(QUESTION).strip().lower()
            except EOFError:
                return "no"
            consent = ANSWERS.get(answer)
            if consent is not None:
                return consent

    def close(self) -> None:
        """Finish an unfinished line, as after an interruption."""
        self._clear_progress()
        if self._open is not None:
            _put(self._open, "\n")
            self._open = None
        self._cleaners.clear()

    def _show_text(self, delta: TextDelta) -> None:
        text = delta.text
        if self._is_terminal:
            text = self._cleaners.setdefault(delta.channel, Cleaner()).feed(text)
        if delta.channel == "final":
            self._write(self.out, text)
        elif self.show_reasoning:
            self._write(self.err, self._dim(text))

    def _show_result(self, event: ToolEnded) -> None:
        lines = event.result.text.strip("\n").split("\n")
        if len(lines) > _N_RESULT_LINES:
            lines = [*lines[:_N_RESULT_LINES], f"... {len(lines) - _N_RESULT_LINES} more lines"]
        state = "failed" if event.result.is_error else "gave"
        self._line("\n".join((f"{event.title} {state}:", *(f"  {line}" for line in lines))))

    @property
    def _is_terminal(self) -> bool:
        return self.styled if self.terminal is None else self.terminal

    def _end(self, delta: EndDelta) -> None:
        self.close()
        if delta.finish_reason == "cancelled":
            self._line("stopped")
        if self.show_timings:
            self._line(timings_line(delta.timings))

    def _write(self, stream: TextIO, text: str) -> None:
        if self._open is not None and self._open is not stream:
            # Reasoning and answer share a terminal: a blank line sets them apart.
            _put(self._open, "\n")
            if self.styled:
                _put(self.err, "\n")
        _put(stream, text)
        self._open = stream

    def _line(self, text: str) -> None:
        self.close()
        _put(self.err, self._dim(clean(text)) + "\n")

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_RESET}" if self.styled else text

    def _show_progress(self, delta: PromptDelta) -> None:
        if self.styled and delta.done_n < delta.total_n:
            _put(self.err, self._dim(f"{_ERASE_LINE}reading the prompt: {delta.done_n} of {delta.total_n} tokens"))
            self._progress = True
        else:
            self._clear_progress()

    def _clear_progress(self) -> None:
        if self._progress:
            _put(self.err, _ERASE_LINE)
            self._progress = False


QUESTION = "run it? [y]es, [a]lways, [n]o: "
ANSWERS: dict[str, Consent] = {"y": "once", "yes": "once", "a": "always", "always": "always", "n": "no", "no": "no"}
"""To that question."""


def _put(stream: TextIO, text: str) -> None:
    """Write at once; what the stream's encoding does not have is replaced."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def timings_line(timings: Timings) -> str:
    """`42 tokens, 14.1 tok/s, first after 0.8 s; prompt 96 (80 reused), 25.9 tok/s`."""
    rate = timings.predicted_per_second
    parts = [f"{timings.predicted_n} tokens"]
    if rate is not None:
        parts.append(f"{rate:.1f} tok/s")
    parts.append(f"first after {timings.ttft_ms / 1e3:.1f} s")
    reused = f" ({timings.cache_n} reused)" if timings.cache_n else ""
    prompt = f"prompt {timings.prompt_n + timings.cache_n}{reused}"
    if timings.prompt_per_second is not None:
        prompt += f", {timings.prompt_per_second:.1f} tok/s"
    return f"{', '.join(parts)}; {prompt}"


def _one_line(text: str) -> str:
    """Tool arguments on one line: as JSON where they are, else quoted."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
