"""The sentences under a plan: what was traded, and what would change it, with numbers. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from launcher.planner.explain import short_bytes
from launcher.planner.placement import N_UBATCH, Case, Placement, first_fit, place
from launcher.planner.search import GOOD_N_CTX, Machine, Weighed, speed
from launcher.planner.types import HOST, PlanRequest
from launcher.units import format_bytes

_WORTH_TELLING = 1.05  # times as fast: less is within the error of a prediction


def plan_notes(
    machine: Machine, weighed: Sequence[Weighed], winner: Weighed, request: PlanRequest, *, native_bpw: float
) -> tuple[str, ...]:
    """What was traded and what would change it, as sentences with numbers."""
    notes = [
        *_streamed(winner),
        *_here_already(weighed, winner),
        *_larger_model(machine, weighed, winner, request),
        *_context(machine, winner, request),
        *placement_notes(winner, request),
    ]
    if request.prefer == "quality":
        notes += _faster_class(weighed, winner, native_bpw=native_bpw)
        notes += _smaller_model(weighed, winner)
    notes += _other_devices(machine, winner)
    if winner.weights.basis != "header":
        notes.append(f"Weights are from the {winner.weights.basis}; the file's own header is read before it is loaded.")
    return tuple(notes)


def placement_notes(winner: Weighed, request: PlanRequest) -> tuple[str, ...]:
    """What is told of the placement itself, whatever else there was to choose from."""
    return (*_placement(winner, request), *_cache(winner, request), *_micro_batch(winner, request))


def _case(machine: Machine, weighed: Weighed, request: PlanRequest) -> Case:
    return Case(
        hardware=machine.hardware, spec=weighed.spec, weights=weighed.weights, request=request, rates=machine.rates
    )


def _streamed(winner: Weighed) -> Iterator[str]:
    host = winner.best.memory[-1]
    if winner.best.tier == "streamed":
        about = f", about {winner.tg_ts:.1f} tok/s" if winner.tg_ts is not None else ""
        yield (
            f"Streamed from disk: RAM is short by {format_bytes(host.streamed_bytes)} of the weights, which are read "
            f"again for every token{about}."
        )


def _here_already(weighed: Sequence[Weighed], winner: Weighed) -> Iterator[str]:
    """What would spare a download: the best file of the same model that is on this disk."""
    if winner.file.local_path is not None:
        return
    here = [
        w for w in weighed if w.fits and w.file.local_path is not None and w.weights.n_params == winner.weights.n_params
    ]
    if not here:
        return
    best = max(here, key=lambda w: w.weights.dense_bpw)
    where = f" in {best.file.found_in}" if best.file.found_in else ""
    size = f" of {format_bytes(winner.file.size_bytes)}" if winner.file.size_bytes else ""
    yield f"{best.file.quant} is on this disk{where}: --model {shlex.quote(best.file.name)} spares the download{size}."


def _larger_model(machine: Machine, weighed: Sequence[Weighed], winner: Weighed, request: PlanRequest) -> Iterator[str]:
    larger = [w for w in weighed if w.weights.n_params > winner.weights.n_params and not w.fits]
    if not larger:
        return
    closest = min(larger, key=lambda w: sum(r.used_bytes for r in w.best.memory))
    needs = " and ".join(
        f"{format_bytes(r.used_bytes + r.shared_bytes + r.headroom_bytes)} of {_memory(r.name)} "
        f"({format_bytes(r.free_bytes)} available)"
        for r in closest.best.memory
        if not r.fits
    )
    streamed = _if_streamed(machine, closest, request)
    yield f"{closest.file.model} would need {needs}{streamed}."


def _memory(name: str) -> str:
    return "RAM" if name == HOST else f"{name} memory"


def _if_streamed(machine: Machine, weighed: Weighed, request: PlanRequest) -> str:
    case = _case(machine, weighed, replace(request, streamed=True))
    found = first_fit(case, weighed.best.params.n_ctx) if request.load_mode in (None, "mmap") else None
    tg_ts = speed(machine, case, found) if found is not None else None
    return "" if tg_ts is None else f"; streamed from disk it would run at about {tg_ts:.1f} tok/s (--streamed)"


def _context(machine: Machine, winner: Weighed, request: PlanRequest) -> Iterator[str]:
    """Why the context is not whole: what is short, and what would keep it."""
    best, spec = winner.best, winner.spec
    if request.n_ctx is not None or winner.n_ctx >= spec.n_ctx_train:
        return
    case = _case(machine, winner, replace(request, type_k=best.params.type_k, type_v=best.params.type_v))
    whole = spec.n_ctx_train * (best.params.n_ctx // winner.n_ctx)
    wanted = place(best.tier, case, replace(best.params, n_ctx=whole, n_batch=min(best.params.n_batch, whole)))
    short = max(wanted.memory, key=short_bytes)
    said = f"n_ctx {whole} to {best.params.n_ctx}: {_memory(short.name)} was short by "
    said += format_bytes(max(0, short_bytes(short)))
    yield said + _what_would_keep(machine, case, winner, whole) + "."


def _what_would_keep(machine: Machine, case: Case, winner: Weighed, n_ctx: int) -> str:
    """The whole context by a slower placement, else by a smaller cache type."""
    best = winner.best
    kept = first_fit(case, n_ctx)
    if kept is not None and kept.tier != "streamed":
        tg_ts = speed(machine, case, kept)
        cost = "" if tg_ts is None or winner.tg_ts is None else f", at {tg_ts:.0f} instead of {winner.tg_ts:.0f} tok/s"
        return f"; {_difference(best, kept)} would keep it{cost}: --prefer context"
    small = replace(case, request=replace(case.request, type_k="q8_0", type_v="q8_0"))
    if best.params.type_k == "f16" and first_fit(small, n_ctx) is not None:
        return "; a cache in q8_0 would keep it: --cache-type-k q8_0 --cache-type-v q8_0"
    return ""


def _difference(best: Placement, kept: Placement) -> str:
    """How a slower placement differs, in a few words."""
    if best.tier == kept.tier == "cpu":
        return "weights without the repacked copy" if best.params.repack else "another load mode"
    if kept.params.devices and kept.tier != "partial":
        more = kept.params.n_cpu_moe - best.params.n_cpu_moe
        if more > 0:
            return f"{more} more expert {'layer' if more == 1 else 'layers'} on the CPU"
        return "more expert tensors on the CPU"
    return f"{kept.params.n_gpu_layers} layers on the GPU" if kept.params.devices else "the CPU alone"


def _placement(winner: Weighed, request: PlanRequest) -> Iterator[str]:
    params, spec, tier = winner.best.params, winner.spec, winner.best.tier
    tensors = ("", ", and the down projections of the next", ", and the down and gate projections of the next")
    if tier == "gpu+cpu-experts":
        part = tensors[params.n_cpu_moe_tensors]
        yield f"The experts of {params.n_cpu_moe} of {spec.n_layer} layers stay in RAM (n_cpu_moe){part}."
    elif tier == "partial":
        experts = ", all experts in RAM" if spec.n_expert and params.n_cpu_moe == spec.n_layer else ""
        yield f"{params.n_gpu_layers} of {spec.n_layer + 1} layers are on the GPU{experts}."
    elif tier == "cpu" and not params.repack and request.repack is None:
        yield "Experts keep their plain layout: a repacked copy, a third faster to decode, does not fit in RAM."
    elif tier == "cpu" and params.load_mode == "none" and request.load_mode is None:
        yield "Loaded without mmap: the mapped file beside the repacked experts does not fit in RAM."
    if len(params.devices) > 1:
        counts = ", ".join(f"{name} {share:g}" for name, share in zip(params.devices, params.tensor_split, strict=True))
        yield f"Layers by device (the output counts as one): {counts}."


def _cache(winner: Weighed, request: PlanRequest) -> Iterator[str]:
    if winner.best.params.type_k != "f16" and request.type_k is None and request.type_v is None:
        yield (
            f"The cache is in {winner.best.params.type_k}, about half of f16 and slightly less exact: in f16 a context "
            f"of {winner.n_ctx} tokens does not fit."
        )


def _micro_batch(winner: Weighed, request: PlanRequest) -> Iterator[str]:
    n_ubatch = winner.best.params.n_ubatch
    if n_ubatch > N_UBATCH and request.n_ubatch is None:
        yield f"n_ubatch {n_ubatch} instead of {N_UBATCH}: prompts are read faster, from memory that was left."


def _faster_class(weighed: Sequence[Weighed], winner: Weighed, *, native_bpw: float) -> Iterator[str]:
    if winner.tg_ts is None:
        return
    same = [
        (w.tg_ts, w)
        for w in weighed
        if w.fits
        and w.tg_ts is not None
        and w.weights.n_params == winner.weights.n_params
        and w.n_ctx >= min(GOOD_N_CTX, winner.n_ctx)
        and w.weights.dense_bpw >= native_bpw
    ]
    tg_ts, fastest = max(same, key=lambda pair: pair[0], default=(0.0, winner))
    if tg_ts < winner.tg_ts * _WORTH_TELLING:
        return
    bits = f"{fastest.weights.dense_bpw:.1f} instead of {winner.weights.dense_bpw:.1f} bits per dense weight"
    gain = tg_ts / winner.tg_ts - 1
    yield f"{fastest.file.quant}: about {gain:.0%} faster, at {bits}: --quant {fastest.file.quant}."


def _smaller_model(weighed: Sequence[Weighed], winner: Weighed) -> Iterator[str]:
    if winner.tg_ts is None:
        return
    smaller = [
        (w.tg_ts, w) for w in weighed if w.fits and w.tg_ts is not None and w.weights.n_params < winner.weights.n_params
    ]
    tg_ts, fastest = max(smaller, key=lambda pair: pair[0], default=(0.0, winner))
    if tg_ts >= winner.tg_ts * _WORTH_TELLING:
        yield (
            f"{fastest.file.model}: about {tg_ts:.0f} instead of {winner.tg_ts:.0f} tok/s: --prefer speed, or "
            f"--model {fastest.file.model.removeprefix('gpt-oss-')}."
        )


def _other_devices(machine: Machine, winner: Weighed) -> Iterator[str]:
    for idle in machine.hardware.idle_devices:
        yield f"{idle.description}: {idle.reason.removesuffix('.')}." + (f" Run: {idle.remedy}" if idle.remedy else "")
    used = winner.best.params.devices
    others = [d.name for d in machine.hardware.devices if d.name not in used and d.kind == "gpu"]
    if others and used:
        stay = "stays" if len(others) == 1 else "stay"
        yield f"Uses {', '.join(used)} alone; {', '.join(others)} {stay} idle."
