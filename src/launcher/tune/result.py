"""A search as the record that is kept, and what later plans take of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.planner.tuned import any_change
from launcher.planner.types import Changes, LoadParams, Tuned
from launcher.tune.search import Search, total_ratio
from launcher.tune.types import TuneResult, Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What was tuned, when."""

    model: str
    size_bytes: int
    date: str
    engine: str | None


def result_of(search: Search, plan: LoadParams, about: About, *, workload: Workload, budget_s: float) -> TuneResult:
    """What was found so far."""
    board = search.board
    confirmations = board.confirmations if board else []
    adopted: Changes | None = search.adopted if any_change(search.adopted) else None
    return TuneResult(
        model=about.model,
        size_bytes=about.size_bytes,
        date=about.date,
        engine=about.engine,
        workload=workload,
        budget_s=budget_s,
        took_s=search.spent_s,
        plan=plan,
        plan_speeds=search.speeds,
        trials=tuple(board.trials) if board else (),
        confirmations=tuple(confirmations),
        adopted=adopted,
        pp_ratio=total_ratio(confirmations, lambda one: one.prompt),
        tg_ratio=total_ratio(confirmations, lambda one: one.decode),
        notes=search.left_out,
        noise=max((noise.sd for noise in board.noise.values() if noise.n), default=None) if board else None,
        interrupted=search.interrupted or search.failure is not None,
    )


def tuned_of(result: TuneResult) -> Tuned | None:
    """What later plans take; None where the plan stays as it is."""
    if result.adopted is None:
        return None
    return Tuned(
        purpose=result.workload.purpose,
        changes=result.adopted,
        pp_ratio=result.pp_ratio,
        tg_ratio=result.tg_ratio,
        date=result.date,
        against=result.plan,
    )
