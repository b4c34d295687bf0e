"""llama.cpp's sampler chain for a Sampling record, and drawing tokens that a grammar allows."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from launcher.engines.harmony import HarmonyTokens, TurnParser
from launcher.engines.llama import LlamaModel
from launcher.engines.types import Sampling
from launcher.errors import EngineError


@contextmanager
def sampler_chain(llama_cpp: Any, sampling: Sampling) -> Iterator[Any]:
    """Yield a `llama_sampler` chain: top_k, top_p, min_p, temperature, then the draw.

    A stage that would change nothing (OpenAI's defaults for GPT OSS cut nothing) is left out: each costs a pass over
    n_vocab candidates per token. Temperature 0 is greedy. Seed None draws a fresh one (LLAMA_DEFAULT_SEED).
    """
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    stages = []
    if sampling.temperature <= 0:
        stages.append(llama_cpp.llama_sampler_init_greedy())
    else:
        if sampling.top_k > 0:
            stages.append(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1:
            stages.append(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            stages.append(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
        if sampling.temperature != 1:
            stages.append(llama_cpp.llama_sampler_init_temp(sampling.temperature))
        seed = llama_cpp.LLAMA_DEFAULT_SEED if sampling.seed is None else sampling.seed & 0xFFFFFFFF
        stages.append(llama_cpp.llama_sampler_init_dist(seed))
    for stage in stages:
        llama_cpp.llama_sampler_chain_add(chain, stage)
    try:
        yield chain
    finally:
        llama_cpp.llama_sampler_free(chain)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerTokens:
    """Tokens of one vocabulary by what they may do in an answer."""

    control: frozenset[int]
    """Control tokens, which are no text whatever their names are."""
    ends: frozenset[int]
    """Those that end a turn (llama.cpp's EOG set)."""
    answer_ends: frozenset[int]
    """Of these, those that may stand where the answer is complete."""

    @classmethod
    def of(cls, control: frozenset[int], ends: frozenset[int], harmony: HarmonyTokens | None) -> AnswerTokens:
        """Sort them: in Harmony a `<|call|>` ends a turn, though never an answer."""
        call = frozenset() if harmony is None else frozenset({harmony.call})
        return cls(control=control, ends=ends, answer_ends=ends - call)


class AnswerSampler:
    """Draws the tokens of a turn whose answer follows a grammar; reasoning and calls stay free.

    llama.cpp's lazy grammar is not used: it searches everything written so far for its trigger at every token, with
    `std::regex`, and ends the process where a token is accepted that the grammar does not allow. Here the parser of the
    stream tells where a token would stand, and the grammar is told nothing that it was not asked first:

    ==========  ===============================================================================
    place       what may be drawn
    ==========  ===============================================================================
    `answer`    what the grammar allows; no control token but one that ends the turn
    `text`      anything but the end of the turn: the answer is still to come
    `header`    likewise, and nothing that makes an answer of text without a header
    `call`      anything
    ==========  ===============================================================================

    As in llama.cpp's common_sampler_sample, a token is drawn first and checked then: a grammar takes many times as long
    over n_vocab candidates as over one, and a model mostly writes what it is asked for.
    """

    def __init__(self, llama_cpp: Any, model: LlamaModel, chain: Any, grammar: Any, tokens: AnswerTokens) -> None:
        """Made by `answer_sampler`."""
        import numpy as np

        self._lib = llama_cpp
        self._model = model
        self._chain = chain
        self._grammar = grammar
        self._tokens = tokens
        self._begun = b""  # a character of the answer that is not complete yet
        everything = np.arange(model.n_vocab, dtype=np.int32)
        self._not_ends = np.delete(everything, sorted(tokens.ends))
        self._answers = np.delete(everything, sorted(tokens.control - tokens.answer_ends))

    def draw(self, context: Any, parser: TurnParser) -> int | None:
        """Draw the token after the last one of a `llama_context`; None where none is allowed."""
        token = int(self._lib.llama_sampler_sample(self._chain, context, -1))
        if parser.place == "answer":
            return self._answer(context, token)
        if parser.place == "call":
            return token
        if token in self._tokens.ends:
            token = self._pick(self._candidates(context, self._not_ends))
        instead = parser.instead_of(token, self._model.piece(token))
        return self._pick(self._candidates(context, instead)) if instead else token

    def _answer(self, context: Any, drawn: int) -> int | None:
        """The drawn token where the grammar allows it, else one that it allows."""
        token: int | None = drawn
        named = drawn in self._tokens.control and drawn not in self._tokens.answer_ends
        if named or not self._is_text(drawn) or not self._allowed(self._candidates(context, [drawn])).size:
            token = self._pick_text(self._allowed(self._candidates(context, self._answers)))
        if token is not None:
            self._lib.llama_sampler_accept(self._grammar, token)
            self._begun = utf8_rest(self._begun + self._text(token)) or b""
        return token

    def _pick_text(self, candidates: Any) -> int | None:
        while candidates.size:
            token = self._pick(candidates.copy())  # a chain sorts and cuts what it is given
            if self._is_text(token):
                return token
            candidates = candidates[candidates["id"] != token]
        return None

    def _text(self, token: int) -> bytes:
        return b"" if token in self._tokens.ends else self._model.piece(token)

    def _is_text(self, token: int) -> bool:
        """Whether a token goes on with valid UTF-8, which llama.cpp's grammar takes for granted."""
        return utf8_rest(self._begun + self._text(token)) is not None

    def _candidates(self, context: Any, ids: Any) -> Any:
        """An array of `llama_token_data` for some tokens, with the logits of the last position."""
        import numpy as np

        logits = np.ctypeslib.as_array(self._lib.llama_get_logits_ith(context, -1), (self._model.n_vocab,))
        candidates = np.zeros(len(ids), dtype=[("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        candidates["id"] = ids
        candidates["logit"] = logits[candidates["id"]]
        return candidates

    def _allowed(self, candidates: Any) -> Any:
        """Those that the grammar allows: llama.cpp sets the logits of the others to minus infinity."""
        self._apply(self._grammar, candidates)
        return candidates[candidates["logit"] > float("-inf")]

    def _pick(self, candidates: Any) -> int:
        data = self._apply(self._chain, candidates)
        token = int(data.data[data.selected].id)
        self._lib.llama_sampler_accept(self._chain, token)
        return token

    def _apply(self, sampler: Any, candidates: Any) -> Any:
        data = self._lib.llama_token_data_array(
            data=candidates.ctypes.data_as(self._lib.llama_token_data_p),
            size=len(candidates),
            selected=-1,
            sorted=False,
        )
        self._lib.llama_sampler_apply(sampler, ctypes.byref(data))
        return data


def utf8_rest(data: bytes) -> bytes | None:
    """The beginning of a character that UTF-8 ends with, empty where it ends with a whole one; None: it is broken."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return data[error.start :] if error.reason == "unexpected end of data" else None
    return b""


@contextmanager
def answer_sampler(
    llama_cpp: Any, model: LlamaModel, sampling: Sampling, grammar: str, tokens: AnswerTokens
) -> Iterator[AnswerSampler]:
    """An `AnswerSampler` for one turn.

    Args:
        llama_cpp: The bindings.
        model: Whose tokens are drawn.
        sampling: How.
        grammar: In llama.cpp's language, with the rule `root`.
        tokens: What the model's tokens may do.

    Raises:
        EngineError: llama.cpp refuses the grammar.
    """
    pointer = llama_cpp.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
    if not pointer:
        raise EngineError("llama.cpp cannot hold an answer to this JSON schema", hint="gpt-oss chat --help")
    try:
        with sampler_chain(llama_cpp, sampling) as chain:
            yield AnswerSampler(llama_cpp, model, chain, pointer, tokens)
    finally:
        llama_cpp.llama_sampler_free(pointer)
