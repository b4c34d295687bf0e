"""Speeds of a plan with tuned settings: measured ratios, or a prediction that has seen these settings. Pure."""

from __future__ import annotations

from launcher.catalogue.types import ModelWeights
from launcher.planner.throughput import recipe_of, settings_of
from launcher.planner.types import AppliedTuned, Calibration, Changes, LoadParams, Plan, SpeedKind, Throughput

_KINDS: tuple[SpeedKind, ...] = ("pp", "tg")


def tuned_speeds(
    planned: tuple[Throughput, ...], anew: tuple[Throughput, ...], applied: AppliedTuned, known: frozenset[SpeedKind]
) -> tuple[Throughput, ...]:
    """Speeds of one stream: those of the plan without changes times the ratios, but for what is known better.

    Args:
        planned: without the changes.
        anew: as any plan with these settings is predicted.
        applied: with the ratios. What several sequences gained together says nothing of one.
        known: what runs with these very settings have calibrated: a ratio on top would count the gain twice.
    """
    pp_ratio = None if "pp" in known else applied.pp_ratio
    tg_ratio = None if "tg" in known or applied.purpose == "serve" else applied.tg_ratio
    if applied.changes == Changes():
        return planned
    ratios = (("prompts", pp_ratio), ("decoding", tg_ratio))
    said = " and ".join(f"{what} {ratio:.2f}" for what, ratio in ratios if ratio is not None)
    said = f"; {said} times that, as tuned here on {applied.date}" if said else ""
    return tuple(
        Throughput(
            n_depth=row.n_depth,
            pp_ts=_times(row.pp_ts, pp_ratio, new.pp_ts),
            tg_ts=_times(row.tg_ts, tg_ratio, new.tg_ts),
            basis=f"{new.basis if known or not said else row.basis}{said}",
        )
        for row, new in zip(planned, anew, strict=True)
    )


def _times(planned: float | None, ratio: float | None, anew: float | None) -> float | None:
    if ratio is None:
        return anew
    return None if planned is None else planned * ratio


def calibrated(
    plan: Plan, weights: ModelWeights, params: LoadParams, calibration: Calibration | None
) -> frozenset[SpeedKind]:
    """Speeds that runs of this file with these settings have calibrated, and with those of the plan alone had not."""
    if calibration is None:
        return frozenset()
    recipe, found = recipe_of(plan.spec, weights), set[SpeedKind]()
    for kind in _KINDS:
        settings = settings_of(params, kind)
        left = calibration.residual(recipe, settings, kind)
        if left is not None and left.settings == settings != settings_of(plan.load_params, kind):
            found.add(kind)
    return frozenset(found)
