"""Chunks of a streamed chat completion, as deltas. Pure: documents in, deltas out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.engines.types import (
    ChatDelta,
    FinishReason,
    NoteDelta,
    PromptDelta,
    TextDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
)

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


@dataclass(slots=True)
class _Call:
    """A call whose arguments still come."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class AnswerReader:
    """Reads one answer. What is missing or of another type in a chunk counts as not said."""

    def __init__(self) -> None:
        self.reason: FinishReason | None = None
        """Why the model ended; None while it has not."""
        self.n_pieces = 0
        """Pieces of text and calls so far: about as many as tokens, where nobody counts them."""
        self._call: _Call | None = None
        self._n_calls = 0
        self._usage: Mapping[str, Any] = {}
        self._timings: Mapping[str, Any] = {}

    def feed(self, chunk: Mapping[str, Any]) -> Iterator[ChatDelta]:
        """The deltas of one chunk. A document that is not streamed is one chunk that says everything."""
        self._usage = _table(chunk.get("usage")) or self._usage
        self._timings = _table(chunk.get("timings")) or self._timings
        progress = _table(chunk.get("prompt_progress"))
        if progress:
            yield from self._progress(progress)
        choices = chunk.get("choices")
        for choice in choices[:1] if isinstance(choices, list) else ():
            table = _table(choice)
            yield from self._delta(_table(table.get("delta")) or _table(table.get("message")))
            reason = table.get("finish_reason")
            if isinstance(reason, str) and reason:
                yield from self._finish(reason)

    def end(self) -> Iterator[ChatDelta]:
        """What is still open at a proper end; a server that does not say why has stopped by itself."""
        if self.reason is None:
            yield from self._finish("stop")

    def timings(self, *, first_ms: float, total_ms: float) -> Timings:
        """The server's own timings where it sent them, else what was measured here: wall times, and usage.

        `first_ms` and `total_ms` are wall times from the request to the first token and to the end. A turn that was
        stopped has no usage: its tokens are the pieces that came.
        """
        own, usage = self._timings, self._usage
        if own:
            predicted_ms = _number(own.get("predicted_ms"))
            return Timings(
                prompt_n=_count(own.get("prompt_n")),
                cache_n=_count(own.get("cache_n")),
                prompt_ms=_number(own.get("prompt_ms")),
                predicted_n=_count(own.get("predicted_n")),
                predicted_ms=predicted_ms,
                eval_ms=predicted_ms,
                ttft_ms=first_ms,
            )
        n_prompt = _count(usage.get("prompt_tokens"))
        cache_n = min(n_prompt, _count(_table(usage.get("prompt_tokens_details")).get("cached_tokens")))
        decode_ms = max(0.0, total_ms - first_ms)
        return Timings(
            prompt_n=n_prompt - cache_n,
            cache_n=cache_n,
            prompt_ms=first_ms,
            predicted_n=_count(usage.get("completion_tokens")) if usage else self.n_pieces,
            predicted_ms=decode_ms,
            eval_ms=decode_ms,
            ttft_ms=first_ms,
        )

    def _progress(self, progress: Mapping[str, Any]) -> Iterator[ChatDelta]:
        """`total` and `processed` count what was reused (result_prompt_progress, tools/server/server-task.cpp)."""
        cache_n, total = _count(progress.get("cache")), _count(progress.get("total"))
        done = _count(progress.get("processed"))
        if self.n_pieces == 0 and cache_n <= done <= total and done > cache_n:
            yield PromptDelta(done_n=done - cache_n, total_n=total - cache_n)

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[ChatDelta]:
        # Some servers say the reasoning twice, by its old name and its new one.
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            self.n_pieces += 1
            yield TextDelta(channel="analysis", text=reasoning)
        content = delta.get("content")
        if isinstance(content, str) and content:
            self.n_pieces += 1
            yield TextDelta(channel="final", text=content)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self.n_pieces += 1
            yield TextDelta(channel="final", text=refusal)
        calls = delta.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            yield from self._call_piece(_table(call), position)

    def _call_piece(self, piece: Mapping[str, Any], position: int) -> Iterator[ChatDelta]:
        """Servers that do not stream calls give several of them one index, or none: another id is another call too."""
        self.n_pieces += 1
        function = _table(piece.get("function"))
        index, found_id = piece.get("index"), _text(piece.get("id"))
        index = index if isinstance(index, int) else position
        now = self._call
        if now is None or index != now.index or (found_id and now.id and found_id != now.id):
            yield from self._end_call()
            now = self._call = _Call(index)
        now.id = now.id or found_id
        now.name += _text(function.get("name"))
        now.arguments += _text(function.get("arguments"))

    def _end_call(self) -> Iterator[ChatDelta]:
        call, self._call = self._call, None
        if call is None:
            return
        self._n_calls += 1
        if not call.name:
            yield NoteDelta(text="the server sent a tool call without a name; it was left out")
            return
        made = ToolCall(id=call.id or f"call_{self._n_calls}", name=call.name, arguments=call.arguments or "{}")
        yield ToolCallDelta(call=made)

    def _finish(self, word: str) -> Iterator[ChatDelta]:
        yield from self._end_call()
        reason = _REASONS.get(word, "stop")
        if word not in _REASONS:
            yield NoteDelta(text=f"the server ended the answer early: {' '.join(word.split())[:60]}")
        # Not every server says that it ended for the sake of a call.
        self.reason = "tool_calls" if self._n_calls and reason == "stop" else reason


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0.0
