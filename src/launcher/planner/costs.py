"""The unit costs of the model of speed: what a byte, an operation, a block takes, by term. Pure.

The constants and what they rest on are in the planner's README. Runs measured on a machine scale them (`fit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from launcher.hardware.types import Cpu, Hardware
from launcher.planner.types import HOST, Calibration, Rate

DEVICE_EFFICIENCY = 0.80  # of a device's published bandwidth that decoding draws, beside the cost per block
HOST_EFFICIENCY = 0.65  # of RAM's published bandwidth
MEASURED_EFFICIENCY = 1.0  # of RAM's bandwidth as measured here: the probe reads no faster than llama.cpp does
HOST_BYTES_PER_S_PER_THREAD = 26e9  # what one core draws while it decodes
HOST_DECODE_OPS = 67e9  # two for each weight: what one core multiplies while it decodes repacked weights
HOST_DECODE_PLAIN_OPS = 36e9  # the same in the file's layout
HOST_ATTEND_OPS = 15e9  # the same on the rows of the cache, head by head
PLAIN_LAYOUT_SLOWDOWN = 0.75  # weights on the CPU that are not repacked
BLOCK_S = {"MTL": 160e-6}  # fixed cost of a block, by ggml's backend name
DEFAULT_BLOCK_S = 75e-6
HOST_BLOCK_S = 20e-6  # a few dozen barriers of the CPU's threads
HOST_TOKEN_BLOCK_S = 3e-6  # of a prompt's token: norms, rotations, routing, which no product counts
HOP_S = 60e-6  # activations from one device to the next, or to the host: a copy and a wait
DEVICE_FLOPS_EFFICIENCY = 0.40
LINK_BYTES_PER_S = 16e9  # host to device, for prompts whose experts lie in RAM: PCIe 4.0 with 16 lanes at half its rate
CORE_FLOPS = {"AMX_INT8": 130e9, "AVX512": 66e9, "AVX2": 39e9, "MATMUL_INT8": 57e9, "DOTPROD": 35e9}
DEFAULT_CORE_FLOPS = 14e9
ATTENTION_SLOWDOWN = 0.7  # of a prompt: no weights, but f16 rows of the cache
PLAIN_FLOPS_SLOWDOWN = 0.67  # prompts on weights that are not repacked

RAM, DISK, HOP, LINK = "CPU memory", "disk", "hop", "link"
DRAW, ATTEND = "CPU draw", "CPU attention, one token"
DECODE, DECODE_PLAIN = "CPU decode", "CPU decode, plain"
BLOCK, TOKEN_BLOCK = "CPU block", "CPU token and block"
PRODUCT, PRODUCT_PLAIN, ATTENTION = "CPU product", "CPU product, plain", "CPU attention"
"""Terms of the host. What a device does is named after it: see `device_term`."""

Unit = Literal["B/s", "op/s", "s"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One term as it ships and as measured runs have it, in the unit that a person knows it by."""

    term: str
    what: str
    unit: Unit
    shipped: float
    fitted: float
    n_runs: int
    """Kept runs that it counts in; 0 where none tells of it."""


_WHAT: dict[str, tuple[Unit, str]] = {
    RAM: ("B/s", "what RAM gives all threads"),
    DRAW: ("B/s", "weights that one thread reads while it decodes"),
    DECODE: ("op/s", "of one thread while it decodes repacked weights"),
    DECODE_PLAIN: ("op/s", "the same of weights in the file's layout"),
    ATTEND: ("op/s", "the same in the attention of one token, by one thread"),
    BLOCK: ("s", "fixed cost of a block, for each token or micro-batch"),
    TOKEN_BLOCK: ("s", "of a prompt's token in a block, on one thread, beside products and attention"),
    PRODUCT: ("op/s", "of one core: prompts on repacked weights"),
    PRODUCT_PLAIN: ("op/s", "the same on weights in the file's layout"),
    ATTENTION: ("op/s", "the same in a prompt's attention"),
    HOP: ("s", "activations from one memory to another"),
    LINK: ("B/s", "weights from RAM to a device"),
    DISK: ("B/s", "weights from disk"),
}
_DEVICE_WHAT: dict[str, tuple[Unit, str]] = {
    "memory": ("B/s", "what its memory gives while decoding"),
    "block": ("s", "fixed cost of a block"),
    "product": ("op/s", "in prompts"),
}
LEFT_ALONE = frozenset({DISK})
"""Terms that no run calibrates: streamed plans never do, since the page cache decides how much the disk is asked."""

