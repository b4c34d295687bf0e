"""What is printed where: answers on stdout, the rest on stderr, and nothing that a terminal would obey."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.chat.printer import Printer, timings_line
from launcher.engines.types import (
    ChatDelta,
    EndDelta,
    FinishReason,
    NoteDelta,
    PromptDelta,
    TextDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
)

TIMINGS = Timings(
    prompt_n=16, cache_n=80, prompt_ms=500.0, predicted_n=42, predicted_ms=3000.0, eval_ms=2900.0, ttft_ms=812.0
)


def end(reason: FinishReason = "stop") -> EndDelta:
    return EndDelta(finish_reason=reason, timings=TIMINGS)


def printed(*deltas: ChatDelta, styled: bool = False, **options: Any) -> tuple[str, str]:
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
    assert shown == "]0;owned[2J31mok\n\tend\n"


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
