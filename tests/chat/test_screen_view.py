"""A turn on a terminal: what stays on the screen, what goes away, what is asked, and that nothing is left behind."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.chat.screen.painter import window_of
from launcher.chat.screen.terminal import INTERVAL_S, TerminalView
from launcher.chat.screen.theme import Theme, theme_of
from launcher.chat.screen.ticker import Ticker
from launcher.chat.types import ToolEnded, ToolStarted, TurnEvent, View
from launcher.engines.types import (
    Channel,
    EndDelta,
    FinishReason,
    NoteDelta,
    PromptDelta,
    TextDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
)
from launcher.tools.types import ToolResult, Verdict
from tests.chat.emulator import Emulator

TIMINGS = Timings(
    prompt_n=16, cache_n=80, prompt_ms=500.0, predicted_n=42, predicted_ms=3000.0, eval_ms=2900.0, ttft_ms=812.0
)
CALL = ToolCall(id="1", name="python", arguments='{"code": "import math\\nprint(1)"}')


class Ticks:
    """A ticker whose time the test moves."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick
        self.due: float | None = None

    def poke(self, delay_s: float) -> None:
        self.due = delay_s if self.due is None else min(self.due, delay_s)

    def stop(self) -> None:
        self.due = None


class Python:
    """A tool that is never run here."""

    name, title, description = "python", "python", ""
    parameters: ClassVar[dict[str, Any]] = {}
    verdict: Verdict = "ask"

    def call(self, arguments: str, cancelled: threading.Event) -> ToolResult:
        raise NotImplementedError


class Bench:
    """A view on an emulated terminal, with a clock that stands still unless it is moved."""

    def __init__(self, columns: int = 60, rows: int = 24, **options: Any) -> None:
        self.now = 100.0
        self.screen = Emulator(columns, rows)
        self.screen.encoding = options.pop("encoding", "utf-8")
        self.ticks: Ticks | None = None
        self.view = TerminalView(
            self.screen,  # type: ignore[arg-type]
            size=lambda: (self.screen.columns, self.screen.rows),
            theme=options.pop("theme", Theme()),
            clock=lambda: self.now,
            ticks=self._made,
            warm=False,
            **options,
        )

    def _made(self, tick: Callable[[], None]) -> Ticks:
        self.ticks = Ticks(tick)
        return self.ticks

    def tick(self) -> None:
        assert self.ticks is not None
        assert self.ticks.due is not None
        self.now += self.ticks.due
        self.ticks.due = None
        self.ticks.tick()

    def show(self, *events: TurnEvent, step_s: float = INTERVAL_S) -> str:
        for event in events:
            self.view.show(event)
            self.now += step_s
        return self.screen.text()


def said(text: str, channel: Channel = "final") -> TextDelta:
    return TextDelta(channel=channel, text=text)


def thought(text: str) -> TextDelta:
    return said(text, "analysis")


def end(reason: FinishReason = "stop") -> EndDelta:
    return EndDelta(finish_reason=reason, timings=TIMINGS)


def test_it_is_a_view() -> None:
    view: View = Bench().view
    view.close()


def test_a_whole_turn() -> None:
    bench = Bench(columns=100, unfold_hint="Ctrl-O shows it", count_tokens=len)
    text = bench.show(
        PromptDelta(done_n=64, total_n=128), PromptDelta(done_n=128, total_n=128),
        thought("Let me "), thought("see."), said("I will look.", "commentary"),
        NoteDelta(text="a header was malformed"),
        ToolCallDelta(call=CALL), end("tool_calls"), ToolStarted(call=CALL, title="python"),
        ToolEnded(call=CALL, title="python", result=ToolResult(text="1\n", elapsed_s=0.25)),
        said("It is **fi"), said("ne**.\n"), end(),
    )  # fmt: skip
    assert text.splitlines() == [
        "▸ thought for 0.1 s · 11 tokens · Ctrl-O shows it",
        "",
        "I will look.",
        "",
        "note: a header was malformed",
        "",
        "▸ python",
        "  import math",
        "  print(1)",
        "  1",
        "  done · 0.2 s",
        "",
        "It is fine.",
        "",
        "84 tokens, 14.0 tok/s, first after 0.8 s; prompt 112 (80 reused), 32.0 tok/s",
    ]
    assert bench.screen.column == 0
    assert bench.view.last_reasoning == "Let me see."


