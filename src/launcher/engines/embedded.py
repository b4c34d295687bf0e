"""The embedded engine: a plan's model in this process, answering one conversation at a time.

A turn: render the messages through the model's template, reuse what the KV cache holds of the prompt, evaluate the
rest one micro-batch at a time, save the sliding window where the prompt ends (the next turn branches off there, since
past analysis is dropped from it), then decode, sample and parse token by token.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher.engines.active import load_llama_cpp
from launcher.engines.dialect import Dialect
from launcher.engines.grammar import grammar_of
from launcher.engines.harmony import TurnParser
from launcher.engines.harmony.template import PromptPiece
from launcher.engines.llama import LlamaContext, LlamaModel, LoadProgress, captured_log
from launcher.engines.prefix import WindowSpan, choose_reuse
from launcher.engines.runs import cut_runs
from launcher.engines.sampler import AnswerTokens, answer_sampler, sampler_chain
from launcher.engines.types import (
    ChatDelta,
    EndDelta,
    FinishReason,
    Message,
    NoteDelta,
    PromptDelta,
    Sampling,
    Timings,
)
from launcher.errors import EngineError
from launcher.planner.types import LoadParams

_MAX_CHECKPOINTS = 8  # 18 to 27 MiB each at n_ubatch 512: enough for /undo and /retry over the last turns


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    span: WindowSpan
    data: Any


class EmbeddedEngine:
    """An `Engine` on a loaded model. Made by `open_engine`; not for several threads at once, except `cancel`."""

    def __init__(
        self,
        llama_cpp: Any,
        context: LlamaContext,
        log: deque[str],
        *,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = lambda: datetime.now(UTC).astimezone(),
    ) -> None:
        self._lib = llama_cpp
        self._context = context
        self._model = context.model
        self.dialect = Dialect.of_model(context.model)
        self.log = log
        self._clock = clock
        self._now = now
        self._cancelled = threading.Event()
        self._cached: list[int] = []
        self._checkpoints: list[_Checkpoint] = []

    @property
    def n_ctx(self) -> int:
        """Tokens that one conversation may hold."""
        return self._context.n_ctx

    @property
    def context(self) -> LlamaContext:
        """The llama.cpp context, for measurements."""
        return self._context

    def cancel(self) -> None:
        """Stop the running turn within one token (or one graph node of a prompt on the CPU). Any thread, any time."""
        self._cancelled.set()

    def prompt_tokens(
        self, messages: Sequence[Message], sampling: Sampling, tools: Sequence[dict[str, Any]] = ()
    ) -> list[int]:
        """Token ids of the prompt that `chat` would evaluate for these messages."""
        pieces = self.dialect.render(messages, tools=tools, effort=sampling.reasoning_effort, now=self._now())
        return [token for piece in pieces for token in self._tokenize(piece)]

    def count_tokens(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        tools: Sequence[dict[str, Any]] = (),
        exact: bool = False,  # noqa: ARG002  # it always is
    ) -> int:
        """How many they are."""
        return len(self.prompt_tokens(messages, sampling, tools))

    def _tokenize(self, piece: PromptPiece) -> list[int]:
        if piece.trusted:
            return [t for part in cut_runs(piece.text) for t in self._model.tokenize(part, parse_special=True)]
        # llama.cpp keeps control tokens out of text only where they are of type CONTROL; Harmony's are retyped to
        # USER_DEFINED, which always match. Cut after its first character, the name of one matches nothing.
        head, tail = piece.text[:1], piece.text[1:]
        return [t for part in (head, tail) for t in self._model.tokenize(part, parse_special=False)]

    def chat(
        self, messages: Sequence[Message], sampling: Sampling, *, tools: Sequence[dict[str, Any]] = ()
    ) -> Iterator[ChatDelta]:
        """Stream one assistant turn; the last delta is an EndDelta. Closing the iterator stops the turn.

        Raises:
            EngineError: the prompt does not fit the context, or llama.cpp failed.
            UsageError: no answer can be held to the JSON schema.
        """
        grammar = None if sampling.json_schema is None else grammar_of(sampling.json_schema)
        self._cancelled.clear()  # here, not at the first delta: a cancel that comes in between must count
        return self._turn(messages, sampling, tools, grammar, self._clock())

    def _turn(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        tools: Sequence[dict[str, Any]],
        grammar: str | None,
        begin: float,
    ) -> Iterator[ChatDelta]:
        prompt = self.prompt_tokens(messages, sampling, tools)
        if len(prompt) >= self.n_ctx:
            raise EngineError(
                f"the conversation has {len(prompt)} tokens and the context holds {self.n_ctx}",
                hint=f"gpt-oss chat --ctx-size {len(prompt) * 2}",
            )
        n_keep = self._reuse(prompt)
        self._context.perf_reset()
        yield from self._evaluate(prompt, n_keep)
        prompt_ms = _eval_ms(self._context.perf())
        n_evaluated = len(self._cached) - n_keep
        stopped = len(self._cached) < len(prompt)
        if not stopped:
            self._save_checkpoint()
        turn = _Turn(begin=begin)
        parser = self.dialect.parser()
        reason: FinishReason = "cancelled"
        if not stopped:
            with self._draw(sampling, grammar, parser) as draw:
                reason = yield from self._generate(parser, sampling, turn, draw)
        yield from parser.finish(reason)
        yield EndDelta(
            finish_reason=parser.finish_reason or reason,
            timings=Timings(
                prompt_n=n_evaluated,
                cache_n=n_keep,
                prompt_ms=prompt_ms,
                predicted_n=turn.predicted_n,
                predicted_ms=turn.predicted_s * 1e3,
                eval_ms=_eval_ms(self._context.perf()) if not stopped else 0.0,
                ttft_ms=(turn.first - begin) * 1e3 if turn.first is not None else 0.0,
            ),
        )

    def _reuse(self, prompt: Sequence[int]) -> int:
        """Bring the cache to the longest beginning of `prompt` that it can serve; answers its length."""
        context = self._context
        reuse = choose_reuse(
            self._cached,
            prompt,
            pos_min=context.pos_min,
            n_swa=self._model.n_swa,
            checkpoints=[checkpoint.span for checkpoint in self._checkpoints],
        )
        n_keep = reuse.n_keep
        restored = reuse.checkpoint is None or context.restore_window(self._checkpoints[reuse.checkpoint].data)
        if not restored or n_keep == 0 or not context.remove_from(n_keep):
            context.clear()
            n_keep = 0
        self._cached = list(prompt[:n_keep])
        self._checkpoints = [c for c in self._checkpoints if c.span.n_tokens <= n_keep]
        return n_keep

    def _evaluate(self, prompt: Sequence[int], n_keep: int) -> Iterator[PromptDelta]:
        """Evaluate the prompt from `n_keep` on, a micro-batch at a time; stops early when cancelled."""
        step = self._context.n_ubatch

        @self._lib.ggml_abort_callback  # type: ignore[untyped-decorator]
        def abort(_data: object) -> bool:
            try:
                return self._cancelled.is_set()
            except KeyboardInterrupt:  # a Ctrl-C lands inside this callback where no handler is installed
                self._cancelled.set()
                return True

        # Only here: asked after every graph node, it would cost decoding a percent or two.
        self._context.set_abort(abort)
        try:
            for start in range(n_keep, len(prompt), step):
                chunk = prompt[start : start + step]
                done = self._context.decode(chunk, start, logits=start + len(chunk) == len(prompt))
                if not done:
                    self._context.remove_from(start)
                    return
                self._cached.extend(chunk)
                yield PromptDelta(done_n=len(self._cached) - n_keep, total_n=len(prompt) - n_keep)
        finally:
            self._context.set_abort(None)

    def _save_checkpoint(self) -> None:
        if self._model.n_swa == 0:
            return
        pos_min = self._context.pos_min
        span = WindowSpan(n_tokens=len(self._cached), pos_min=max(0, pos_min))
        self._checkpoints.append(_Checkpoint(span, self._context.save_window()))
        del self._checkpoints[:-_MAX_CHECKPOINTS]

    @contextmanager
    def _draw(self, sampling: Sampling, grammar: str | None, parser: TurnParser) -> Iterator[Callable[[], int | None]]:
        """What draws the next token of a turn; None where a grammar leaves none."""
        pointer, lib = self._context.pointer, self._lib
        if grammar is None:
            with sampler_chain(lib, sampling) as chain:
                yield lambda: int(lib.llama_sampler_sample(chain, pointer, -1))
            return
        tokens = AnswerTokens.of(self.dialect.control, self.dialect.ends, self.dialect.harmony)
        with answer_sampler(lib, self._model, sampling, grammar, tokens) as sampler:
            yield lambda: sampler.draw(pointer, parser)

    def _generate(
        self, parser: TurnParser, sampling: Sampling, turn: _Turn, draw: Callable[[], int | None]
    ) -> Generator[ChatDelta, None, FinishReason]:
        """Sample and decode until the model, the limit, the context or the user ends the turn."""
        context, model, clock = self._context, self._model, self._clock
        room = self.n_ctx - len(self._cached)
        limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        context.perf_reset()
        while turn.predicted_n < limit:
            if self._cancelled.is_set():
                return "cancelled"
            start = clock()
            token = draw()
            if token is None:
                yield NoteDelta(
                    text="nothing that the model can write satisfies the JSON schema: the answer stops here"
                )
                return "stop"
            turn.predicted_n += 1
            turn.first = turn.first or clock()
            deltas = parser.feed(token, model.piece(token))
            turn.predicted_s += clock() - start
            yield from deltas
            if parser.done or token in self.dialect.ends:
                return "stop"
            if turn.predicted_n == limit:
                break
            start = clock()
            context.decode((token,), len(self._cached), logits=True)
            self._cached.append(token)
            turn.predicted_s += clock() - start
        if limit == room:
            yield NoteDelta(text=f"the context of {self.n_ctx} tokens is full: the answer stops here")
        return "length"


@dataclass(slots=True)
class _Turn:
    """Counters of one running turn. Seconds by the engine's clock."""

    begin: float
    first: float | None = None
    predicted_n: int = 0
    predicted_s: float = 0.0


def _eval_ms(perf: Any) -> float:
    """Milliseconds in llama_decode: llama.cpp books batches of one token as eval, larger ones as prompt eval."""
    return float(perf.t_p_eval_ms + perf.t_eval_ms)


@contextmanager
def open_engine(
    path: Path,
    params: LoadParams,
    *,
    site: str | None = None,
    progress: LoadProgress | None = None,
    complain: Callable[[str], object] = lambda _: None,
) -> Iterator[EmbeddedEngine]:
    """Load a GGUF (the first part of a split one) and make it answer, with the build of llama.cpp in `site`.

    `complain` is told what llama.cpp logs as an error, before it may end the process.

    Raises:
        EngineError: llama.cpp cannot load it or allocate its context; `log` holds its last lines. Or the build itself
            cannot be loaded.
    """
    llama_cpp = load_llama_cpp(site)
    with (
        captured_log(llama_cpp, complain) as log,
        LlamaModel.load(llama_cpp, path, params, log, progress) as model,
        LlamaContext.open(llama_cpp, model, params, log) as context,
    ):
        yield EmbeddedEngine(llama_cpp, context, log)
