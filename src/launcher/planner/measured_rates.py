"""Rates of devices that no table knows, from runs that were measured with them. Pure.

A run's time, less what its other terms take, is what the device's memory takes for a token, or its products for a
prompt. Small models, and those that are mostly computed elsewhere, tell of what launching kernels takes, or of the
host: they do not count. Of several runs the fastest does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from launcher.hardware.types import Hardware
from launcher.planner.costs import DEVICE_EFFICIENCY, DEVICE_FLOPS_EFFICIENCY, device_term, unit_costs
from launcher.planner.fit import seconds_of
from launcher.planner.types import Estimate, MeasuredRun, Rate, SpeedKind
from launcher.units import MIB

_LEAST_SHARE = 0.5  # of a run's time that is left for the device
_LEAST = {"tg": 128 * MIB, "pp": 1e11}  # bytes of a token, operations of a prompt: a tenth of the 20b's or less


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
    if amount < _LEAST[run.kind] or rest_s is None or run.ts <= 0:
        return None
    took_s = run.n_tokens / run.ts
    left_s = took_s - rest_s
    return amount / left_s if left_s >= took_s * _LEAST_SHARE else None
