"""Which devices may share a model, and how its layers are dealt out among them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from launcher.errors import UsageError
from launcher.hardware.types import Device, Hardware
from launcher.planner.types import PlanRequest, Rate

Team = tuple[Device, ...]
"""Devices that share a model, in ggml's order."""

_EVERY_SUBSET_UP_TO = 3  # devices; of more, those with the most free memory join first
_HALVINGS = 12  # of the share of the slowest devices: finer than a layer of 37


def usable(hardware: Hardware, request: PlanRequest) -> tuple[Device, ...]:
    """The devices that a plan may use: those pinned, else the GPUs; integrated ones only where there is no other.

    Raises:
        UsageError: a pinned device is not there, or shares are not one per device.
    """
    named = {device.name: device for device in hardware.devices}
    if request.devices is not None:
        unknown = [name for name in request.devices if name not in named]
        if unknown:
            known = ", ".join(named) or "none"
            raise UsageError(f"--device {unknown[0]}: this engine's devices are: {known}", hint="gpt-oss hardware")
        chosen = tuple(device for device in hardware.devices if device.name in request.devices)
    else:
        gpus = [d for d in hardware.devices if d.kind == "gpu"] or [d for d in hardware.devices if d.kind == "igpu"]
        chosen = tuple(gpus)
    shares = request.tensor_split
    if shares is None:
        return chosen
    if len(shares) != len(chosen) or len(chosen) < 2:
        found = ", ".join(device.name for device in chosen) or "none"
        raise UsageError(
            f"--tensor-split takes a share for each of at least two devices, and got {len(shares)} for: {found}",
            hint="gpt-oss plan --tensor-split 1,1 --device CUDA0,CUDA1",
        )
    if min(shares) < 0 or max(shares) <= 0:
        raise UsageError(
            "--tensor-split takes shares that are not negative, one of them above 0",
            hint="gpt-oss plan --tensor-split 1,1",
        )
    return tuple(device for device, share in zip(chosen, shares, strict=True) if share > 0)


def teams(devices: Sequence[Device], rates: Mapping[str, Rate]) -> tuple[Team, ...]:
    """Sets of devices worth trying: the fewest devices first, of equally many the fastest, then the largest.

    Of equal devices one set of each size is enough. Of more than three, the larger sets are those with the most free
    memory.
    """
    if len(devices) <= _EVERY_SUBSET_UP_TO:
        sets = [team for size in range(1, len(devices) + 1) for team in combinations(devices, size)]
    else:
        by_memory = sorted(devices, key=lambda d: -d.free_bytes)
        singles: list[Team] = [(device,) for device in devices]
        sets = singles + [_in_order(by_memory[:size], devices) for size in range(2, len(devices) + 1)]
    distinct = {tuple(sorted(map(_kind, team))): team for team in reversed(sets)}
    return tuple(
        sorted(
            distinct.values(),
            key=lambda team: (
                len(team),
                -sum(bandwidth(device, rates) for device in team),
                -sum(device.free_bytes for device in team),
            ),
        )
    )


def _in_order(team: Sequence[Device], devices: Sequence[Device]) -> Team:
    return tuple(device for device in devices if device in team)


def _kind(device: Device) -> tuple[str, str, int, int]:
    return device.description, device.backend, device.total_bytes, device.free_bytes


def bandwidth(device: Device, rates: Mapping[str, Rate]) -> float:
    """Bytes/s of a device's memory; 0 where unknown."""
    rate = rates.get(device.name)
    return rate.bandwidth.value if rate is not None and rate.bandwidth is not None else 0.0


def deal(layers: Sequence[int], room: Sequence[int]) -> tuple[int, ...] | None:
    """How many consecutive layers each device takes, filled in order; None where they do not all find room.

    Args:
        layers: bytes of each offloaded layer, the output last.
        room: bytes that each device has for them.
    """
    counts = [0] * len(room)
    device, used = 0, 0
    for layer in layers:
        while used + layer > room[device]:
            device, used = device + 1, 0
            if device == len(room):
                return None
        used += layer
        counts[device] += 1
    return tuple(counts)


def deal_evenly(layers: Sequence[int], room: Sequence[int], speeds: Sequence[float]) -> tuple[int, ...] | None:
    """As `deal`, with the slowest devices filled no more than need be, and equal ones equally.

    Decoding reads each layer where it lies, so what the faster devices hold is read faster.
    """
    slowest = min(speeds)
    best = deal(layers, room)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS if best is not None else 0):
        share = (low + high) / 2
        found = deal(layers, [int(n * share) if s == slowest else n for n, s in zip(room, speeds, strict=True)])
        if found is None:
            low = share
        else:
            best, high = found, share
    return best
