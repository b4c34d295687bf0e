"""The quality guard as the search wants it: a text that is short enough for the budget, and one clause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from launcher.bench.quality import compare_quality
from launcher.bench.quality_reading import shipped_reading
from launcher.planner.types import LoadParams
from launcher.tune.board import Judge, Verdict
from launcher.tune.types import Speeds

_PART = 1 / 20
"""Of the budget, for reading the text once; it is read by both settings."""
_LEAST, _MOST = 384, 1024
"""Tokens: fewer tell too little of how often the likeliest token stays the same."""
_N_DECODE = 32


def judge_of(model: Path, budget_s: float, *, site: str | None = None) -> Judge:
    """The guard for a model, within a budget; `site` is where the build of llama.cpp is, None the environment's."""
    size = _Size(budget_s)

    def check(reference: LoadParams, candidate: LoadParams) -> Verdict:
        reading = replace(shipped_reading(), n_tokens=size.n_tokens, n_decode=_N_DECODE)
        report = compare_quality(model, reference, candidate, reading=reading, site=site)
        return Verdict(passes=report.passes, text="; ".join(report.failures) or "answers stay the same")

    return Judge(check=check, takes_s=size.takes_s)


class _Size:
    """How much text is read: known once the plan's speed is."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self.n_tokens = _LEAST

    def takes_s(self, speeds: Speeds, load_s: float) -> float:
        """Two loads, two readings."""
        pp, tg = speeds.pp_ts or 1.0, speeds.tg_ts or 1.0
        self.n_tokens = int(min(max(pp * self._budget_s * _PART, _LEAST), _MOST))
        return 2 * (load_s + self.n_tokens / pp + _N_DECODE / tg)
