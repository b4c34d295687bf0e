"""How a request for several choices becomes one request for each, and their usage one. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from launcher.server.shield.types import Json, Usage

_RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's LLAMA_DEFAULT_SEED: another one is drawn for each turn."""


def one_by_one(asked: Json, n: int, *, seed: int) -> Iterator[Json]:
    """A request for each of `n` choices. Their seeds count up from the first, as llama-server's own do (`add_child`).

    Args:
        asked: the request for all.
        n: how many.
        seed: the server's own, for requests that name none.
    """
    # Of a slot that is asked for there is one.
    body = {key: value for key, value in asked.items() if key not in ("n", "n_cmpl", "id_slot")}
    given = body.get("seed")
    first = seed if given is None else given
    for index in range(n):
        fixed = isinstance(first, int) and first not in (-1, _RANDOM_SEED)
        yield {**body, "seed": (first + index) & _RANDOM_SEED} if fixed and index else body


def at_a_time(asked: Json, n: int, *, n_ctx: int) -> int:
    """How many of `n` choices may be asked for at once. All share `n_ctx`; a token is a byte or more."""
    return max(1, min(n, n_ctx // len(json.dumps(asked, ensure_ascii=False).encode())))


def total(used: Sequence[Usage]) -> Usage:
    """What all choices took: the prompt once, however often it was read."""
    return Usage(
        n_prompt=max((each.n_prompt for each in used), default=0),
        n_predicted=sum(each.n_predicted for each in used),
        n_cached=min((each.n_cached for each in used), default=0),
    )