def test_progress_comes_and_goes() -> None:
    bench = Bench(show_timings=False)
    assert bench.show(PromptDelta(done_n=64, total_n=128)) == "reading the prompt: 64 of 128 tokens"
    assert bench.show(PromptDelta(done_n=128, total_n=128)) == "⠋ thinking"
    bench.tick()
    assert bench.screen.text() == "⠙ thinking"
    assert bench.show(said("Yes."), end()) == "Yes."
    bench.view.wait("loading\x1b[2J")
    bench.now += 5
    bench.tick()
    assert bench.screen.text().splitlines()[-1].endswith("loading 5 s")
    bench.view.close()
    assert bench.screen.text() == "Yes."


def test_thoughts_are_folded() -> None:
    bench = Bench(columns=20, show_timings=False)
    text = bench.show(*(thought(f"thought {n} and more ") for n in range(9)))
    assert text.splitlines()[0] == "▾ thinking 0 s"
    assert len(text.splitlines()) == 4
    bench.now += 2
    assert bench.show(said("Yes."), end()) == "▸ thought for 2.3 s\n\nYes."
    bench.view.unfold()
    assert bench.screen.text().count("and more") == 9


@pytest.mark.parametrize(("mode", "shown"), [("full", "Hm\nha.\n\nYes."), ("hide", "Yes.")])
def test_other_ways_to_show_thoughts(mode: Any, shown: str) -> None:
    bench = Bench(reasoning=mode, show_timings=False)
    assert bench.show(thought("Hm\n"), thought("ha."), said("Yes."), end()) == shown
    assert bench.view.last_reasoning == "Hm\nha."


def test_hidden_thoughts_still_show_that_the_model_thinks() -> None:
    bench = Bench(reasoning="hide", show_timings=False)
    bench.show(thought("Hm"), step_s=1.0)
    assert bench.show(thought("ha.")).endswith("thinking 1 s")
    assert bench.show(said("Yes.")) == "Yes."


def test_thoughts_are_those_of_the_last_turn() -> None:
    bench = Bench(show_timings=False)
    bench.show(thought("one"), end("tool_calls"), thought("two"), said("a"), end())
    assert bench.view.last_reasoning == "one\n\ntwo"
    bench.show(said("b"), end())
    assert bench.view.last_reasoning == ""
    bench.view.unfold()
    assert bench.screen.text().endswith("no thoughts to show")


def test_painted_soon_but_not_for_every_token() -> None:
    bench = Bench()
    bench.show(said("one "), step_s=0.001)
    before = bench.screen.n_bytes
    bench.show(said("two "), said("three "), step_s=0.001)
    assert bench.screen.n_bytes == before
    assert bench.ticks is not None
    assert bench.ticks.due is not None
    assert bench.ticks.due <= INTERVAL_S
    bench.tick()
    assert bench.screen.text() == "one two three"
    assert bench.ticks.due is None


def test_an_interruption_leaves_a_clean_line() -> None:
    bench = Bench()
    bench.show(said("Some **bold te"), said("xt \x1b[31"), step_s=0.0)
    bench.view.close()
    assert bench.screen.text() == "Some **bold text [31"
    assert bench.screen.column == 0
    assert bench.ticks is not None
    assert bench.ticks.due is None
    bench.view.close()
    assert bench.show(said("again"), end("cancelled")).splitlines()[1:4] == ["again", "", "stopped"]


