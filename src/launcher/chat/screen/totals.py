"""The timings of a turn that took several answers of the engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.engines.types import Timings


def total_of(timings: Sequence[Timings]) -> Timings:
    """Work is added up; what was reused, and when the first token came, is told by the first answer."""
    first = timings[0]
    return Timings(
        prompt_n=sum(one.prompt_n for one in timings),
        cache_n=first.cache_n,
        prompt_ms=sum(one.prompt_ms for one in timings),
        predicted_n=sum(one.predicted_n for one in timings),
        predicted_ms=sum(one.predicted_ms for one in timings),
        eval_ms=sum(one.eval_ms for one in timings),
        ttft_ms=first.ttft_ms,
    )
