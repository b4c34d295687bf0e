"""An engine that repeats, for conversations: a word is a delta, and a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.engines.types import ChatDelta, EndDelta, FinishReason, Message, Sampling, TextDelta, Timings
from launcher.errors import EngineError

TIMINGS = Timings(prompt_n=1, cache_n=0, prompt_ms=1, predicted_n=1, predicted_ms=1, eval_ms=1, ttft_ms=1)


@dataclass
class FakeEngine:
    """Repeats the last question, and fails at the word `fail`. With a script it says that, a turn at a time."""

    n_ctx: int | None = 100
    fail: str = "fail"
    on_word: Callable[[str], None] = lambda word: None
    script: list[Sequence[ChatDelta]] = field(default_factory=list)
    asked: list[tuple[tuple[Message, ...], Sampling]] = field(default_factory=list)
    functions: list[list[str]] = field(default_factory=list)
    """Names of the tools that were offered each time."""
    cancelled: bool = False

    def count_tokens(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        tools: Sequence[dict[str, Any]] = (),
        exact: bool = False,
    ) -> int:
        return sum(len(message.content.split()) for message in messages) + len(tools)

    def cancel(self) -> None:
        self.cancelled = True

    def chat(
        self, messages: Sequence[Message], sampling: Sampling, *, tools: Sequence[dict[str, Any]] = ()
    ) -> Iterator[ChatDelta]:
        self.asked.append((tuple(messages), sampling))
        self.functions.append([tool["function"]["name"] for tool in tools])
        self.cancelled = False
        return iter(self.script.pop(0)) if self.script else self._stream(messages[-1].content)

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
