"""Conversations and clocks for tests of the history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from launcher.engines.types import Message, Timings, ToolCall

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIMINGS = Timings(prompt_n=7, cache_n=1, prompt_ms=20.5, predicted_n=3, predicted_ms=30.0, eval_ms=29.0, ttft_ms=25.0)


def clock(step_s: float = 60.0) -> Callable[[], datetime]:
    """A clock that goes on by a step with every look at it."""
    ticks = iter(range(1_000_000))
    return lambda: NOON + timedelta(seconds=step_s * next(ticks))


def user(text: str) -> Message:
    return Message(role="user", content=text)


def answer(text: str, reasoning: str | None = None) -> Message:
    return Message(role="assistant", content=text, reasoning=reasoning)


WEATHER = (
    Message(role="system", content="Be brief."),
    user("What is the weather in Köln?\nI have no umbrella."),
    Message(
        role="assistant",
        reasoning="I need the tool.",
        tool_calls=(ToolCall(id="call-1", name="weather", arguments='{"city": "Köln"}'),),
    ),
    Message(role="tool", content="rain, 9 °C", tool_call_id="call-1", name="weather"),
    answer("It rains; take one.", "Rain means umbrella."),
)
