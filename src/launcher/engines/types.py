"""What a chat engine is: messages in, a stream of deltas out, llama.cpp's own timings at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Channel = Literal["analysis", "commentary", "final"]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
ReasoningEffort = Literal["low", "medium", "high"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A function call that the model asked for. `arguments` is JSON text as the model wrote it, not yet trusted."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message of a conversation, in the roles of the OpenAI API."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str = ""
    reasoning: str | None = None
    """Analysis of an assistant message. Templates drop it from past turns, as Harmony prescribes."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    """Of a `tool` message: the function that answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are drawn. Defaults are OpenAI's for GPT OSS: temperature 1, nothing cut."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    max_tokens: int | None = None
    """None: until the model stops or the context is full."""
    reasoning_effort: ReasoningEffort | None = None
    """None leaves the template's default (medium)."""
    json_schema: str | None = None
    """JSON schema, as text, that the final answer (not the reasoning) follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """llama.cpp's timings of one turn, in its words."""

    prompt_n: int
    """Prompt tokens evaluated this turn."""
    cache_n: int
    """Prompt tokens reused from the KV cache."""
    prompt_ms: float
    predicted_n: int
    predicted_ms: float
    """Decoding and sampling, without the time that the reader of the stream takes."""
    eval_ms: float
    """Decoding alone (`llama_perf_context`, `t_eval_ms`): what llama-bench calls tg."""
    ttft_ms: float
    """Wall time from the call to the first token."""

    @property
    def prompt_per_second(self) -> float | None:
        """Prompt tokens per second; None where nothing was evaluated."""
        return self.prompt_n / self.prompt_ms * 1e3 if self.prompt_ms > 0 else None

    @property
    def predicted_per_second(self) -> float | None:
        """Decoded tokens per second; None where nothing was decoded."""
        return self.predicted_n / self.predicted_ms * 1e3 if self.predicted_ms > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDelta:
    """A piece of text of one channel."""

    channel: Channel
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallDelta:
    """A whole tool call, once its arguments are complete."""

    call: ToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class NoteDelta:
    """Something about the stream that the user should know: malformed output that was survived, a cut context."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptDelta:
    """Progress through a long prompt, before the first token."""

    done_n: int
    """Prompt tokens evaluated so far, without the reused ones."""
    total_n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EndDelta:
    """Always the last delta of a turn."""

    finish_reason: FinishReason
    timings: Timings


ChatDelta = PromptDelta | TextDelta | ToolCallDelta | NoteDelta | EndDelta


class Engine(Protocol):
    """Something that answers a conversation. Closing the iterator stops within one token."""

    @property
    def n_ctx(self) -> int | None:
        """Tokens that one conversation may hold; None where a server does not tell."""
        ...

    def count_tokens(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        tools: Sequence[dict[str, Any]] = (),
        exact: bool = False,
    ) -> int:
        """Tokens of the prompt that these messages make; an upper bound where they cannot be counted.

        Unless `exact` is asked for, a bound that is far below the context will do, and costs nothing.
        """
        ...

    def chat(
        self, messages: Sequence[Message], sampling: Sampling, *, tools: Sequence[dict[str, Any]] = ()
    ) -> Iterator[ChatDelta]:
        """Stream one assistant turn."""
        ...

    def cancel(self) -> None:
        """Stop the running turn within one token. Any thread, any time."""
        ...
