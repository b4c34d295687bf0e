"""One turn, and a loop of turns, over any engine: lines come from a callable, deltas go to a Printer."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast, get_args

from launcher.chat.conversation import Conversation, fit
from launcher.chat.printer import Printer
from launcher.engines.types import (
    EndDelta,
    Engine,
    FinishReason,
    Message,
    NoteDelta,
    ReasoningEffort,
    Sampling,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from launcher.errors import LauncherError

_RESERVE_PART = 4  # a quarter of the context, at most, is kept free for the answer
_RESERVE_MAX_TOKENS = 4096

HELP = """\
/effort low|medium|high   how long the model thinks
/clear                    begin a new conversation
/help                     this list
/quit                     leave (also Ctrl-D)
Ctrl-C stops an answer; what came of it is kept."""


def run_turn(
    engine: Engine, conversation: Conversation, sampling: Sampling, printer: Printer
) -> tuple[Conversation, FinishReason]:
    """Answer the last message of `conversation`; gives it back with what the model said, however the turn ended.

    Raises:
        LauncherError: the last message alone is longer than the context, or the engine failed.
    """
    reserve = min(_RESERVE_MAX_TOKENS, (engine.n_ctx or 0) // _RESERVE_PART)
    fitted = fit(conversation, lambda messages: engine.count_tokens(messages, sampling), engine.n_ctx, reserve)
    if fitted.notice:
        printer.show(NoteDelta(text=fitted.notice))
    texts: dict[str, list[str]] = {"analysis": [], "commentary": [], "final": []}
    calls: list[ToolCall] = []
    reason: FinishReason = "cancelled"
    deltas = engine.chat(fitted.messages, sampling)  # before the handler: beginning a turn forgets an earlier cancel
    with stop_on_interrupt(engine.cancel):
        for delta in deltas:
            printer.show(delta)
            if isinstance(delta, TextDelta):
                texts[delta.channel].append(delta.text)
            elif isinstance(delta, ToolCallDelta):
                calls.append(delta.call)
            elif isinstance(delta, EndDelta):
                reason = delta.finish_reason
    answer = Message(
        role="assistant",
        content="".join(texts["final"]) or "".join(texts["commentary"]),
        reasoning="".join(texts["analysis"]) or None,
        tool_calls=tuple(calls),
    )
    return conversation.with_message(answer), reason


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


def chat_loop(
    engine: Engine,
    conversation: Conversation,
    sampling: Sampling,
    *,
    printer: Printer,
    read_line: Callable[[], str],
    say: Callable[[str], None],
) -> Conversation:
    """Read a line, answer it, until the end of input or /quit. Ctrl-C at the prompt clears the line."""
    while True:
        try:
            line = read_line().strip()
        except EOFError:
            return conversation
        except KeyboardInterrupt:
            say("(Ctrl-D or /quit leaves)")
            continue
        if not line:
            continue
        word, _, rest = line.partition(" ")
        if word in ("/quit", "/exit", "/bye"):
            return conversation
        if word == "/clear":
            conversation = Conversation(
                messages=tuple(m for m in conversation.messages if m.role in ("system", "developer"))
            )
            say("A new conversation.")
        elif word == "/effort":
            sampling = _with_effort(sampling, rest.strip(), say)
        elif word.startswith("/"):
            say(HELP if word in ("/help", "/?") else f"There is no {word}.\n{HELP}")
        else:
            conversation = _turn(engine, conversation, line, sampling, printer=printer, say=say)


def _turn(
    engine: Engine,
    conversation: Conversation,
    line: str,
    sampling: Sampling,
    *,
    printer: Printer,
    say: Callable[[str], None],
) -> Conversation:
    """Ask one question; where that fails, what went wrong is said and the conversation is as it was before."""
    try:
        return run_turn(engine, conversation.with_user(line), sampling, printer)[0]
    except LauncherError as error:
        printer.close()
        say("\n".join((f"error: {error.message}", *error.details, *([f"hint:  {error.hint}"] if error.hint else []))))
        return conversation


def _with_effort(sampling: Sampling, word: str, say: Callable[[str], None]) -> Sampling:
    if word not in get_args(ReasoningEffort):
        say(f"The effort is {sampling.reasoning_effort or 'medium'}; say /effort low, medium or high.")
        return sampling
    say(f"Reasoning effort: {word}.")
    return replace(sampling, reasoning_effort=cast("ReasoningEffort", word))