_SPREAD = {"memory": 0.3, DRAW: 0.3, DECODE: 0.4, DECODE_PLAIN: 0.4, PRODUCT: 0.5, PRODUCT_PLAIN: 0.5, "product": 0.5}
_OTHER_SPREAD, _LEAST_KNOWN_SPREAD = 0.5, 1.0


def device_term(name: str, kind: Literal["memory", "block", "product"]) -> str:
    """The term of a device: `CUDA0 memory`."""
    return f"{name} {kind}"


def spread(term: str) -> float:
    """How far the shipped cost of a term may be off: one standard deviation of its logarithm."""
    if term == TOKEN_BLOCK:
        return _LEAST_KNOWN_SPREAD
    return _SPREAD.get(term, _SPREAD.get(term.rpartition(" ")[2], _OTHER_SPREAD))


def core_flops(cpu: Cpu) -> float:
    """Operations per second that one core does on quantized products, by its widest instruction set."""
    return next((flops for name, flops in CORE_FLOPS.items() if name in cpu.isa), DEFAULT_CORE_FLOPS)


def unit_costs(hardware: Hardware, rates: Mapping[str, Rate]) -> dict[str, float]:
    """Seconds per byte, operation or block of every term, as shipped; a term whose rate is not known is left out."""
    flops = core_flops(hardware.cpu)
    costs = {
        DRAW: 1 / HOST_BYTES_PER_S_PER_THREAD,
        DECODE: 1 / HOST_DECODE_OPS,
        DECODE_PLAIN: 1 / HOST_DECODE_PLAIN_OPS,
        ATTEND: 1 / HOST_ATTEND_OPS,
        BLOCK: HOST_BLOCK_S,
        TOKEN_BLOCK: HOST_TOKEN_BLOCK_S,
        PRODUCT: 1 / flops,
        PRODUCT_PLAIN: 1 / (flops * PLAIN_FLOPS_SLOWDOWN),
        ATTENTION: 1 / (flops * ATTENTION_SLOWDOWN),
        HOP: HOP_S,
        LINK: 1 / LINK_BYTES_PER_S,
    }
    ram, disk = rates.get(HOST), rates.get("disk")
    if ram is not None and ram.bandwidth is not None and ram.bandwidth.value > 0:
        costs[RAM] = 1 / (ram.bandwidth.value * (MEASURED_EFFICIENCY if ram.measured else HOST_EFFICIENCY))
    if disk is not None and disk.bandwidth is not None and disk.bandwidth.value > 0:
        costs[DISK] = 1 / disk.bandwidth.value
    for device in hardware.devices:
        costs[device_term(device.name, "block")] = BLOCK_S.get(device.backend, DEFAULT_BLOCK_S)
        known = rates.get(device.name)
        if known is not None and known.bandwidth is not None and known.bandwidth.value > 0:
            costs[device_term(device.name, "memory")] = 1 / (known.bandwidth.value * DEVICE_EFFICIENCY)
        if known is not None and known.flops is not None and known.flops.value > 0:
            costs[device_term(device.name, "product")] = 1 / (known.flops.value * DEVICE_FLOPS_EFFICIENCY)
    return costs


def figures(shipped: Mapping[str, float], calibration: Calibration | None) -> tuple[Figure, ...]:
    """Every term as it ships beside what measured runs made of it."""
    fitted = {cost.term: cost for cost in calibration.costs} if calibration is not None else {}
    found = []
    for term, cost in shipped.items():
        unit, what = _WHAT.get(term) or _DEVICE_WHAT[term.rpartition(" ")[2]]
        mine = fitted.get(term)
        now = cost * (mine.factor if mine is not None else 1.0)
        found.append(
            Figure(
                term=term,
                what=what,
                unit=unit,
                shipped=cost if unit == "s" else 1 / cost,
                fitted=now if unit == "s" else 1 / now,
                n_runs=mine.n_runs if mine is not None else 0,
            )
        )
    return tuple(found)
