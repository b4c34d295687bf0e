"""What the next useful upgrade would buy: the same wish on a machine with more memory or another GPU. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from launcher.errors import DoesNotFitError
from launcher.hardware.types import Device, Hardware, IdleDevice
from launcher.planner.types import Plan, Tier
from launcher.units import GIB

_RAM_STEPS_GIB = (8, 16, 32, 64, 128)
_UNIFIED_SIZES_GIB = (16, 24, 32, 36, 48, 64, 96, 128, 192, 256, 512)
_UNIFIED_STEPS = 6  # from 24 GB this reaches 128, which holds the 120b with its whole context
_FASTER = 1.25  # times as fast: less is no reason to buy
_GOOD_N_CTX = 32_768
_FREE_PART = 0.97  # of a new card: what a desktop leaves
_TIER_RANK = {"gpu": 0, "gpu+cpu-experts": 1, "partial": 2, "cpu": 3, "streamed": 4}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Card:
    """A common card of a size, so that an upgrade has a speed. Published figures."""

    description: str
    gib: int
    gb_per_s: float
    tflops: float


_CARDS = (
    _Card(description="NVIDIA GeForce RTX 4060", gib=8, gb_per_s=272, tflops=60),
    _Card(description="NVIDIA GeForce RTX 3060", gib=12, gb_per_s=360, tflops=25),
    _Card(description="NVIDIA GeForce RTX 5060 Ti", gib=16, gb_per_s=448, tflops=47),
    _Card(description="NVIDIA GeForce RTX 3090", gib=24, gb_per_s=936, tflops=71),
    _Card(description="NVIDIA GeForce RTX 5090", gib=32, gb_per_s=1792, tflops=210),
    _Card(description="NVIDIA RTX PRO 6000 Blackwell", gib=96, gb_per_s=1792, tflops=503),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Upgrade:
    """One change to a machine, with the plan that it makes possible."""

    change: str
    """`+32 GB RAM`."""
    gain: str
    """What it buys, in a sentence: `gpt-oss-120b at about 19 tok/s (now gpt-oss-20b at 38)`."""
    model: str
    tier: Tier
    n_ctx: int
    tg_ts: float | None


def what_if(hardware: Hardware, planner: Callable[[Hardware], Plan]) -> tuple[Upgrade, ...]:
    """The upgrades worth having, the smallest of each kind that changes something.

    Args:
        hardware: the machine as it is.
        planner: plans for a machine, the same wish for each; raises DoesNotFitError.
    """
    now = _planned(hardware, planner)
    found = []
    for kind in (_more_ram(hardware), _one_more(hardware), _cards(hardware)):
        best = now
        for change, machine in kind:
            then = _planned(machine, planner)
            gain = _gain(best, then) if then is not None else None
            if then is None or gain is None:
                continue
            best = then
            found.append(
                Upgrade(
                    change=change,
                    gain=f"{gain}{_now(now)}",
                    model=then.spec.id,
                    tier=then.tier,
                    n_ctx=then.load_params.n_ctx,
                    tg_ts=then.tg_ts,
                )
            )
    return tuple(found)


def gain_of(before: Plan | None, then: Plan) -> str | None:
    """What a plan has over the one of now, with that beside it; None where that is nothing to speak of.

    `gpt-oss-20b all on the GPU at about 180 tok/s (now gpt-oss-20b at 12)`.
    """
    gain = _gain(before, then)
    return None if gain is None or _is_slower(before, then) else f"{gain}{_now(before)}"


def _is_slower(before: Plan | None, then: Plan) -> bool:
    """Whether the same model would decode more slowly: a small model on a CPU may."""
    if before is None or before.spec.id != then.spec.id or before.tg_ts is None or then.tg_ts is None:
        return False
    return then.tg_ts < before.tg_ts


def with_idle_used(hardware: Hardware, backend: str, gpus: Sequence[IdleDevice]) -> Hardware | None:
    """The machine with an engine that computes on GPUs which lie idle; None where their memory is not known.

    Args:
        hardware: the machine as its best engine sees it.
        backend: ggml's registry name of the backend that would drive them.
        gpus: of one vendor.
    """
    for gpu in gpus:
        if gpu.total_bytes is None:
            return None
        free = gpu.free_bytes if gpu.free_bytes is not None else int(gpu.total_bytes * _FREE_PART)
        device = Device(
            name=_next_name(hardware, backend),
            description=gpu.description,
            backend=backend,
            kind="gpu",
            total_bytes=gpu.total_bytes,
            free_bytes=free,
            device_id=None,
            unified=False,
        )
        hardware = replace(hardware, devices=(*hardware.devices, device))
    left = tuple(idle for idle in hardware.idle_devices if idle not in gpus)
    return replace(hardware, idle_devices=left)


def _planned(machine: Hardware, planner: Callable[[Hardware], Plan]) -> Plan | None:
    try:
        return planner(machine)
    except DoesNotFitError:
        return None


def _gain(before: Plan | None, then: Plan) -> str | None:
    """What a plan has over the one before it; None where that is nothing to speak of."""
    about = "" if then.tg_ts is None else f" at about {then.tg_ts:.0f} tok/s"
    if before is None:
        return f"{then.spec.id}{about}"
    size, was = then.spec.n_layer * max(1, then.spec.n_expert), before.spec.n_layer * max(1, before.spec.n_expert)
    if size != was:
        return f"{then.spec.id}{about}" if size > was else None
    if _TIER_RANK[then.tier] < _TIER_RANK[before.tier]:
        where = {"gpu": "all on the GPU", "gpu+cpu-experts": "on the GPU, some experts in RAM"}
        return f"{then.spec.id} {where.get(then.tier, 'held in memory')}{about}"
    if then.tg_ts is not None and before.tg_ts is not None and then.tg_ts >= _FASTER * before.tg_ts:
        return f"{then.spec.id}{about}"
    n_ctx, was_n_ctx = then.load_params.n_ctx, before.load_params.n_ctx
    if n_ctx > was_n_ctx and (was_n_ctx < _GOOD_N_CTX or n_ctx == then.spec.n_ctx_train):
        return f"a context of {n_ctx} tokens with {then.spec.id}{about}"
    return None


def _now(now: Plan | None) -> str:
    if now is None:
        return " (now: nothing fits)"
    about = "" if now.tg_ts is None else f" at {now.tg_ts:.0f}"
    return f" (now {now.spec.id}{about})"


def _more_ram(hardware: Hardware) -> Iterator[tuple[str, Hardware]]:
    """More RAM; on machines whose GPU shares it, the next sizes that are sold."""
    memory = hardware.memory
    if memory.limit_bytes is not None:
        return  # a container's limit is not lifted by buying
    if any(device.unified for device in hardware.devices):
        sizes = [size for size in _UNIFIED_SIZES_GIB if size * GIB > memory.total_bytes * 1.05]
        for size in sizes[:_UNIFIED_STEPS]:
            yield f"{size} GB of memory instead of {round(memory.total_bytes / GIB)}", _grown(hardware, size * GIB)
        return
    for step in _RAM_STEPS_GIB:
        yield f"+{step} GB RAM", _grown(hardware, memory.total_bytes + step * GIB)


def _grown(hardware: Hardware, total_bytes: int) -> Hardware:
    more = total_bytes - hardware.memory.total_bytes
    memory = replace(hardware.memory, total_bytes=total_bytes, available_bytes=hardware.memory.available_bytes + more)
    factor = total_bytes / hardware.memory.total_bytes
    devices = tuple(
        replace(
            device,
            total_bytes=int(device.total_bytes * factor),
            free_bytes=device.free_bytes + int(device.total_bytes * factor) - device.total_bytes,
        )
        if device.unified
        else device
        for device in hardware.devices
    )
    return replace(hardware, memory=memory, devices=devices)


def _one_more(hardware: Hardware) -> Iterator[tuple[str, Hardware]]:
    """A second GPU like the one that is there."""
    gpus = [device for device in hardware.devices if device.kind == "gpu" and not device.unified]
    if gpus:
        best = max(gpus, key=lambda device: device.total_bytes)
        again = replace(best, name=_next_name(hardware, best.backend), device_id=None)
        yield f"another {best.description}", replace(hardware, devices=(*hardware.devices, again))


def _cards(hardware: Hardware) -> Iterator[tuple[str, Hardware]]:
    """A larger GPU in place of those that are there, or a first one."""
    if any(device.backend == "MTL" for device in hardware.devices):
        return
    largest = max((d.total_bytes for d in hardware.devices if not d.unified), default=0)
    instead = " in place of what is there" if largest else ""
    for card in _CARDS:
        if card.gib * GIB <= largest:
            continue
        device = Device(
            name="CUDA0",
            description=card.description,
            backend="CUDA",
            kind="gpu",
            total_bytes=card.gib * GIB,
            free_bytes=int(card.gib * GIB * _FREE_PART),
            device_id=None,
            unified=False,
            bandwidth_bytes_per_s=card.gb_per_s * 1e9,
            flops=card.tflops * 1e12,
        )
        change = f"{card.description} ({card.gib} GB){instead}"
        yield change, replace(hardware, devices=(device,), idle_devices=())


def _next_name(hardware: Hardware, backend: str) -> str:
    taken = {device.name for device in hardware.devices}
    return next(name for i in range(len(taken) + 1) if (name := f"{backend}{i}") not in taken)
