"""The view of a conversation on a terminal: everything in order on one stream, painted at most 28 times a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TextIO

from launcher.chat.printer import ANSWERS, QUESTION, timings_line
from launcher.chat.screen.calls import call_lines, result_lines
from launcher.chat.screen.code import warm_up
from launcher.chat.screen.markdown import MarkdownStream
from launcher.chat.screen.painter import Painter, Size, window_of
from launcher.chat.screen.safe import Cleaner, terminal_encoding
from launcher.chat.screen.sections import FoldedSection, HiddenSection, Section, TextSection
from launcher.chat.screen.spans import EMPTY, Line, Span, merged
from launcher.chat.screen.theme import DIM, ITALIC, Theme
from launcher.chat.screen.ticker import Ticker, Ticks
from launcher.chat.screen.totals import total_of
from launcher.chat.screen.wrap import cut, wrapped
from launcher.chat.types import Consent, ReasoningView, ToolEnded, ToolStarted, TurnEvent
from launcher.engines.types import (
    Channel,
    EndDelta,
    NoteDelta,
    PromptDelta,
    TextDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
)
from launcher.tools.types import Tool

INTERVAL_S = 0.035
"""Between two paintings: with the time that one takes, no token waits for 50 ms."""
_SPIN_S = 0.25


class TerminalView:
    """Shows turns. Safe to be used from several threads; between turns the terminal is anybody's."""

    def __init__(
        self,
        out: TextIO,
        *,
        theme: Theme,
        size: Size | None = None,
        reasoning: ReasoningView = "fold",
        show_timings: bool = True,
        unfold_hint: str = "",
        count_tokens: Callable[[str], int | None] | None = None,
        ask: Callable[[str], str] = input,
        clock: Callable[[], float] = time.monotonic,
        ticks: Callable[[Callable[[], None]], Ticks] = Ticker,
        warm: bool = True,
    ) -> None:
        """Paint on `out`, a terminal that obeys escape sequences; `theme_of` tells whether it is one.

        `unfold_hint` ends the line of folded thoughts ("Ctrl-O shows it"); `count_tokens` gives it their number.
        `warm`: load what colours code in a thread, while the model loads; else the first code of a language waits.
        """
        self.reasoning: ReasoningView = reasoning
        """May be changed between two turns."""
        self.show_timings = show_timings
        self._theme = theme
        self._unfold_hint = unfold_hint
        self._count_tokens = count_tokens
        self._ask = ask
        self._clock = clock
        self._size = size or window_of(out)
        self._known_size = self._size()
        self._painter = Painter(out, self._size)
        self._encoding = terminal_encoding(getattr(out, "encoding", None))
        self._lock = threading.RLock()
        self._ticks = ticks(self._tick)
        self._section: Section | None = None
        self._kind: Channel | None = None
        self._cleaner = Cleaner()
        self._notes: list[str] = []
        """They come when the answer is over, which would not be one text with notes in it."""
        self._final: list[Line] = []
        """Lines that are to be painted."""
        self._begun = False
        """Something of this turn is on the screen: an empty row comes before what is next."""
        self._status = ""
        """The line that goes away, while nothing else comes."""
        self._spins_since: float | None = None
        self._painted = float("-inf")
        self._section_since = 0.0
        self._thoughts: list[str] = []
        self._new_turn = True
        self._ended: list[Timings] = []
        self._last_call: str | None = None
        if warm:
            threading.Thread(target=warm_up, name="lexers", daemon=True).start()

    @property
    def last_reasoning(self) -> str:
        """What the model thought in the last turn, cleaned."""
        return "".join(self._thoughts).strip("\n")

    def wait(self, label: str) -> None:
        """Show that something is awaited, until it comes: between a question and its first event, say."""
        with self._lock:
            self._spin(label)

    def show(self, event: TurnEvent) -> None:
        """Show one event: at once, or with the next painting."""
        with self._lock:
            if self._new_turn:
                self._new_turn, self._thoughts, self._ended = False, [], []
            if isinstance(event, PromptDelta):
                self._show_progress(event)
                return
            self._status, self._spins_since = "", None
            if isinstance(event, TextDelta):
                self._show_text(event)
            elif isinstance(event, ToolCallDelta):
                self._show_call(event.call, event.call.name)
            elif isinstance(event, NoteDelta):
                self._notes.append(f"note: {event.text}")
                if self._kind != "final":
                    self._end_section()
                    self._paint()
            elif isinstance(event, ToolStarted):
                self._end_section()
                if self._last_call != event.call.id:
                    self._show_call(event.call, event.title)
                self._spin(f"running {event.title}")
            elif isinstance(event, ToolEnded):
                self._end_section()
                self._final += result_lines(event.result, self._theme, self._columns(), self._encoding)
                self._last_call = None
                self._paint()
            else:
                self._end(event)

    def confirm(self, tool: Tool, call: ToolCall) -> Consent:
        """Show the call, unless it is what was shown last, and ask. No answer means no."""
        with self._lock:
            self._end_section()
            if self._last_call != call.id:
                self._show_call(call, tool.title)
            self._status, self._spins_since = "", None
            self._paint()
            self._ticks.stop()
            self._painter.close()
        while True:
            try:
                answer = self._ask(QUESTION).strip().lower()
            except (EOFError, KeyboardInterrupt) as error:
                self._painter.leave_row()
                if isinstance(error, KeyboardInterrupt):
                    raise
                return "no"
            if answer in ANSWERS:
                return ANSWERS[answer]

    def unfold(self) -> None:
        """Show the thoughts of the last turn in full, on rows of their own."""
        with self._lock:
            self.close()
            section = TextSection(DIM, self._columns())
            section.feed(self.last_reasoning)
            self._painter.paint(section.finish() or [Line(spans=(Span("no thoughts to show", DIM),))], ())
            self._painter.close()

    def close(self) -> None:
        """Finish what is unfinished: no style is left on, the cursor begins an empty row, nothing is painted later."""
        with self._lock:
            self._status, self._spins_since = "", None
            self._ticks.stop()
            self._end_section()
            self._paint()
            self._painter.close()
            self._begun, self._new_turn, self._last_call = False, True, None

    # Events

    def _show_progress(self, event: PromptDelta) -> None:
        if event.done_n < event.total_n:
            self._status = f"reading the prompt: {event.done_n} of {event.total_n} tokens"
            self._spins_since = None
            self._paint_soon()
        else:
            self._spin("thinking")

    def _show_text(self, event: TextDelta) -> None:
        if self._kind != event.channel:
            if not event.text.strip():
                return
            self._begin_section(event.channel)
        text = self._cleaner.feed(event.text)
        if event.channel == "analysis":
            self._thoughts.append(text)
        if self._section is not None:
            self._section.feed(text)
        if isinstance(self._section, HiddenSection):
            self._status, self._spins_since = "thinking", self._section_since
        self._paint_soon()

    def _show_call(self, call: ToolCall, title: str) -> None:
        self._end_section()
        self._gap()
        self._final += call_lines(call, title, self._theme, self._columns(), self._encoding)
        self._last_call = call.id
        self._paint()

    def _say(self, text: str) -> None:
        """A few words of our own or of the engine, after all that is open."""
        self._notes.append(text)
        self._end_section()
        self._paint()

    def _end(self, event: EndDelta) -> None:
        self._end_section()
        self._ended.append(event.timings)
        if event.finish_reason == "cancelled":
            self._say("stopped")
        if event.finish_reason == "tool_calls":
            self._paint()
            return
        if self.show_timings:
            self._say(timings_line(total_of(self._ended)))
        self.close()

    # Sections

    def _begin_section(self, channel: Channel) -> None:
        self._end_section()
        columns, rows = self._known_size = self._size()
        theme = self._theme
        self._kind, self._cleaner, self._section_since = channel, Cleaner(encoding=self._encoding), self._clock()
        if channel == "final":
            self._section = MarkdownStream(theme, width=columns, max_rows=max(4, rows - 2))
        elif channel == "commentary":
            self._section = TextSection(f"{DIM};{ITALIC}", columns)
        elif self.reasoning == "hide":
            self._section = HiddenSection()
        else:
            if self._thoughts:
                self._thoughts.append("\n\n")
            self._section = TextSection(DIM, columns) if self.reasoning == "full" else FoldedSection(theme, columns)
        if not isinstance(self._section, HiddenSection):
            self._gap()

    def _end_section(self) -> None:
        section, self._section, self._kind = self._section, None, None
        if section is not None:
            section.feed(self._cleaner.flush())
            if isinstance(section, FoldedSection):
                section.summary = self._summary()
            self._final += section.finish()
        for note in self._notes:
            self._gap()
            cleaner = Cleaner(encoding=self._encoding)
            text = cleaner.feed(note) + cleaner.flush()
            self._final += [Line(spans=row) for row in wrapped((Span(text, DIM),), self._columns())]
        self._notes = []

    def _summary(self) -> str:
        dot = f" {self._theme.dot} "
        facts = [f"{self._theme.arrow} thought for {self._clock() - self._section_since:.1f} s"]
        n_tokens = self._count_tokens(self.last_reasoning) if self._count_tokens is not None else None
        if n_tokens is not None:
            facts.append(f"{n_tokens} tokens")
        if self._unfold_hint:
            facts.append(self._unfold_hint)
        return cut(dot.join(facts), self._columns(), self._theme.ellipsis)

    def _gap(self) -> None:
        """An empty row between this and what was before."""
        if self._begun:
            self._final.append(EMPTY)
        self._begun = True

    # Painting

    def _columns(self) -> int:
        return max(1, self._size()[0])

    def _spin(self, label: str) -> None:
        cleaner = Cleaner(encoding=self._encoding)
        self._status, self._spins_since = " ".join(cleaner.feed(label).split()), self._clock()
        self._paint_soon()

    def _paint_soon(self) -> None:
        left = self._painted + INTERVAL_S - self._clock()
        if left <= 0:
            self._paint()
        else:
            self._ticks.poke(left)

    def _tick(self) -> None:
        with self._lock:
            if self._section is not None or self._status:
                self._paint()

    def _paint(self) -> None:
        size = self._size()
        tail: list[Line] = []
        if self._section is not None:
            if size != self._known_size:
                self._section.resize(size[0], max(4, size[1] - 2))
                self._known_size = size
            if isinstance(self._section, FoldedSection):
                self._section.elapsed_s = self._clock() - self._section_since
                self._ticks.poke(1.0)
            self._final += self._section.take()
            tail = self._section.tail()
        if self._status:
            tail = [*tail, self._status_line(size[0])]
        self._painter.paint(self._final, tail)
        self._final = []
        self._painted = self._clock()

    def _status_line(self, columns: int) -> Line:
        text = self._status
        if self._spins_since is not None:
            elapsed_s = self._clock() - self._spins_since
            signs = self._theme.spinner
            text = f"{signs[int(elapsed_s / _SPIN_S) % len(signs)]} {text}"
            text += f" {int(elapsed_s)} s" if elapsed_s >= 1 else ""
            self._ticks.poke(_SPIN_S)
        return Line(spans=merged((Span(cut(text, columns, self._theme.ellipsis), DIM),)))
