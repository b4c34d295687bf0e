"""What came of one question, as data for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from launcher.chat.types import ToolEnded, TurnEvent
from launcher.engines.types import EndDelta, FinishReason, NoteDelta, TextDelta, Timings, ToolCall, ToolCallDelta
from launcher.tools.types import ToolResult

SCHEMA = 1
"""Version of the JSON document and of the JSON lines."""


@dataclass(kw_only=True, slots=True)
class ScriptAnswer:
    """What came of a turn, collected from its events."""

    content: str = ""
    """Of the last answer of the engine: its final text, else its commentary."""
    reasoning: list[str] = field(default_factory=list)
    """Of each answer."""
    calls: list[ToolCall] = field(default_factory=list)
    results: dict[int, ToolResult] = field(default_factory=dict)
    """By the call's place among `calls`: a name such as call_1 comes again in the next answer."""
    notes: list[str] = field(default_factory=list)
    timings: list[Timings] = field(default_factory=list)
    finish_reason: FinishReason = "cancelled"
    _texts: dict[str, str] = field(default_factory=dict)

    def take(self, event: TurnEvent) -> None:
        """Note an event."""
        if isinstance(event, TextDelta):
            self._texts[event.channel] = self._texts.get(event.channel, "") + event.text
            self.content = self._texts.get("final") or self._texts.get("commentary", "")
        elif isinstance(event, ToolCallDelta):
            self.calls.append(event.call)
        elif isinstance(event, ToolEnded):
            same = [n for n, call in enumerate(self.calls) if call == event.call and n not in self.results]
            if same:
                self.results[same[0]] = event.result
        elif isinstance(event, NoteDelta):
            self.notes.append(event.text)
        elif isinstance(event, EndDelta):
            self.timings.append(event.timings)
            self.finish_reason = event.finish_reason
            self._close()

    def _close(self) -> None:
        """The next text is another answer's."""
        if thoughts := self._texts.get("analysis"):
            self.reasoning.append(thoughts)
        self._texts = {}

    def thoughts(self) -> str:
        """All reasoning, also of an answer that never ended."""
        return "\n\n".join([*self.reasoning, *([self._texts["analysis"]] if self._texts.get("analysis") else [])])


def answer_record(
    answer: ScriptAnswer,
    *,
    model: str,
    engine: str,
    conversation: int | str | None = None,
    finish_reason: FinishReason | None = None,
    with_schema: bool = False,
) -> dict[str, Any]:
    """The JSON document of one question.

    Args:
        answer: What came of it.
        model: Who answered.
        engine: `embedded` or `server`.
        conversation: Its id in the history; None: not kept.
        finish_reason: How the turn ended, where that is not how its last answer did.
        with_schema: Whether the answer is to be JSON: adds `parsed`, null where it is none.
    """
    calls = [
        {
            "id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "result": result_value(answer.results.get(number)),
        }
        for number, call in enumerate(answer.calls)
    ]
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "model": model,
        "engine": engine,
        "content": answer.content,
        "reasoning": answer.thoughts() or None,
        "tool_calls": calls,
        "finish_reason": finish_reason or answer.finish_reason,
        "usage": _usage(answer.timings),
        "timings": _timings(answer.timings),
        "conversation": conversation,
        "notes": list(answer.notes),
    }
    if with_schema:
        record["parsed"] = parsed_json(answer.content, record["finish_reason"])[1]
    return record


def result_value(result: ToolResult | None) -> dict[str, Any] | None:
    """What a call gave; None where it was not made."""
    if result is None:
        return None
    return {"text": result.text, "is_error": result.is_error, "elapsed_s": result.elapsed_s, "n_cut": result.n_cut}


def _usage(timings: Sequence[Timings]) -> dict[str, int] | None:
    """Tokens of all answers of a turn, as OpenAI counts: `prompt_tokens` include the cached ones."""
    if not timings:
        return None
    cached = sum(each.cache_n for each in timings)
    prompt = cached + sum(each.prompt_n for each in timings)
    completion = sum(each.predicted_n for each in timings)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "cached_tokens": cached,
    }


def _timings(timings: Sequence[Timings]) -> dict[str, float | int | None] | None:
    """Sums over all answers of a turn, in llama.cpp's words; `ttft_ms` is the first one's."""
    if not timings:
        return None
    whole = Timings(
        prompt_n=sum(each.prompt_n for each in timings),
        cache_n=sum(each.cache_n for each in timings),
        prompt_ms=sum(each.prompt_ms for each in timings),
        predicted_n=sum(each.predicted_n for each in timings),
        predicted_ms=sum(each.predicted_ms for each in timings),
        eval_ms=sum(each.eval_ms for each in timings),
        ttft_ms=timings[0].ttft_ms,
    )
    return {
        "cache_n": whole.cache_n,
        "prompt_n": whole.prompt_n,
        "prompt_ms": whole.prompt_ms,
        "prompt_per_second": whole.prompt_per_second,
        "predicted_n": whole.predicted_n,
        "predicted_ms": whole.predicted_ms,
        "predicted_per_second": whole.predicted_per_second,
        "eval_ms": whole.eval_ms,
        "ttft_ms": whole.ttft_ms,
    }


def parsed_json(text: str, reason: FinishReason) -> tuple[bool, Any]:
    """Whether an answer is a whole JSON text, and its value. Of a number that was cut off, digits may be missing."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False, None
    if reason in ("length", "cancelled") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return False, None
    return True, value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
