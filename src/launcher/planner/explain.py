"""The row of each candidate, and what is missing where something does not fit. Pure."""

from __future__ import annotations

from launcher.planner.placement import Placement
from launcher.planner.search import Weighed
from launcher.planner.types import Candidate, DeviceMemory, PlanRequest
from launcher.units import format_bytes

_SAME_BPW = 0.05  # bits per dense weight within which two files are of one class


def shortfall_lines(placement: Placement) -> tuple[str, ...]:
    """What is needed and what is here, a line per device."""
    return tuple(_needs(row) for row in placement.memory)


def _needs(row: DeviceMemory) -> str:
    shared = f", devices {format_bytes(row.shared_bytes)}" if row.shared_bytes else ""
    return (
        f"{row.name}: needs {format_bytes(row.used_bytes + row.shared_bytes)} (model {format_bytes(row.model_bytes)}, "
        f"context {format_bytes(row.context_bytes)}, compute {format_bytes(row.compute_bytes)}, other "
        f"{format_bytes(row.overhead_bytes)}{shared}); available {format_bytes(row.free_bytes)} less "
        f"{format_bytes(row.headroom_bytes)} headroom"
    )


def worst_row(placement: Placement) -> DeviceMemory:
    """The row that is shortest of memory."""
    return max(placement.memory, key=short_bytes)


def short_bytes(row: DeviceMemory) -> int:
    """What a row lacks; negative where it has more than enough."""
    return row.headroom_bytes - row.left_bytes


def candidate_row(weighed: Weighed, winner: Weighed, request: PlanRequest) -> Candidate:
    """One line of the table of candidates."""
    best = weighed.best
    fits = weighed.fits
    return Candidate(
        name=weighed.file.name,
        repo=weighed.file.repo,
        model=weighed.file.model,
        quant=weighed.file.quant,
        size_bytes=weighed.file.size_bytes or weighed.weights.total_bytes,
        dense_bpw=weighed.weights.dense_bpw,
        on_disk=weighed.file.local_path is not None,
        fits=fits,
        tier=best.tier if fits else None,
        n_ctx=best.params.n_ctx if fits else None,
        n_gpu_layers=best.params.n_gpu_layers if fits else None,
        n_cpu_moe=best.params.n_cpu_moe if fits else None,
        used_bytes=sum(row.used_bytes for row in best.memory),
        tg_ts=weighed.tg_ts if fits else None,
        reason=_reason(weighed, winner, request),
    )


def _reason(weighed: Weighed, winner: Weighed, request: PlanRequest) -> str:
    bpw, won_bpw = weighed.weights.dense_bpw, winner.weights.dense_bpw
    if not weighed.fits:
        row = worst_row(weighed.best)
        reason = f"{row.name} short by {format_bytes(short_bytes(row))}"
    elif weighed is winner or (weighed.file is winner.file and winner.fits):
        reason = "chosen"
    elif request.min_tps is not None and (weighed.tg_ts or 0.0) < request.min_tps:
        reason = f"slower than {request.min_tps:g} tok/s" if weighed.tg_ts is not None else "its speed is not known"
    elif weighed.weights.n_params != winner.weights.n_params:
        reason = _other_model(weighed, winner, request)
    elif request.prefer == "speed" and _is_slower(weighed, winner):
        reason = "slower than the choice"
    elif weighed.best.tier_rank > winner.best.tier_rank or (
        weighed.best.speed_rank > winner.best.speed_rank and bpw >= won_bpw - _SAME_BPW
    ):
        reason = "needs a slower placement"
    elif weighed.n_ctx < winner.n_ctx and bpw >= won_bpw - _SAME_BPW:
        reason = f"only {weighed.n_ctx} tokens of context"
    elif bpw < won_bpw - _SAME_BPW:
        reason = "fewer bits"
    elif weighed.file.repo != winner.file.repo:
        reason = "the same class from another repository"
    else:
        reason = f"the same class as {winner.file.quant}"
    return reason


def _other_model(weighed: Weighed, winner: Weighed, request: PlanRequest) -> str:
    if weighed.weights.n_params > winner.weights.n_params or (
        request.prefer == "speed" and _is_slower(weighed, winner)
    ):
        return "slower than the choice"  # a larger model that fits is passed over for speed alone
    return f"a smaller model than {winner.file.model}"


def _is_slower(weighed: Weighed, winner: Weighed) -> bool:
    return weighed.tg_ts is not None and winner.tg_ts is not None and weighed.tg_ts < winner.tg_ts
