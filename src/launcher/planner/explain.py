"""Say why: the row of each candidate and the notes under a plan. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.hardware.types import Hardware
from launcher.planner.placement import Placement, chosen_device
from launcher.planner.types import Candidate, DeviceMemory, PlanRequest
from launcher.units import format_bytes

if TYPE_CHECKING:  # choose imports this module
    from launcher.planner.choose import Weighed


def shortfall_lines(placement: Placement) -> tuple[str, ...]:
    """What is needed and what is here, a line per device."""
    return tuple(_needs(row) for row in placement.memory)


def _needs(row: DeviceMemory) -> str:
    return (
        f"{row.name}: needs {format_bytes(row.used_bytes)} (model {format_bytes(row.model_bytes)}, context "
        f"{format_bytes(row.context_bytes)}, compute {format_bytes(row.compute_bytes)}, other "
        f"{format_bytes(row.overhead_bytes)}); available {format_bytes(row.free_bytes)} less "
        f"{format_bytes(row.headroom_bytes)} headroom"
    )


def worst_row(placement: Placement) -> DeviceMemory:
    """The row that is shortest of memory."""
    return max(placement.memory, key=_short_bytes)


def _short_bytes(row: DeviceMemory) -> int:
    return row.used_bytes - (row.free_bytes - row.headroom_bytes)


def candidate_row(weighed: Weighed, winner: Weighed, request: PlanRequest) -> Candidate:
    """One line of the table of candidates."""
    best = weighed.best
    fits = weighed.fits
    return Candidate(
        name=weighed.file.name,
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
        decode_tps=weighed.tps if fits else None,
        reason=_reason(weighed, winner, request),
    )


def _reason(weighed: Weighed, winner: Weighed, request: PlanRequest) -> str:
    bpw, won_bpw = weighed.weights.dense_bpw, winner.weights.dense_bpw
    n_params, won_n_params = weighed.weights.n_params, winner.weights.n_params
    if weighed is winner:
        reason = "chosen"
    elif not weighed.fits:
        row = worst_row(weighed.best)
        reason = f"{row.name} short by {format_bytes(_short_bytes(row))}"
    elif n_params > won_n_params or (request.prefer == "speed" and _is_slower(weighed, winner)):
        reason = "slower than the choice"  # a larger model that fits is passed over for speed alone
    elif n_params < won_n_params:
        reason = f"a smaller model than {winner.file.model}"
    elif weighed.best.tier_rank > winner.best.tier_rank or (
        weighed.best.speed_rank > winner.best.speed_rank and bpw >= won_bpw - 0.05
    ):
        reason = "needs a slower placement"
    elif weighed.best.params.n_ctx < winner.best.params.n_ctx and bpw >= won_bpw - 0.05:
        reason = f"only {weighed.best.params.n_ctx} tokens of context"
    elif bpw < won_bpw - 0.05:
        reason = "fewer bits"
    elif weighed.file.repo != winner.file.repo:
        reason = "the same class from another repository"
    else:
        reason = f"the same class as {winner.file.quant}"
    return reason


def _is_slower(weighed: Weighed, winner: Weighed) -> bool:
    return weighed.tps is not None and winner.tps is not None and weighed.tps.value < winner.tps.value


def plan_notes(
    hardware: Hardware,
    weighed: Sequence[Weighed],
    winner: Weighed,
    request: PlanRequest,
    *,
    good_n_ctx: int,
    native_bpw: float,
) -> tuple[str, ...]:
    """What was traded and what would change it, as sentences with numbers."""
    notes = [*_larger_model(weighed, winner), *_context(winner, request), *_placement(winner, request)]
    if request.prefer == "quality":
        notes += _faster_class(weighed, winner, good_n_ctx=good_n_ctx, native_bpw=native_bpw)
    for idle in hardware.idle_devices:
        notes.append(f"{idle.description}: {idle.reason}" + (f" Run: {idle.remedy}" if idle.remedy else ""))
    used = chosen_device(hardware)
    others = [d.name for d in hardware.devices if d is not used and d.kind == "gpu"]
    if others and used is not None and winner.best.params.devices:
        notes.append(f"Uses {used.name} alone; {', '.join(others)} {'stays' if len(others) == 1 else 'stay'} idle.")
    if winner.weights.basis != "header":
        notes.append(f"Weights are from the {winner.weights.basis}; the file's own header is read before it is loaded.")
    return tuple(notes)


def _larger_model(weighed: Sequence[Weighed], winner: Weighed) -> list[str]:
    larger = [w for w in weighed if w.weights.n_params > winner.weights.n_params and not w.fits]
    if not larger:
        return []
    closest = min(larger, key=lambda w: sum(r.used_bytes for r in w.best.memory))
    rows = [r for r in closest.best.memory if not r.fits]
    needs = " and ".join(
        f"{format_bytes(r.used_bytes + r.headroom_bytes)} of {r.name} memory ({format_bytes(r.free_bytes)} available)"
        for r in rows
    )
    return [f"{closest.file.model} would need {needs}."]


def _context(winner: Weighed, request: PlanRequest) -> list[str]:
    n_ctx = winner.best.params.n_ctx
    if request.n_ctx is not None or n_ctx >= winner.spec.n_ctx_train:
        return []
    return [
        f"n_ctx {n_ctx} instead of {winner.spec.n_ctx_train}: more does not fit beside the weights in this placement."
    ]


def _placement(winner: Weighed, request: PlanRequest) -> list[str]:
    params, spec = winner.best.params, winner.spec
    if winner.best.tier == "gpu+cpu-experts":
        return [f"The experts of {params.n_cpu_moe} of {spec.n_layer} layers stay in RAM (n_cpu_moe)."]
    if winner.best.tier == "partial":
        experts = ", all experts in RAM" if spec.n_expert and params.n_cpu_moe == spec.n_layer else ""
        return [f"{params.n_gpu_layers} of {spec.n_layer + 1} layers are on the GPU{experts}."]
    if winner.best.tier != "cpu":
        return []
    if not params.repack and request.repack is None:
        return ["Experts keep their plain layout: a repacked copy, a third faster to decode, does not fit in RAM."]
    if params.load_mode == "none" and request.load_mode is None:
        return ["Loaded without mmap: the mapped file beside the repacked experts does not fit in RAM."]
    return []


def _faster_class(weighed: Sequence[Weighed], winner: Weighed, *, good_n_ctx: int, native_bpw: float) -> list[str]:
    if winner.tps is None:
        return []
    same = [
        (w.tps.value, w)
        for w in weighed
        if w.fits
        and w.tps is not None
        and w.weights.n_params == winner.weights.n_params
        and w.best.params.n_ctx >= min(good_n_ctx, winner.best.params.n_ctx)
        and w.weights.dense_bpw >= native_bpw
    ]
    tps, fastest = max(same, key=lambda pair: pair[0], default=(0.0, winner))
    if tps < winner.tps.value * 1.05:
        return []
    gain = tps / winner.tps.value - 1
    bits = f"{fastest.weights.dense_bpw:.1f} instead of {winner.weights.dense_bpw:.1f} bits per dense weight"
    return [f"{fastest.file.quant}: about {gain:.0%} faster, at {bits}: --quant {fastest.file.quant}."]
