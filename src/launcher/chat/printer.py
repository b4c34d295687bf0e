"""Print a stream of deltas: the answer on stdout, everything else (reasoning, notes, timings) on stderr."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TextIO

from launcher.engines.types import (
    ChatDelta,
    EndDelta,
    NoteDelta,
    PromptDelta,
    TextDelta,
    Timings,
    ToolCallDelta,
)

_DIM = "\x1b[2m"
_RESET = "\x1b[0m"
_ERASE_LINE = "\r\x1b[2K"
# A model must not move the cursor, retitle the window or write the clipboard: only line breaks and tabs pass.
_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


@dataclass(kw_only=True, slots=True)
class Printer:
    """Writes one turn after another. `styled`: stderr is a terminal that shows escape sequences."""

    out: TextIO
    err: TextIO
    styled: bool
    show_reasoning: bool = True
    show_timings: bool = False
    _open: TextIO | None = field(default=None, init=False)
    """The stream whose last line is unfinished."""
    _progress: bool = field(default=False, init=False)

    def show(self, delta: ChatDelta) -> None:
        """Print one delta at once."""
        if isinstance(delta, PromptDelta):
            self._show_progress(delta)
            return
        self._clear_progress()
        if isinstance(delta, TextDelta):
            if delta.channel == "final":
                self._write(self.out, self._safe(delta.text))
            elif self.show_reasoning:
                self._write(self.err, self._dim(self._safe(delta.text)))
        elif isinstance(delta, ToolCallDelta):
            self._line(f"tool call: {delta.call.name} {_one_line(delta.call.arguments)}")
        elif isinstance(delta, NoteDelta):
            self._line(f"note: {delta.text}")
        else:
            self._end(delta)

    def close(self) -> None:
        """Finish an unfinished line, as after an interruption."""
        self._clear_progress()
        if self._open is not None:
            self._open.write("\n")
            self._open.flush()
            self._open = None

    def _end(self, delta: EndDelta) -> None:
        self.close()
        if delta.finish_reason == "cancelled":
            self._line("stopped")
        if self.show_timings:
            self._line(timings_line(delta.timings))

    def _write(self, stream: TextIO, text: str) -> None:
        if self._open is not None and self._open is not stream:
            # Reasoning and answer share a terminal: a blank line sets them apart.
            self._open.write("\n")
            self._open.flush()
            if self.styled:
                self.err.write("\n")
                self.err.flush()
        stream.write(text)
        stream.flush()
        self._open = stream

    def _line(self, text: str) -> None:
        self.close()
        self.err.write(self._dim(text.translate(_CONTROL)) + "\n")
        self.err.flush()

    def _safe(self, text: str) -> str:
        """Model text for a terminal; a pipe gets it as it is."""
        return text.translate(_CONTROL) if self.styled else text

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_RESET}" if self.styled else text

    def _show_progress(self, delta: PromptDelta) -> None:
        if self.styled and delta.done_n < delta.total_n:
            self.err.write(self._dim(f"{_ERASE_LINE}reading the prompt: {delta.done_n} of {delta.total_n} tokens"))
            self.err.flush()
            self._progress = True
        else:
            self._clear_progress()

    def _clear_progress(self) -> None:
        if self._progress:
            self.err.write(_ERASE_LINE)
            self.err.flush()
            self._progress = False


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