def test_a_note_does_not_cut_an_answer_in_two() -> None:
    text = Bench(show_timings=False).show(said("```\na"), NoteDelta(text="n\x1b[2J"), said("*b*\n```"), end())
    assert text == "───\na*b*\n───\n\nnote: n"
    assert Bench().show(thought("a"), NoteDelta(text="n")).splitlines()[1:] == ["", "note: n"]


def test_results_are_cut_and_errors_marked() -> None:
    long = "\n".join(f"row {n} \x1b[31mred\x1b[0m {'x' * 100}" for n in range(30))
    text = Bench().show(ToolEnded(call=CALL, title="python", result=ToolResult(text=long, is_error=True, n_cut=7)))
    lines = text.splitlines()
    assert len(lines) == 13
    assert lines[4] == "  … 19 more lines"
    assert lines[-1] == "  error · 7 characters left out"
    assert all(len(line) <= 60 for line in lines)
    assert "row 29 red" in lines[-2]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ('{"path": "a.txt", "n": 3}', ["  path: a.txt", "  n: 3"]),
        ("print(2)", ["  print(2)"]),
        ('"print(3)"', ["  print(3)"]),
        ('{"code": "a\\u001b[2J\\tb\\u202e"}', ["  a   b"]),
        ("", ["  "]),
        ('{"a": "x\\ny"}', ["  a: x", "  y"]),
    ],
)  # fmt: skip
def test_arguments(arguments: str, lines: list[str]) -> None:
    text = Bench().show(ToolCallDelta(call=ToolCall(id="1", name="python", arguments=arguments)))
    assert text.splitlines() == ["▸ python", *(line for line in lines if line.strip())]


def test_all_of_a_program_is_shown_before_it_is_agreed_to() -> None:
    code = "\n".join(f"x{n} = {n}" for n in range(300))
    text = Bench().show(ToolCallDelta(call=ToolCall(id="1", name="python", arguments=code)))
    assert len(text.splitlines()) == 301


def asked(answers: Iterable[str], **options: Any) -> tuple[str, str]:
    """The consent, and what was on the screen when the question came."""
    left, seen = list(answers), list[str]()

    def ask(_question: str) -> str:
        seen.append(bench.screen.text())
        return left.pop(0)

    bench = Bench(ask=ask, **options)
    bench.show(thought("Hm."), ToolCallDelta(call=CALL), end("tool_calls"))
    return bench.view.confirm(Python(), CALL), seen[0]


@pytest.mark.parametrize(("answers", "consent"), [(["Y"], "once"), (["?", "", "always"], "always"), (["n"], "no")])
def test_the_question(answers: list[str], consent: str) -> None:
    given_consent, seen = asked(answers)
    assert given_consent == consent
    assert seen.count("import math") == 1
    assert seen.startswith("▸ thought")


def test_no_answer_means_no_and_another_call_is_shown_again() -> None:
    def ask(_question: str) -> str:
        raise EOFError

    bench = Bench(ask=ask)
    other = ToolCall(id="2", name="python", arguments="print(2)")
    bench.show(ToolCallDelta(call=CALL), ToolCallDelta(call=other), end("tool_calls"))
    assert bench.view.confirm(Python(), CALL) == "no"
    assert bench.screen.text().count("import math") == 2
    assert bench.screen.column == 0


def test_ctrl_c_at_the_question_is_one() -> None:
    def ask(_question: str) -> str:
        bench.screen.write("run it? ^C")
        raise KeyboardInterrupt

    bench = Bench(ask=ask)
    with pytest.raises(KeyboardInterrupt):
        bench.view.confirm(Python(), CALL)
    assert bench.screen.column == 0


