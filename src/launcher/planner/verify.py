"""Hold a plan's memory against llama.cpp's own statement of what it would allocate. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from launcher.catalogue.types import ModelWeights
from launcher.planner.compute import compute_buffers
from launcher.planner.memory import split_context, split_weights
from launcher.planner.types import HOST, Plan
from launcher.units import MIB

Part = Literal["model", "context", "compute"]
WITHIN_BYTES = 16 * MIB
WITHIN_PART = 0.01
_PARTS: tuple[Part, ...] = ("model", "context", "compute")


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifiedRow:
    """One part of one device's memory, as planned and as llama.cpp states it."""

    device: str
    part: Part
    planned_bytes: int
    stated_bytes: int
    ok: bool
    """The cache to the byte; weights and compute buffers within 1 % or 16 MiB; without experts no more than planned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """Every part of every device."""

    ok: bool
    stood_in: bool
    """Whether loopback servers stood for devices that this engine does not have."""
    rows: tuple[VerifiedRow, ...]
    note: str


def verify(
    plan: Plan, weights: ModelWeights, stated: Mapping[str, tuple[int, int, int]], *, stood_in: bool
) -> Verification:
    """Compare, as far as llama.cpp states it: weights once, the cache, compute buffers as `no_alloc` counts them.

    Args:
        plan: fitting or not.
        weights: of its file.
        stated: (model, context, compute) bytes by device name, all of the host's buffers as `CPU`.
        stood_in: whether remote devices stood for the plan's: they take no part of prompts with weights of the host.
    """
    params = plan.load_params
    named = {device.name: device.backend for device in plan.hardware.devices}
    backends = tuple("RPC" if stood_in else named[name] for name in params.devices)
    split, context = split_weights(plan.spec, weights, params), split_context(plan.spec, params)
    compute = compute_buffers(plan.spec, weights, params, backends=backends, no_alloc=True)
    model = (*split.device_bytes, split.host_bytes)
    rows = []
    for i, device in enumerate((*params.devices, HOST)):
        said = stated.get(device, (0, 0, 0))
        for part, ours, theirs in zip(_PARTS, (model[i], context[i], compute[i]), said, strict=True):
            room = 0 if part == "context" else max(WITHIN_BYTES, int(theirs * WITHIN_PART))
            ok = abs(ours - theirs) <= room
            if part == "compute" and not plan.spec.n_expert:  # a bound
                ok = ours >= theirs - room
            rows.append(VerifiedRow(device=device, part=part, planned_bytes=ours, stated_bytes=theirs, ok=ok))
    note = "Not compared: the repacked copy of weights, and what runtimes take beside llama.cpp's buffers."
    if not plan.spec.n_expert:
        note = f"Compute buffers of a model without experts are planned as a bound. {note}"
    if stood_in:
        names = ", ".join(params.devices)
        note = f"Loopback servers stood for {names}: they stage no experts for prompts, as a GPU does. {note}"
    return Verification(ok=all(row.ok for row in rows), stood_in=stood_in, rows=tuple(rows), note=note)
