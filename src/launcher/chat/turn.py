"""One turn over any engine: an answer, the tools that it calls, and the answers that follow."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from launcher.chat.conversation import Conversation, Fitted, fit
from launcher.chat.types import ToolEnded, ToolStarted, View
from launcher.engines.types import (
    EndDelta,
    Engine,
    FinishReason,
    Message,
    NoteDelta,
    Sampling,
    TextDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
)
from launcher.errors import EngineError
from launcher.tools.types import Tool, ToolLimits, ToolResult, find_tool, function_of

_RESERVE_PART = 4  # a quarter of the context, at most, is kept free for the answer
_RESERVE_MAX_TOKENS = 4096
REFUSED = "The user did not allow this call."
STOPPED = "The user stopped this call."
SPENT = "No call is left in this turn; answer with what you know."

Record = Callable[[Message, FinishReason | None, Timings | None], None]
"""Is given each message as soon as it is whole."""


@dataclass(kw_only=True, slots=True)
class Tools:
    """What the model may call, and what the user has said of it so far."""

    tools: tuple[Tool, ...] = ()
    limits: ToolLimits = field(default_factory=ToolLimits)
    always: set[str] = field(default_factory=set)
    """Titles of tools that need not be confirmed again in this conversation."""

    @property
    def functions(self) -> list[dict[str, Any]]:
        """As the model is told of them."""
        return [function_of(tool) for tool in self.tools]


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """How a turn went."""

    conversation: Conversation
    """With everything that the model and its tools said, however the turn ended."""
    finish_reason: FinishReason
    timings: tuple[Timings, ...]
    """Of each answer of the engine."""
    fitted: Fitted


def run_turn(
    engine: Engine,
    conversation: Conversation,
    sampling: Sampling,
    view: View,
    *,
    tools: Tools | None = None,
    record: Record = lambda _message, _reason, _timings: None,
) -> Turn:
    """Answer the last message of `conversation`.

    The first Ctrl-C stops the answer or the tool that runs, and what came of it is kept.

    Raises:
        LauncherError: the last message alone is longer than the context, or the engine failed.
    """
    tools = tools or Tools()
    timings: list[Timings] = []
    n_calls = 0
    while True:
        functions = tools.functions if n_calls < tools.limits.max_calls else []
        fitted = fitted_to(engine, told_format(conversation, sampling.json_schema), sampling, functions)
        if fitted.notice and not timings:
            view.show(NoteDelta(text=fitted.notice))
        answer, end = _answer(engine, fitted.messages, sampling, view, functions)
        conversation = conversation.with_message(answer)
        record(answer, end.finish_reason, end.timings)
        timings.append(end.timings)
        reason = end.finish_reason
        if reason != "tool_calls" or not tools.tools:
            break
        for call in answer.tool_calls:
            stopped = False
            if reason == "cancelled":
                result = ToolResult(text=STOPPED, is_error=True)
            elif n_calls >= tools.limits.max_calls:
                result = ToolResult(text=SPENT, is_error=True)
            else:
                result, stopped = _called(tools, call, view)
            n_calls += 1
            message = Message(role="tool", content=result.text, tool_call_id=call.id, name=call.name)
            conversation = conversation.with_message(message)
            record(message, None, None)
            if stopped:
                reason = "cancelled"
        if reason == "cancelled" or not functions:
            break
    return Turn(conversation=conversation, finish_reason=reason, timings=tuple(timings), fitted=fitted)


def told_format(conversation: Conversation, json_schema: str | None) -> Conversation:
    """The conversation with the schema of the answer in its instructions, where Harmony has a section for it.

    An engine that holds the answer to a schema does not tell the model of it, which then writes against the grain.
    """
    if json_schema is None:
        return conversation
    system = next((m.content for m in conversation.messages if m.role in ("system", "developer")), "")
    section = f"# Response Formats\n\n## answer\n\n{json_schema.strip()}"
    return conversation.with_system(f"{system}\n\n{section}".strip())


def fitted_to(
    engine: Engine, conversation: Conversation, sampling: Sampling, functions: Sequence[dict[str, Any]] = ()
) -> Fitted:
    """What of a conversation goes to this engine.

    Raises:
        UsageError: see `fit`.
    """
    reserve = min(_RESERVE_MAX_TOKENS, (engine.n_ctx or 0) // _RESERVE_PART)
    return fit(
        conversation,
        lambda messages: engine.count_tokens(messages, sampling, tools=functions),
        engine.n_ctx,
        reserve,
    )


def _answer(
    engine: Engine,
    messages: Sequence[Message],
    sampling: Sampling,
    view: View,
    functions: Sequence[dict[str, Any]],
) -> tuple[Message, EndDelta]:
    """One answer of the engine, shown as it comes."""
    texts: dict[str, list[str]] = {"analysis": [], "commentary": [], "final": []}
    calls: list[ToolCall] = []
    end: EndDelta | None = None
    # Before the handler: beginning a turn forgets an earlier cancel.
    deltas = engine.chat(messages, sampling, tools=functions)
    with stop_on_interrupt(engine.cancel):
        for delta in deltas:
            view.show(delta)
            if isinstance(delta, TextDelta):
                texts[delta.channel].append(delta.text)
            elif isinstance(delta, ToolCallDelta):
                calls.append(delta.call)
            elif isinstance(delta, EndDelta):
                end = delta
    if end is None:
        raise EngineError("the engine's answer has no end", hint="gpt-oss hardware")
    message = Message(
        role="assistant",
        content="".join(texts["final"]) or "".join(texts["commentary"]),
        reasoning="".join(texts["analysis"]) or None,
        # Of a turn that was stopped or cut the last call may be half of one.
        tool_calls=tuple(calls) if end.finish_reason == "tool_calls" else (),
    )
    return message, end


def _called(tools: Tools, call: ToolCall, view: View) -> tuple[ToolResult, bool]:
    """Run one call where the user allows it; whether the user stopped the turn."""
    tool = find_tool(tools.tools, call.name)
    if tool is None:
        names = ", ".join(known.name for known in tools.tools)
        result = ToolResult(text=f"There is no tool {call.name!r}; there are: {names}.", is_error=True)
        view.show(ToolEnded(call=call, title=call.name, result=result))
        return result, False
    allowed, stopped = _allowed(tools, tool, call, view)
    if not allowed:
        result = ToolResult(text=REFUSED, is_error=True)
        view.show(ToolEnded(call=call, title=tool.title, result=result))
        return result, stopped
    view.show(ToolStarted(call=call, title=tool.title))
    cancelled = threading.Event()
    with stop_on_interrupt(cancelled.set):
        result = tool.call(call.arguments, cancelled)
    if cancelled.is_set():
        result = replace(result, text=f"{STOPPED}\n{result.text}".strip(), is_error=True)
    view.show(ToolEnded(call=call, title=tool.title, result=result))
    return result, cancelled.is_set()


def _allowed(tools: Tools, tool: Tool, call: ToolCall, view: View) -> tuple[bool, bool]:
    """Whether a call may run, and whether the user left the question by Ctrl-C."""
    if tool.verdict == "deny":
        return False, False
    if tool.verdict == "allow" or tool.title in tools.always:
        return True, False
    try:
        consent = view.confirm(tool, call)
    except (KeyboardInterrupt, EOFError):
        view.close()
        return False, True
    if consent == "always":
        tools.always.add(tool.title)
    return consent != "no", False


@contextmanager
def stop_on_interrupt(cancel: Callable[[], None]) -> Iterator[None]:
    """Within the block the first Ctrl-C calls `cancel`, a second one interrupts as usual.

    Elsewhere than in the main thread signals cannot be handled, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(_signum: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cancel()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
