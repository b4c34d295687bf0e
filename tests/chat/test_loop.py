"""The loop over a fake engine: commands, history, Ctrl-C, and turns that fail."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from launcher.chat.conversation import Conversation
from launcher.chat.loop import HELP, chat_loop, run_turn, stop_on_interrupt
from launcher.chat.printer import Printer
from launcher.engines.types import (
    ChatDelta,
    EndDelta,
    FinishReason,
    Message,
    Sampling,
    TextDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
)
from launcher.errors import EngineError

TIMINGS = Timings(prompt_n=1, cache_n=0, prompt_ms=1, predicted_n=1, predicted_ms=1, eval_ms=1, ttft_ms=1)


@dataclass
class FakeEngine:
    """Repeats the last question, a word a delta; a word is a token, and `fail` refuses questions that hold it."""

    n_ctx: int | None = 100
    fail: str = "fail"
    on_word: Callable[[str], None] = lambda word: None
    asked: list[tuple[tuple[Message, ...], Sampling]] = field(default_factory=list)
    cancelled: bool = False

    def count_tokens(self, messages: Sequence[Message], sampling: Sampling, *, tools: Sequence[object] = ()) -> int:
        return sum(len(message.content.split()) for message in messages)

    def cancel(self) -> None:
        self.cancelled = True

    def chat(
        self, messages: Sequence[Message], sampling: Sampling, *, tools: Sequence[object] = ()
    ) -> Iterator[ChatDelta]:
        self.asked.append((tuple(messages), sampling))
        self.cancelled = False
        return self._stream(messages[-1].content)

    def _stream(self, question: str) -> Iterator[ChatDelta]:
        yield TextDelta(channel="analysis", text="Hm.")
        reason: FinishReason = "stop"
        for word in question.split():
            if word == self.fail:
                raise EngineError("llama.cpp failed", hint="gpt-oss hardware", details=("a detail",))
            yield TextDelta(channel="final", text=f"{word} ")
            self.on_word(word)
            if self.cancelled:
                reason = "cancelled"
                break
        yield EndDelta(finish_reason=reason, timings=TIMINGS)


@dataclass
class Talk:
    """A whole conversation: what was typed, what was said around it and what was answered."""

    engine: FakeEngine
    said: list[str]
    out: str
    err: str
    conversation: Conversation

    @property
    def contents(self) -> list[str]:
        return [message.content for message in self.conversation.messages]


def talk(
    *typed: str | BaseException,
    engine: FakeEngine | None = None,
    conversation: Conversation | None = None,
    sampling: Sampling | None = None,
) -> Talk:
    engine = engine or FakeEngine()
    lines = iter(typed)

    def read_line() -> str:
        line = next(lines, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    said: list[str] = []
    out, err = io.StringIO(), io.StringIO()
    ended = chat_loop(
        engine,
        conversation or Conversation(),
        sampling or Sampling(),
        printer=Printer(out=out, err=err, styled=False),
        read_line=read_line,
        say=said.append,
    )
    return Talk(engine=engine, said=said, out=out.getvalue(), err=err.getvalue(), conversation=ended)


def test_a_conversation_remembers() -> None:
    done = talk("one", "  ", "two")
    assert done.out == "one \ntwo \n"
    assert done.contents == ["one", "one ", "two", "two "]
    assert done.conversation.messages[1].reasoning == "Hm."
    assert [len(messages) for messages, _ in done.engine.asked] == [1, 3]


@pytest.mark.parametrize("leave", ["/quit", "/exit", "/bye", "  /quit  "])
def test_leaving(leave: str) -> None:
    done = talk("one", leave, "never")
    assert done.contents == ["one", "one "]


def test_ctrl_c_at_the_prompt_clears_the_line_and_says_how_to_leave() -> None:
    done = talk(KeyboardInterrupt(), "one")
    assert done.said == ["(Ctrl-D or /quit leaves)"]
    assert done.contents == ["one", "one "]


def test_clear_keeps_the_instructions() -> None:
    done = talk("one", "/clear", "two", conversation=Conversation().with_system("Be brief."))
    assert done.contents == ["Be brief.", "two", "two "]
    assert "A new conversation." in done.said


def test_effort() -> None:
    done = talk("one", "/effort high", "two", "/effort hard", "/effort", "three")
    assert [sampling.reasoning_effort for _, sampling in done.engine.asked] == [None, "high", "high"]
    assert done.said == [
        "Reasoning effort: high.",
        "The effort is high; say /effort low, medium or high.",
        "The effort is high; say /effort low, medium or high.",
    ]


def test_help_and_unknown_commands() -> None:
    done = talk("/help", "/?", "/nope now")
    assert done.said == [HELP, HELP, f"There is no /nope.\n{HELP}"]
    assert done.engine.asked == []


def test_a_turn_that_fails_is_told_and_the_talk_goes_on() -> None:
    done = talk("one", "then fail please", "two")
    assert done.said == ["error: llama.cpp failed\na detail\nhint:  gpt-oss hardware"]
    assert done.contents == ["one", "one ", "two", "two "], "the question that failed is not in the way of the next"
    assert done.out == "one \nthen \ntwo \n", "a line that was begun is ended"


def test_a_message_that_is_too_long_is_told_and_the_talk_goes_on() -> None:
    done = talk("one", "word " * 90, "two", engine=FakeEngine(n_ctx=100))
    (told,) = done.said
    assert told.startswith("error: the last message makes a prompt of 90 tokens; the context holds 100")
    assert "hint:  gpt-oss chat --ctx-size 128" in told
    assert done.contents == ["one", "one ", "two", "two "]


def test_a_long_conversation_drops_its_beginning_with_a_note() -> None:
    done = talk("a " * 20, "b " * 20, "c " * 20, engine=FakeEngine(n_ctx=100))
    assert "note: The conversation is longer than the context" in done.err
    assert done.engine.asked[-1][0][-1].content == ("c " * 20).strip()
    assert len(done.engine.asked[-1][0]) < 5
    assert len(done.conversation.messages) == 6, "what the model no longer sees is kept all the same"


# Ctrl-C


def press_ctrl_c(_word: str) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_during_an_answer_keeps_what_came() -> None:
    engine = FakeEngine(on_word=lambda word: press_ctrl_c(word) if word == "two" else None)
    before = signal.getsignal(signal.SIGINT)
    done = talk("one two three", "four", engine=engine)
    assert done.contents == ["one two three", "one two ", "four", "four "]
    assert "stopped" in done.err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts_as_usual() -> None:
    def twice(word: str) -> None:
        press_ctrl_c(word)
        press_ctrl_c(word)

    with pytest.raises(KeyboardInterrupt):
        talk("one two", engine=FakeEngine(on_word=twice))


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen = []

    def work() -> None:
        with stop_on_interrupt(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


# One turn


def turn(*deltas: ChatDelta) -> tuple[Conversation, FinishReason]:
    class Scripted(FakeEngine):
        def _stream(self, question: str) -> Iterator[ChatDelta]:
            yield from deltas

    printer = Printer(out=io.StringIO(), err=io.StringIO(), styled=False)
    return run_turn(Scripted(), Conversation().with_user("hello"), Sampling(), printer)


def test_a_tool_call_is_kept_in_the_conversation() -> None:
    call = ToolCall(id="call_1", name="get_weather", arguments="{}")
    conversation, reason = turn(
        TextDelta(channel="commentary", text="Looking."),
        ToolCallDelta(call=call),
        EndDelta(finish_reason="tool_calls", timings=TIMINGS),
    )
    assert reason == "tool_calls"
    answer = conversation.messages[-1]
    assert answer.tool_calls == (call,)
    assert answer.content == "Looking."
    assert answer.reasoning is None


def test_a_turn_without_an_end_was_cancelled() -> None:
    conversation, reason = turn(TextDelta(channel="final", text="Ye"))
    assert reason == "cancelled"
    assert conversation.messages[-1].content == "Ye"
