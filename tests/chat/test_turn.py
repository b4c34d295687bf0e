"""One turn over a fake engine: answers, tools and their limits, Ctrl-C, and turns that fail."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from launcher.chat.conversation import Conversation
from launcher.chat.turn import REFUSED, SPENT, STOPPED, Tools, Turn, run_turn, stop_on_interrupt
from launcher.engines.types import ChatDelta, EndDelta, Message, Sampling, TextDelta, ToolCall, ToolCallDelta
from launcher.errors import EngineError
from launcher.tools.types import ToolLimits, ToolResult, Verdict
from tests.fakes.engine import TIMINGS, FakeEngine
from tests.fakes.view import FakeView
from tests.systems import POSIX

ASKED = Conversation().with_user("hello")


@dataclass
class EchoTool:
    """Gives its arguments back."""

    name: str = "echo"
    title: str = "echo"
    description: str = "Echoes."
    verdict: Verdict = "ask"
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    on_call: Callable[[], None] = lambda: None
    calls: list[str] = field(default_factory=list)

    def call(self, arguments: str, cancelled: threading.Event) -> ToolResult:
        self.calls.append(arguments)
        self.on_call()
        return ToolResult(text=f"echo {arguments}")


def calling(*names: str) -> list[ChatDelta]:
    calls = [ToolCall(id=f"call_{n}", name=name, arguments=f'{{"n":{n}}}') for n, name in enumerate(names)]
    end = EndDelta(finish_reason="tool_calls", timings=TIMINGS)
    return [TextDelta(channel="analysis", text="Hm."), *(ToolCallDelta(call=call) for call in calls), end]


def saying(text: str) -> list[ChatDelta]:
    return [TextDelta(channel="final", text=text), EndDelta(finish_reason="stop", timings=TIMINGS)]


def turn(script: Sequence[Sequence[ChatDelta]], tools: Tools | None, view: FakeView) -> tuple[Turn, FakeEngine]:
    engine = FakeEngine(script=list(script))
    return run_turn(engine, ASKED, Sampling(), view, tools=tools), engine


def tool_messages(done: Turn) -> list[Message]:
    return [message for message in done.conversation.messages if message.role == "tool"]


def test_a_call_that_is_allowed_runs_and_its_result_goes_back() -> None:
    tool, view = EchoTool(), FakeView(consent=lambda call: "once")
    done, engine = turn([calling("echo"), saying("Done.")], Tools(tools=(tool,)), view)
    assert tool.calls == ['{"n":0}']
    assert done.finish_reason == "stop"
    assert [m.role for m in done.conversation.messages] == ["user", "assistant", "tool", "assistant"]
    (result,) = tool_messages(done)
    assert (result.content, result.tool_call_id, result.name) == ('echo {"n":0}', "call_0", "echo")
    assert done.conversation.messages[1].reasoning == "Hm.", "the chain of thought goes on after a call"
    assert engine.functions == [["echo"], ["echo"]]
    assert len(done.timings) == 2
    assert view.n_asked == view.n_started == 1


def test_a_call_that_is_refused_does_not_run() -> None:
    tool, view = EchoTool(), FakeView()
    done, _ = turn([calling("echo"), saying("Well.")], Tools(tools=(tool,)), view)
    assert tool.calls == []
    assert tool_messages(done)[0].content == REFUSED
    assert done.conversation.messages[-1].content == "Well."
    assert view.n_started == 0


def test_always_asks_once() -> None:
    tool, view = EchoTool(), FakeView(consent=lambda call: "always")
    turn([calling("echo", "echo"), calling("echo"), saying("Done.")], Tools(tools=(tool,)), view)
    assert len(tool.calls) == 3
    assert view.n_asked == 1


@pytest.mark.parametrize(("verdict", "n_calls"), [("allow", 1), ("deny", 0)])
def test_rules_decide_without_asking(verdict: Verdict, n_calls: int) -> None:
    tool, view = EchoTool(verdict=verdict), FakeView(consent=lambda call: "once")
    turn([calling("echo"), saying("Done.")], Tools(tools=(tool,)), view)
    assert len(tool.calls) == n_calls
    assert view.n_asked == 0


def test_a_tool_that_is_not_there_is_told_to_the_model() -> None:
    view = FakeView()
    done, _ = turn([calling("shell"), saying("Sorry.")], Tools(tools=(EchoTool(),)), view)
    assert tool_messages(done)[0].content == "There is no tool 'shell'; there are: echo."
    assert done.finish_reason == "stop"


def test_a_turn_makes_no_more_calls_than_it_may() -> None:
    tool, view = EchoTool(verdict="allow"), FakeView()
    tools = Tools(tools=(tool,), limits=ToolLimits(max_calls=3))
    done, engine = turn([calling("echo", "echo"), calling("echo", "echo"), saying("Enough.")], tools, view)
    assert len(tool.calls) == 3
    assert [m.content for m in tool_messages(done)][-1] == SPENT
    assert engine.functions == [["echo"], ["echo"], []], "with no call left none is offered"
    assert done.finish_reason == "stop"


def test_a_model_that_calls_on_without_end_is_stopped() -> None:
    tool, view = EchoTool(verdict="allow"), FakeView()
    tools = Tools(tools=(tool,), limits=ToolLimits(max_calls=1))
    done, engine = turn([calling("echo"), calling("echo"), saying("never")], tools, view)
    assert len(tool.calls) == 1
    assert len(engine.asked) == 2
    assert done.finish_reason == "tool_calls"


def test_without_tools_a_call_ends_the_turn() -> None:
    done, engine = turn([calling("get_weather")], None, FakeView())
    assert done.finish_reason == "tool_calls"
    assert done.conversation.messages[-1].tool_calls[0].name == "get_weather"
    assert engine.functions == [[]]


def test_each_message_is_recorded_as_soon_as_it_is_whole() -> None:
    seen: list[tuple[str, str | None]] = []
    engine = FakeEngine(script=[calling("echo"), saying("Done.")])
    run_turn(
        engine,
        ASKED,
        Sampling(),
        FakeView(),
        tools=Tools(tools=(EchoTool(verdict="allow"),)),
        record=lambda message, reason, _timings: seen.append((message.role, reason)),
    )
    assert seen == [("assistant", "tool_calls"), ("tool", None), ("assistant", "stop")]


def test_commentary_is_the_answer_where_there_is_no_other() -> None:
    end = EndDelta(finish_reason="stop", timings=TIMINGS)
    done, _ = turn([[TextDelta(channel="commentary", text="Looking."), end]], None, FakeView())
    assert done.conversation.messages[-1].content == "Looking."


def test_the_model_is_told_of_the_schema_and_the_conversation_is_not() -> None:
    engine = FakeEngine()
    asked = Conversation().with_system("Be brief.").with_user("one")
    done = run_turn(engine, asked, Sampling(json_schema='{"type": "object"}'), FakeView())
    told = engine.asked[0][0][0].content
    assert told == 'Be brief.\n\n# Response Formats\n\n## answer\n\n{"type": "object"}'
    assert done.conversation.messages[0].content == "Be brief."


def test_a_stream_without_an_end_is_an_error() -> None:
    with pytest.raises(EngineError, match="no end"):
        turn([[TextDelta(channel="final", text="Ye")]], None, FakeView())


# Ctrl-C


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@POSIX
def test_ctrl_c_during_an_answer_keeps_what_came() -> None:
    engine = FakeEngine(on_word=lambda word: press_ctrl_c() if word == "two" else None)
    before = signal.getsignal(signal.SIGINT)
    done = run_turn(engine, Conversation().with_user("one two three"), Sampling(), FakeView())
    assert done.conversation.messages[-1].content == "one two "
    assert done.finish_reason == "cancelled"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts_as_usual() -> None:
    def twice(_word: str) -> None:
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        run_turn(FakeEngine(on_word=twice), Conversation().with_user("one two"), Sampling(), FakeView())


def test_ctrl_c_during_a_call_ends_the_turn_and_every_call_has_a_result() -> None:
    tool = EchoTool(verdict="allow", on_call=press_ctrl_c)
    done, engine = turn([calling("echo", "echo"), saying("never")], Tools(tools=(tool,)), FakeView())
    assert done.finish_reason == "cancelled"
    assert len(engine.asked) == 1
    first, second = tool_messages(done)
    assert first.content.startswith(STOPPED)
    assert second.content == STOPPED
    assert len(tool.calls) == 1


def test_ctrl_c_at_the_question_refuses_and_ends_the_turn() -> None:
    def leave(_call: ToolCall) -> Any:
        raise KeyboardInterrupt

    tool = EchoTool()
    done, engine = turn([calling("echo"), saying("never")], Tools(tools=(tool,)), FakeView(consent=leave))
    assert done.finish_reason == "cancelled"
    assert tool.calls == []
    assert len(engine.asked) == 1


@POSIX
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