@pytest.mark.parametrize(
    ("environ", "encoding", "theme"),
    [
        ({"TERM": "xterm-256color"}, "UTF-8", Theme()),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "utf8", Theme(colour=False)),
        ({"TERM": "xterm", "NO_COLOR": ""}, "ANSI_X3.4-1968", Theme(unicode=False)),
        ({"TERM": "screen.xterm"}, "utf-8", Theme(links=False)),
        ({"TERM": "linux"}, "utf-8", Theme(unicode=False, links=False)),
        ({"TERM": "vt220"}, None, Theme(colour=False, unicode=False)),
        ({"TERM": "dumb"}, "utf-8", None),
        ({}, "utf-8", None),
    ],
)
def test_what_a_terminal_can_do(environ: dict[str, str], encoding: str | None, theme: Theme | None) -> None:
    assert theme_of(environ, encoding) == theme


def test_a_stream_without_a_window_has_80_columns() -> None:
    assert window_of(io.StringIO())() == (80, 24)


def test_a_terminal_of_ascii() -> None:
    bench = Bench(theme=Theme(unicode=False, colour=False), show_timings=False, encoding="ascii")
    text = bench.show(thought("é"), said("- Köln 中\n\n| a | b |\n|-|-|\n| 1 | 2 |\n"), end())
    assert text.isascii()
    assert "* K?ln ?" in text
    assert "--+--" in text


def test_no_colours_where_none_are_wanted() -> None:
    bench = Bench(theme=Theme(colour=False))
    bench.show(said("# a\n**b** `c` $d$\n```python\ndef f(): return 'x' # y\n```\n> q\n"), thought("t"), end())
    codes = {code for style in bench.screen.styles for code in style.split(";") if code}
    assert codes <= {"0", "1", "2", "3", "4", "9"}


def test_a_window_resized_in_the_middle_of_an_answer() -> None:
    bench = Bench(columns=60, show_timings=False)
    bench.show(said("one two three four five\n\n"))
    bench.screen.columns = 24
    text = bench.show(said("one two three four five six seven"), end())
    assert text == "one two three four five\n\none two three four five\nsix seven"


EVENTS = st.lists(
    st.one_of(
        st.builds(TextDelta, channel=st.sampled_from(["analysis", "commentary", "final"]), text=st.text(max_size=30)),
        st.builds(NoteDelta, text=st.text(max_size=20)),
        st.builds(
            ToolCallDelta, call=st.builds(ToolCall, id=st.just("1"), name=st.text(max_size=5), arguments=st.text())
        ),
        st.just(PromptDelta(done_n=1, total_n=2)),
        st.just(ToolStarted(call=CALL, title="t\x1b[2J")),
        st.builds(
            ToolEnded, call=st.just(CALL), title=st.text(max_size=5), result=st.builds(ToolResult, text=st.text())
        ),
        st.just(end("tool_calls")),
        st.just(end()),
    ),
    max_size=12,
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(EVENTS, st.sampled_from(["full", "fold", "hide"]), st.sampled_from([(1, 2), (10, 4), (80, 24)]))
def test_no_event_writes_anything_but_ours(events: list[TurnEvent], mode: Any, size: tuple[int, int]) -> None:
    bench = Bench(*size, reasoning=mode)
    bench.show(*events)  # the emulator refuses any other sequence
    bench.view.close()
    assert bench.screen.column == 0


def test_the_ticker_calls_back_once_and_leaves_no_thread() -> None:
    called = threading.Event()
    ticker = Ticker(called.set, linger_s=0.01)
    ticker.poke(0.001)
    assert called.wait(10)
    called.clear()
    ticker.poke(60)
    ticker.poke(0.001)
    assert called.wait(10), "an earlier call comes first"
    called.clear()
    ticker.poke(60)
    ticker.stop()
    thread = ticker._thread
    if thread is not None:
        thread.join(10)
        assert not thread.is_alive()
    assert not called.is_set()


def test_a_terminal_that_is_gone_does_not_end_in_a_thread() -> None:
    gone = threading.Event()

    def tick() -> None:
        gone.set()
        raise BrokenPipeError

    ticker = Ticker(tick, linger_s=0.0)
    ticker.poke(0.0)
    assert gone.wait(10)
