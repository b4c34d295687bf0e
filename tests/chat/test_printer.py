"""What is printed where: answers on stdout, the rest on stderr, and nothing that a terminal would obey."""

from __future__ import annotations

import io
import threading
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.chat.printer import Printer, timings_line
from launcher.chat.types import ToolEnded, ToolStarted, TurnEvent
from launcher.engines.types import (
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

TIMINGS = Timings(
    prompt_n=16, cache_n=80, prompt_ms=500.0, predicted_n=42, predicted_ms=3000.0, eval_ms=2900.0, ttft_ms=812.0
)


def end(reason: FinishReason = "stop") -> EndDelta:
    return EndDelta(finish_reason=reason, timings=TIMINGS)


def printed(*deltas: TurnEvent, styled: bool = False, **options: Any) -> tuple[str, str]:
    """What goes to stdout and what to stderr."""
    out, err = io.StringIO(), io.StringIO()
    printer = Printer(out=out, err=err, styled=styled, **options)
    for delta in deltas:
        printer.show(delta)
    printer.close()
    return out.getvalue(), err.getvalue()


def thought(text: str) -> TextDelta:
    return TextDelta(channel="analysis", text=text)


def said(text: str) -> TextDelta:
    return TextDelta(channel="final", text=text)


def test_the_answer_is_all_that_stdout_gets() -> None:
    deltas = (
        PromptDelta(done_n=64, total_n=128),
        thought("Let me "),
        thought("see."),
        TextDelta(channel="commentary", text="I will look."),
        NoteDelta(text="a header was malformed"),
        ToolCallDelta(call=ToolCall(id="1", name="get_weather", arguments='{ "location":\n"Köln" }')),
        said("It is "),
        said("fine.\n"),
        end(),
    )
    for styled in (False, True):
        out, err = printed(*deltas, styled=styled, show_timings=True)
        assert out == "It is fine.\n\n"
        assert "It is" not in err
        for text in ("see.", "I will look.", "note: a header", 'tool call: get_weather {"location": "Köln"}', "tok/s"):
            assert text in err


def test_each_stream_ends_its_line() -> None:
    assert printed(thought("Hm."), said("Yes."), end()) == ("Yes.\n", "Hm.\n")
    assert printed(said("Cut off")) == ("Cut off\n", "")
    assert printed(said("A"), thought("B"), said("C"), end()) == ("A\nC\n", "B\n")
    assert printed(end()) == ("", "")


def test_dim_only_where_it_is_shown() -> None:
    _, plain = printed(thought("Hm."), NoteDelta(text="n"), end("cancelled"))
    assert plain == "Hm.\nnote: n\nstopped\n"
    out, styled = printed(thought("Hm."), said("Yes."), end(), styled=True)
    assert styled.startswith("\x1b[2mHm.\x1b[0m")
    assert out == "Yes.\n", "stdout is never styled"


def test_reasoning_can_be_hidden_and_notes_cannot() -> None:
    out, err = printed(
        thought("Hm."), TextDelta(channel="commentary", text="Aside"), NoteDelta(text="n"), said("Yes."), end(),
        show_reasoning=False,
    )  # fmt: skip
    assert (out, err) == ("Yes.\n", "note: n\n")


def test_prompt_progress_is_drawn_on_a_terminal_and_wiped() -> None:
    deltas = (PromptDelta(done_n=64, total_n=128), PromptDelta(done_n=128, total_n=128), said("Yes."), end())
    assert printed(*deltas) == ("Yes.\n", "")
    out, err = printed(*deltas, styled=True)
    assert out == "Yes.\n"
    assert "reading the prompt: 64 of 128 tokens" in err
    assert err.endswith("\r\x1b[2K")


def test_an_interruption_while_the_prompt_is_read_wipes_its_line() -> None:
    _, err = printed(PromptDelta(done_n=64, total_n=128), styled=True)
    assert err.endswith("\r\x1b[2K")


# What a model writes must not steer the terminal


EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x0b\x0c\x7f\x00\x85ok\n\tend"


@pytest.mark.parametrize("channel", ["final", "analysis", "commentary"])
def test_control_characters_do_not_reach_a_terminal(channel: Any) -> None:
    out, err = printed(TextDelta(channel=channel, text=EVIL), end(), styled=True)
    shown = (out + err).replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert shown == "ok\n\tend\n"


def test_a_sequence_cut_in_two_is_found() -> None:
    out, _ = printed(said("a\x1b]0;ow"), thought("Hm."), said("ned\x07b\x1b["), said("31mc"), end(), styled=True)
    assert "ned" not in out
    assert out.replace("\n", "") == "abc"


def test_a_dumb_terminal_is_not_steered_either() -> None:
    out, err = printed(said(EVIL), thought(EVIL), end(), terminal=True)
    assert (out, err) == ("ok\n\tend\n", "ok\n\tend\n")


def test_what_a_stream_cannot_write_is_replaced() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    printer = Printer(out=out, err=io.StringIO(), styled=False)
    printer.show(said("Köln \ud800"))
    printer.close()
    assert raw.getvalue() == b"K?ln ?\n"


# Tools


CALL = ToolCall(id="1", name="python", arguments='{"code": "print(1)"}')


class Python:
    """A tool that is never run here."""

    name, title, description = "python", "python", ""
    parameters: ClassVar[dict[str, Any]] = {}
    verdict: Verdict = "ask"

    def call(self, arguments: str, cancelled: threading.Event) -> ToolResult:
        raise NotImplementedError


def test_results_are_told_on_stderr_and_cut() -> None:
    result = ToolResult(text="\n".join(f"row {n}" for n in range(20)))
    out, err = printed(
        ToolCallDelta(call=CALL), ToolStarted(call=CALL, title="python"),
        ToolEnded(call=CALL, title="python", result=result),
        ToolEnded(call=CALL, title="python", result=ToolResult(text="no\x1b[2J", is_error=True)),
        said("Done."), end(),
    )  # fmt: skip
    assert out == "Done.\n"
    assert "python gave:\n  row 0\n" in err
    assert "  row 11\n  ... 8 more lines\npython failed:\n  no\n" in err


def test_nobody_to_ask_allows_nothing() -> None:
    printer = Printer(out=io.StringIO(), err=io.StringIO(), styled=False)
    assert printer.confirm(Python(), CALL) == "no"


@pytest.mark.parametrize(
    ("answers", "consent"), [(["y"], "once"), (["what?", " A "], "always"), (["no"], "no"), ([], "no")]
)
def test_the_question(answers: list[str], consent: str) -> None:
    def ask(_question: str) -> str:
        if not answers:
            raise EOFError
        return answers.pop(0)

    err = io.StringIO()
    printer = Printer(out=io.StringIO(), err=err, styled=False, ask=ask)
    assert printer.confirm(Python(), CALL) == consent
    assert 'python wants to run: {"code": "print(1)"}' in err.getvalue()


@given(st.text())
def test_no_text_of_a_model_moves_the_cursor(text: str) -> None:
    deltas = (
        thought(text),
        said(text),
        NoteDelta(text=text),
        ToolCallDelta(call=ToolCall(id="1", name=text, arguments=text)),
        end(),
    )
    out, err = printed(*deltas, styled=True)
    for own in ("\x1b[2m", "\x1b[0m"):
        err = err.replace(own, "")
    assert not {char for char in out + err if ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0} - {"\n", "\t"}


def test_notes_and_calls_are_clean_wherever_they_go() -> None:
    call = ToolCall(id="1", name="f\x1b[2J", arguments="\x1b[2J not JSON")
    _, err = printed(NoteDelta(text="\x1b[2Jn"), ToolCallDelta(call=call), end())
    assert "\x1b" not in err


def test_a_pipe_gets_the_text_as_it_is() -> None:
    out, _ = printed(said("a\r\n\x1b[1mb"), end())
    assert out == "a\r\n\x1b[1mb\n"


def test_the_line_of_timings() -> None:
    assert timings_line(TIMINGS) == "42 tokens, 14.0 tok/s, first after 0.8 s; prompt 96 (80 reused), 32.0 tok/s"
    nothing = Timings(prompt_n=0, cache_n=0, prompt_ms=0, predicted_n=0, predicted_ms=0, eval_ms=0, ttft_ms=0)
    assert timings_line(nothing) == "0 tokens, first after 0.0 s; prompt 0"
