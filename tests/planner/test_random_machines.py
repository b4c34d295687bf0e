"""The rule against trying everything: random machines, every placement, no search."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from launcher.catalogue.types import Catalogue
from launcher.errors import DoesNotFitError
from launcher.hardware.types import Device, Hardware
from launcher.planner.choose import NATIVE_BPW
from launcher.planner.placement import Case, Placement, placements
from launcher.planner.search import GOOD_N_CTX, context_steps
from launcher.planner.types import HOST, Plan, PlanRequest
from launcher.units import GIB
from tests.builders import ARM_ISA, apple_machine, cpu_machine, gpu, gpu_machine, host_memory, machine
from tests.planner.builders import RATES, catalogue, make_plan

QUANTS = {"gpt-oss-20b": ("F16", "MXFP4", "Q4_K_M"), "gpt-oss-120b": ("F16", "MXFP4", "Q4_K_M")}


def few_files(hardware: Hardware) -> Catalogue:
    """Of each model three classes: above, at and below the native release."""
    whole = catalogue(ARM_ISA) if hardware.os == "Darwin" else catalogue()
    kept = {(f.model, f.quant): f for f in reversed(whole.files) if f.quant in QUANTS[f.model]}
    return replace(whole, files=tuple(f for f in whole.files if f in kept.values()))


def unified(ram_gib: float, device: Device, available_gib: float) -> Hardware:
    return machine(memory=host_memory(ram_gib, available_gib), devices=[device])


def drawn(chance: random.Random) -> Hardware:
    """A machine of any kind: 4 to 512 GB of RAM, no device to two, unified or not."""
    ram = chance.choice([4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512]) * chance.uniform(0.9, 1.0)
    kind = chance.choice(["cpu", "gpu", "gpu", "gpu", "two", "apple", "unified"])
    vram = chance.choice([4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 80, 96]) * chance.uniform(0.95, 1.0)
    if kind == "cpu":
        return cpu_machine(ram_gib=ram)
    if kind == "gpu":
        return gpu_machine(vram_gib=vram, ram_gib=ram)
    if kind == "two":
        other = chance.choice([vram, 8, 12, 24])
        return machine(memory=host_memory(ram), devices=[gpu(vram), gpu(other, index=1)])
    if kind == "apple":
        return apple_machine(ram_gib=max(ram, 8))
    carved = chance.random() < 0.5
    total = 96.0 if carved else 0.9 * max(ram, 8)
    device = gpu(total, total - 0.5, backend="Vulkan", unified=True)
    return unified(32 if carved else max(ram, 8), device, 26 if carved else 0.85 * max(ram, 8))


def best_by_trying(hardware: Hardware, files: Catalogue, prefer: str) -> tuple[Any, ...] | None:
    """The best key of the rule over every file, placement and context that fits, f16 caches alone."""
    best: tuple[Any, ...] | None = None
    for file in files.files:
        weights, spec = files.weights[file.name], files.specs[file.model]
        request = PlanRequest(prefer="context" if prefer == "context" else "quality", type_k="f16", type_v="f16")
        case = Case(hardware=hardware, spec=spec, weights=weights, request=request, rates=RATES)
        for n_ctx in context_steps(spec, request):
            for option in placements(case, n_ctx):
                if option.fits:
                    found = key(weights.n_params, weights.dense_bpw, option, prefer)
                    best = found if best is None or found > best else best
    return best


def key(n_params: int, dense_bpw: float, option: Placement, prefer: str) -> tuple[Any, ...]:
    """How good an option is by the rule, larger is better."""
    n_ctx = option.params.n_ctx
    enough = n_ctx if prefer == "context" else min(n_ctx, GOOD_N_CTX)
    native = dense_bpw >= NATIVE_BPW
    return n_params, enough, -option.tier_rank, native, -option.n_off, round(dense_bpw, 1), n_ctx


def key_of(found: Plan, files: Catalogue, prefer: str) -> tuple[Any, ...]:
    weights = files.weights[found.file.name]
    option = Placement(tier=found.tier, params=found.load_params, memory=found.memory, n_layer=found.spec.n_layer)
    return key(weights.n_params, weights.dense_bpw, option, prefer)


def check(seed: int) -> None:
    chance = random.Random(seed)
    hardware, prefer = drawn(chance), chance.choice(["quality", "quality", "context"])
    files = few_files(hardware)
    tried = best_by_trying(hardware, files, prefer)
    try:
        found = make_plan(hardware, files=files, prefer=prefer, type_k="f16", type_v="f16")
    except DoesNotFitError:
        assert tried is None, hardware
        return
    for row in found.memory:
        assert row.used_bytes + row.shared_bytes + row.headroom_bytes <= row.free_bytes, (row, hardware)
    assert tried is not None
    assert key_of(found, files, prefer) == tried, (hardware, prefer)


@pytest.mark.parametrize("seed", range(10))
def test_no_better_plan_fits(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_no_better_plan_fits_on_a_thousand_machines(block: int) -> None:
    for seed in range(50 * block, 50 * block + 50):
        check(seed)


# --- What must run where ---


def row_of(found: Plan, name: str) -> int:
    return next(row.left_bytes for row in found.memory if row.name == name)


@pytest.mark.parametrize(("vram", "n_gpus"), [(24, 1), (48, 1), (16, 1)])
def test_the_120b_on_a_gaming_pc_with_64_gb(vram: int, n_gpus: int) -> None:
    found = make_plan(gpu_machine(vram_gib=vram, n_gpus=n_gpus, ram_gib=62.6, available_gib=58))
    assert (found.file.model, found.tier) == ("gpt-oss-120b", "gpu+cpu-experts")
    assert 0 < found.load_params.n_cpu_moe < 36
    assert found.load_params.n_ctx >= GOOD_N_CTX
    assert row_of(found, HOST) > 0


@pytest.mark.parametrize(
    "hardware",
    [
        apple_machine(ram_gib=128, available_gib=120),
        unified(119.7, gpu(119.7, 115, unified=True), 115),
        unified(125, gpu(110, 109, backend="ROCm", unified=True), 119),
        unified(31.6, gpu(96, 95.5, backend="Vulkan", unified=True), 26),
        gpu_machine(vram_gib=48, n_gpus=2, ram_gib=128),
    ],
    ids=["apple", "spark", "strix halo", "strix halo, set aside", "2 x 48 GB"],
)
def test_the_120b_whole_on_128_gb_unified_and_on_two_gpus(hardware: Hardware) -> None:
    files = catalogue(ARM_ISA) if hardware.os == "Darwin" else None
    found = make_plan(hardware, files=files)
    assert (found.file.model, found.tier) == ("gpt-oss-120b", "gpu")
    if len(hardware.devices) > 1:
        assert sum(found.load_params.tensor_split) == found.spec.n_layer + 1


def test_the_20b_where_the_120b_does_not_fit() -> None:
    found = make_plan(gpu_machine(vram_gib=12, ram_gib=31.2, available_gib=27))
    assert found.file.model == "gpt-oss-20b"
    with pytest.raises(DoesNotFitError, match="gpt-oss-120b"):
        make_plan(
            gpu_machine(vram_gib=12, ram_gib=31.2, available_gib=27),
            files=replace(catalogue(), files=tuple(f for f in catalogue().files if f.model == "gpt-oss-120b")),
            model="120b",
        )


def test_the_20b_on_8_gb_of_gpu_and_16_gb_of_ram() -> None:
    found = make_plan(gpu_machine(vram_gib=8, ram_gib=15.7, available_gib=11.7))
    assert (found.file.model, found.tier) == ("gpt-oss-20b", "gpu+cpu-experts")
    assert 0 < found.load_params.n_cpu_moe < 24
    assert row_of(found, "CUDA0") >= 0.5 * GIB
