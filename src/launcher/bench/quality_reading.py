"""The text that a quality check reads, and which tokens of it are read and compared how. Pure, but for the file."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from launcher.bench.quality_types import Passage, Reading
from launcher.planner.types import LoadParams

_BETWEEN = "---\n"
_SKIPPED = 32
"""First positions of a text: with so little before them every setting guesses."""
_MOST_ROWS = 256
"""Rows of logits that one batch may take: of the largest vocabulary 0.2 GB in the graph, and as much beside it."""
_FEWEST_ROWS = 2
"""One position of so many is compared at most: half of a text tells as much as all of it, on half the disk."""
_CELLS = 256  # llama.cpp rounds a context up to so many (llama_context.cpp, GGML_PAD)

HARMONY = ("<|start|>user<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>", "<|end|>")
"""What stands before a question, between the two and after an answer in a chat of GPT OSS. Of bare text these models
expect nothing: their perplexity is tenfold there, and says little of chats."""
PLAIN = ("", "\n", "\n\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Tokens that are read from an empty context on."""

    tokens: tuple[int, ...]
    n_prompt: int
    """The first ones, in batches; the others one by one."""
    scored: frozenset[int]
    """Positions whose prediction of the next token is compared."""


def shipped_reading() -> Reading:
    """Prose, code, figures and six languages, some thousand tokens."""
    text = (files("launcher.bench") / "quality_text.txt").read_text(encoding="utf-8")
    parts = (part.rstrip("\n").partition("\n") for part in text.split(_BETWEEN))
    return Reading(passages=tuple(Passage(question=question, answer=answer) for question, _, answer in parts))


def passage_text(passage: Passage, marks: tuple[str, str, str]) -> str:
    """A passage with the marks of a chat around its parts; plain text as it is."""
    before, between, after = marks if passage.question else ("", "", "")
    return f"{before}{passage.question}{between}{passage.answer}{after}"


def windows_of(
    passages: Sequence[Sequence[int]], reading: Reading, *, bos: int | None, n_ubatch: int
) -> tuple[Window, ...]:
    """The windows of a tokenized text.

    Args:
        passages: tokens of each.
        reading: how they are read.
        bos: what a text begins with; None for vocabularies that begin with nothing.
        n_ubatch: the larger one of the two settings: how many positions of a batch are compared.
    """
    first = [] if bos is None else [bos]
    if reading.n_window is not None:
        return _halves([*first, *itertools.chain.from_iterable(passages)], reading.n_window, bos)
    n_all = sum(len(passage) for passage in passages) + len(first)
    share = min(1.0, reading.n_tokens / n_all) if n_all else 1.0
    tokens = (*first, *itertools.chain.from_iterable(passage[: int(len(passage) * share)] for passage in passages))
    n_prompt = max(0, len(tokens) - reading.n_decode)
    step = max(_FEWEST_ROWS, -(-min(n_ubatch, n_prompt) // _MOST_ROWS))
    last = len(tokens) - 1  # nothing follows it
    scored = {*range(min(_SKIPPED, n_prompt), n_prompt, step), *range(n_prompt, last)}
    return (Window(tokens=tokens, n_prompt=n_prompt, scored=frozenset(scored - {last})),)


def _halves(tokens: Sequence[int], size: int, bos: int | None) -> tuple[Window, ...]:
    """Whole windows of `size` tokens, each begun anew (tools/perplexity/perplexity.cpp, `kl_divergence`)."""
    scored = frozenset(range(size // 2, size - 1))
    starts = range(0, len(tokens) - size + 1, size)
    chunks = (tokens[start : start + size] for start in starts)
    return tuple(
        Window(tokens=tuple(chunk if bos is None else [bos, *chunk[1:]]), n_prompt=size, scored=scored)
        for chunk in chunks
    )


def batches_of(window: Window, n_ubatch: int) -> tuple[range, ...]:
    """Positions of each batch: the prompt by `n_ubatch`, then one by one."""
    prompt = (range(at, min(at + n_ubatch, window.n_prompt)) for at in range(0, window.n_prompt, n_ubatch))
    return (*prompt, *(range(at, at + 1) for at in range(window.n_prompt, len(window.tokens))))


def reading_params(params: LoadParams, windows: Sequence[Window]) -> LoadParams:
    """The setting with a context of one sequence that holds the windows, and room for the rows that are compared."""
    longest = max(len(window.tokens) for window in windows)
    n_ctx = -(-longest // _CELLS) * _CELLS
    n_ubatch = min(params.n_ubatch, n_ctx)
    rows = max(sum(at in window.scored for at in batch) for window in windows for batch in batches_of(window, n_ubatch))
    return replace(
        params,
        n_ctx=n_ctx,
        n_batch=n_ubatch,
        n_ubatch=n_ubatch,
        n_parallel=1,
        kv_unified=False,
        swa_full=False,
        n_outputs_max=max(1, rows),
    )
