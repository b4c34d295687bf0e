"""A plan with the settings that won measured runs here: worked out anew with them, or left as it was. Pure.

What the request pins wins over what was tuned. Speeds are those of the plan without the changes times the measured
ratios; where the plan is not the one that was measured, or runs with these settings have calibrated the prediction,
they are predicted like those of any other plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from itertools import chain

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.planner.explain import short_bytes
from launcher.planner.notes import placement_notes
from launcher.planner.pins import model_flags
from launcher.planner.placement import Placement
from launcher.planner.search import Weighed
from launcher.planner.table import memory_table
from launcher.planner.throughput import predict, tier_of
from launcher.planner.tuned_speeds import calibrated, tuned_speeds
from launcher.planner.types import (
    HOST,
    AppliedTuned,
    Calibration,
    Changes,
    DeviceMemory,
    LoadParams,
    Plan,
    PlanRequest,
    Purpose,
    Rate,
    Tuned,
)
from launcher.units import format_bytes

_PLACEMENT = ("n_gpu_layers", "n_cpu_moe", "tensor_split", "split_mode")
"""Changes that say where weights lie: they go together."""
_FREE = frozenset({"n_ctx", "n_batch", "n_parallel", "kv_unified", "swa_full", "n_outputs_max"})
"""What two plans may have otherwise, and a ratio that was measured with one be claimed of the other."""
_UNQUANTIZED = ("f32", "f16", "bf16")
_LEAST = {"n_threads": 1, "n_threads_batch": 1, "n_batch": 1, "n_ubatch": 1, "n_gpu_layers": 0, "n_cpu_moe": 0}


def apply_tuned(
    plan: Plan,
    weights: ModelWeights,
    tuned: Tuned,
    request: PlanRequest,
    *,
    rates: Mapping[str, Rate],
    calibration: Calibration | None,
    purpose: Purpose | None = None,
) -> Plan:
    """The plan with the tuned settings and a note; where they cannot be taken, as it was with a note why.

    Args:
        plan: without tuned settings.
        weights: of its file.
        tuned: what won here, with this file.
        request: what the plan was made from.
        rates: of the machine.
        calibration: of the machine.
        purpose: what the plan is for, where `tuned` is of another one for want of better.
    """
    if not plan.fits:
        return plan
    about = f"tuned for {tuned.purpose} on {tuned.date}"
    if purpose not in (None, tuned.purpose):
        about += f" (nothing is for {purpose})"
    changes, doubt = _taken(plan, tuned, request)
    params = changed_params(plan.load_params, changes)
    overruled = doubt if not any_change(changes) else None
    why = overruled or contradiction(plan.spec, params, request) or _does_not_fit(plan, weights, params)
    if why is not None:
        note = f"Settings {about} are left out ({changes_text(tuned.changes)}): {why}."
        return replace(plan, notes=(note, *plan.notes))
    applied = AppliedTuned(
        purpose=tuned.purpose,
        date=tuned.date,
        changes=changes,
        pp_ratio=None if doubt else tuned.pp_ratio,
        tg_ratio=None if doubt else tuned.tg_ratio,
    )
    found = _with(plan, weights, params, applied, rates=rates, calibration=calibration)
    note = f"T{about[1:]}: {_bought(applied, doubt)} ({_explain(tuned.purpose, request)})."
    return replace(found, notes=(note, *_other_notes(plan, found, weights, request)))


def _with(
    plan: Plan,
    weights: ModelWeights,
    params: LoadParams,
    applied: AppliedTuned,
    *,
    rates: Mapping[str, Rate],
    calibration: Calibration | None,
) -> Plan:
    """The plan with these parameters: its tier, memory and speeds worked out anew."""
    spec, hardware = plan.spec, plan.hardware
    memory = _memory(plan, weights, params)
    streamed_bytes = memory[-1].streamed_bytes
    anew = predict(hardware, spec, weights, params, rates, streamed_bytes=streamed_bytes, calibration=calibration)
    return replace(
        plan,
        tier=tier_of(spec, params, streamed_bytes),
        load_params=params,
        memory=memory,
        throughput=tuned_speeds(plan.throughput, anew, applied, calibrated(plan, weights, params, calibration)),
        tuned=applied,
    )


def _memory(plan: Plan, weights: ModelWeights, params: LoadParams) -> tuple[DeviceMemory, ...]:
    return memory_table(plan.hardware, plan.spec, weights, params, streamed=plan.tier == "streamed")


def _does_not_fit(plan: Plan, weights: ModelWeights, params: LoadParams) -> str | None:
    """What is short of memory with these parameters, if anything is."""
    row = max(_memory(plan, weights, params), key=short_bytes)
    if row.fits:
        return None
    return f"{'RAM' if row.name == HOST else row.name} would be short by {format_bytes(short_bytes(row))}"


def any_change(changes: Changes) -> bool:
    """Whether anything is changed at all."""
    return changes != Changes()


def changes_text(changes: Changes) -> str:
    """`n_ubatch 1024, flash_attn off`; `nothing` where there is no change."""
    return ", ".join(f"{name} {_spelt(value)}" for name, value in _given(changes).items()) or "nothing"


def changed_params(params: LoadParams, changes: Changes) -> LoadParams:
    """The parameters with the changes, and with what follows from them; `contradiction` says whether they can be."""
    given = _given(changes)
    if "n_cpu_moe" in given:
        given["n_cpu_moe_tensors"] = 0  # whole blocks were measured
    if "n_ubatch" in given and "n_batch" not in given:
        given["n_batch"] = max(params.n_batch, changes.n_ubatch or 0)
    if "n_batch" in given and "n_ubatch" not in given:
        given["n_ubatch"] = min(params.n_ubatch, changes.n_batch or 0)
    if given.get("n_gpu_layers") == 0:
        alone = {"n_cpu_moe": 0, "n_cpu_moe_tensors": 0, "split_mode": "none", "tensor_split": (), "devices": ()}
        given.update(alone, offload_kqv=False)
    elif given.get("split_mode") == "none":
        given.update(devices=params.devices[:1], tensor_split=())
    return replace(params, **given)  # type: ignore[arg-type]  # of fields that both records have


def contradiction(spec: ModelSpec, params: LoadParams, request: PlanRequest) -> str | None:
    """Why these parameters cannot be, whatever memory there is; None where they can."""
    return next(chain(_of_sizes(params, request), _of_layers(spec, params)), None)


def _of_sizes(params: LoadParams, request: PlanRequest) -> Iterator[str]:
    for name, least in _LEAST.items():
        if getattr(params, name) < least:
            yield f"{name} {getattr(params, name)} is below {least}"
    for name in ("n_ubatch", "n_batch"):
        if getattr(params, name) > params.n_ctx:
            yield f"{name} {getattr(params, name)} is beyond the context of {params.n_ctx} tokens"
    if params.n_ubatch > params.n_batch:
        yield f"n_ubatch {params.n_ubatch} is above n_batch {params.n_batch}"
    if request.n_batch is not None and params.n_batch > request.n_batch:
        yield f"n_ubatch {params.n_ubatch} is above n_batch {request.n_batch}, which is pinned"
    if not params.flash_attn and params.type_v not in _UNQUANTIZED:
        # llama_init_from_model refuses it; of K any type will do.
        yield f"llama.cpp has no V cache in {params.type_v} without flash_attn"


def _of_layers(spec: ModelSpec, params: LoadParams) -> Iterator[str]:
    n_devices = len(params.devices)
    several = n_devices > 1
    if (params.n_gpu_layers or params.n_cpu_moe) and not n_devices:
        yield "layers were on a device, and this plan uses none"
    if params.n_cpu_moe > (spec.n_layer if spec.n_expert else 0):
        yield f"n_cpu_moe {params.n_cpu_moe} is more than there are"
    shares = params.tensor_split
    wrong = len(shares) != (n_devices if several else 0) or (several and (min(shares) < 0 or max(shares) <= 0))
    if wrong or params.split_mode != ("layer" if several else "none"):
        yield f"layers were shared out otherwise than over {n_devices} {'devices' if n_devices != 1 else 'device'}"


def _taken(plan: Plan, tuned: Tuned, request: PlanRequest) -> tuple[Changes, str | None]:
    """What of the changes this plan may take, and why their ratios are not claimed of it, if they are not."""
    given, doubt = _given(tuned.changes), None
    now, then = plan.load_params, tuned.against
    if then is not None and then.devices != now.devices:
        where = "the CPU alone" if not then.devices else "+".join(then.devices)
        return Changes(), f"they were measured on {where}"
    pinned = [name for name in given if _pin(request, name) is not None]
    overruled = [name for name in pinned if getattr(now, name) != given[name]]
    moved = then is not None and any(getattr(then, name) != getattr(now, name) for name in _moved())
    if moved or (then is None and request.devices is not None) or set(overruled) & set(_PLACEMENT):
        overruled += [name for name in _PLACEMENT if name in given and name not in overruled]
        doubt = "layers lie elsewhere than they did"
    if set(overruled) & set(pinned):
        names = list(dict.fromkeys(_pinned_as(name) for name in overruled if name in pinned))
        doubt = f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} pinned"
    elif doubt is None and then is not None:
        compared = (f.name for f in fields(LoadParams) if f.name not in _FREE)
        name = next((name for name in compared if getattr(then, name) != getattr(now, name)), None)
        doubt = None if name is None else f"the plan had {name} {_spelt(getattr(then, name))} then"
    kept = {name: value for name, value in given.items() if name not in overruled}
    return Changes(**kept), doubt  # type: ignore[arg-type]  # a part of its own fields


def _moved() -> tuple[str, ...]:
    return (*_PLACEMENT, "n_cpu_moe_tensors")


def _pin(request: PlanRequest, name: str) -> object:
    """What the request says of a setting; None where it leaves it open."""
    return getattr(request, _pinned_as(name), None)


def _pinned_as(name: str) -> str:
    return "n_threads" if name == "n_threads_batch" else name


def _given(changes: Changes) -> dict[str, object]:
    named = ((f.name, getattr(changes, f.name)) for f in fields(Changes))
    return {name: value for name, value in named if value is not None}


def _spelt(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(f"{share:g}" if isinstance(share, float) else str(share) for share in value) or "none"
    return str(value)


def _bought(applied: AppliedTuned, doubt: str | None) -> str:
    words = changes_text(applied.changes)
    if not any_change(applied.changes):
        return "nothing was better than the plan"
    if applied.pp_ratio is None or applied.tg_ratio is None:
        return f"{words}; what they gain here was not measured, as {doubt}"
    decoding = "decoding several sequences" if applied.purpose == "serve" else "decoding"
    return f"{words}; prompts {applied.pp_ratio:.2f}, {decoding} {applied.tg_ratio:.2f} of the plan without them"


def _explain(purpose: Purpose, request: PlanRequest) -> str:
    """The command that shows what each setting bought."""
    return f"gpt-oss tune{model_flags(request)}{'' if purpose == 'chat' else f' --for {purpose}'} --explain"


def _other_notes(plan: Plan, found: Plan, weights: ModelWeights, request: PlanRequest) -> tuple[str, ...]:
    """The plan's notes, with what they say of its placement said of the new one."""
    old = placement_notes(_weighed(plan, weights), request)
    tuned = {} if found.tuned is None else _given(found.tuned.changes)
    settled = {name: value for name, value in tuned.items() if name in _NOTED}
    new = placement_notes(_weighed(found, weights), replace(request, **settled))  # type: ignore[arg-type]
    at = next((i for i, note in enumerate(plan.notes) if note in old), len(plan.notes))
    rest = [note for note in plan.notes[at:] if note not in old]
    return (*plan.notes[:at], *new, *rest)


_NOTED = frozenset({"n_ubatch", "type_k", "type_v", "repack", "load_mode"})
"""Settings whose note says why the planner took them; one that was tuned was taken for another reason."""


def _weighed(plan: Plan, weights: ModelWeights) -> Weighed:
    best = Placement(tier=plan.tier, params=plan.load_params, memory=plan.memory, n_layer=plan.spec.n_layer)
    return Weighed(file=plan.file, spec=plan.spec, weights=weights, best=best, tg_ts=plan.tg_ts)
