"""Which part of a prompt the KV cache already holds. Pure.

Sliding-window layers keep only the last `n_swa` positions (and the current micro-batch), so a prompt that branches off
earlier than that cannot simply continue: llama.cpp would answer the removal with success and an empty window. A copy of
the window taken where the last prompt ended (a checkpoint) brings it back: llama-server's rule (update_slots).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSpan:
    """What a saved window covers: positions `pos_min` to `n_tokens` - 1."""

    n_tokens: int
    pos_min: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reuse:
    """Keep `n_keep` cached tokens, after restoring checkpoint number `checkpoint` (None: the cache as it is)."""

    n_keep: int
    checkpoint: int | None


def common_prefix(cached: Sequence[int], prompt: Sequence[int]) -> int:
    """Length of the common beginning of two token sequences."""
    n = 0
    for a, b in zip(cached, prompt, strict=False):
        if a != b:
            break
        n += 1
    return n


def choose_reuse(
    cached: Sequence[int], prompt: Sequence[int], *, pos_min: int, n_swa: int, checkpoints: Sequence[WindowSpan]
) -> Reuse:
    """How much of `cached` serves `prompt`. At least one prompt token is always evaluated: its logits are needed.

    `pos_min` is the first position that the window half still holds (-1: empty). A window serves a continuation at
    position p if it holds p - n_swa + 1 and up, or everything from 0 (n_swa 0: full attention, any prefix serves).
    """
    n_common = min(common_prefix(cached, prompt), len(prompt) - 1)
    if n_common <= 0:
        return Reuse(n_keep=0, checkpoint=None)
    if n_swa == 0 or 0 <= pos_min <= max(0, n_common - n_swa + 1):
        return Reuse(n_keep=n_common, checkpoint=None)
    best = Reuse(n_keep=0, checkpoint=None)
    for i, span in enumerate(checkpoints):
        n_keep = min(span.n_tokens, n_common)
        # A window saved later than n_common only serves if it still reaches back far enough from there.
        if span.pos_min <= max(0, n_keep - n_swa + 1) and n_keep > best.n_keep:
            best = Reuse(n_keep=n_keep, checkpoint=i)
    return best
