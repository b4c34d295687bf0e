"""Rates of devices that no table knows, from runs that were measured with them. Pure.

A run's time, less what its other terms take, is what the device's memory takes for a token, or its products for a
prompt. Of several runs the fastest counts: small models say more of what launching kernels takes than of the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from launcher.hardware.types import Hardware
from launcher.planner.costs import DEVICE_EFFICIENCY, DEVICE_FLOPS_EFFICIENCY, device_term, unit_costs
from launcher.planner.fit import seconds_of
from launcher.planner.types import Estimate, MeasuredRun, Rate, SpeedKind

_LEAST_SHARE = 0.1  # of a run's time: what is left for the device where the other terms claim all of it


def with_measured(rates: Mapping[str, Rate], hardware: Hardware, runs: Sequence[MeasuredRun]) -> dict[str, Rate]:
    """The rates, with those of this machine's devices that are not known as far as runs tell them.

    Args:
        rates: by device name, the host's among them.
        hardware: the machine.
        runs: measured with it.
    """
    found = dict(rates)
    for device in hardware.devices:
        rate = found.get(device.name, Rate())
        if rate.bandwidth is None:
            seen = _fastest(runs, "tg", device_term(device.name, "memory"), unit_costs(hardware, found))
            if seen is not None:
                per_s, date = seen
                basis = f"measured here: {per_s / 1e9:.3g} GB/s (gpt-oss bench, {date})"
                rate = replace(rate, bandwidth=Estimate(value=per_s / DEVICE_EFFICIENCY, basis=basis))
                found[device.name] = rate
        if rate.flops is None:
            seen = _fastest(runs, "pp", device_term(device.name, "product"), unit_costs(hardware, found))
            if seen is not None:
                per_s, date = seen
                basis = f"measured here: {per_s / 1e12:.3g} TFLOPS (gpt-oss bench, {date})"
                found[device.name] = replace(rate, flops=Estimate(value=per_s / DEVICE_FLOPS_EFFICIENCY, basis=basis))
    return found


def _fastest(
    runs: Sequence[MeasuredRun], kind: SpeedKind, term: str, costs: Mapping[str, float]
) -> tuple[float, str] | None:
    """How much of a term is done in a second, with the date of the run that shows it."""
    seen = [(per_s, run.date) for run in runs if run.kind == kind and (per_s := _per_s(run, term, costs)) is not None]
    return max(seen, default=None)


def _per_s(run: MeasuredRun, term: str, costs: Mapping[str, float]) -> float | None:
    with_it = [step for step in run.work if any(name == term for way in step for name, _ in way)]
    amount = sum(n for step in with_it for way in step for name, n in way if name == term)
    others = tuple(step for step in run.work if step not in with_it)
    rest_s = seconds_of(others, costs) if others else 0.0
    if not amount or rest_s is None or run.ts <= 0:
        return None
    took_s = run.n_tokens / run.ts
    return amount / max(took_s - rest_s, took_s * _LEAST_SHARE)
