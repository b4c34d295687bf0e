"""Upgrades: only those that change the result, of equal results the smallest, and nothing that cannot be bought."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from launcher.catalogue.types import Catalogue
from launcher.hardware.types import Hardware
from launcher.planner.choose import plan
from launcher.planner.types import HOST, Estimate, Plan, PlanRequest, Rate
from launcher.planner.whatif import Upgrade, gain_of, what_if, with_idle_used
from launcher.units import GIB
from tests.builders import apple_machine, cpu_machine, gpu_machine, idle_gpu
from tests.planner.builders import catalogue, files_of


def planner(files: Catalogue | None = None, **wish: Any) -> Callable[[Hardware], Plan]:
    """Plans with the rates that devices state; 1 TB/s and 100 TFLOPS where one states none."""

    def planned(machine: Hardware) -> Plan:
        rates = {
            device.name: Rate(
                bandwidth=Estimate(value=device.bandwidth_bytes_per_s or 1e12, basis="test"),
                flops=Estimate(value=device.flops or 100e12, basis="test"),
            )
            for device in machine.devices
        }
        rates[HOST] = Rate(bandwidth=Estimate(value=60e9, basis="test"))
        return plan(machine, files or catalogue(machine.cpu.isa), PlanRequest(**wish), rates=rates)

    return planned


def upgrades(machine: Hardware, files: Catalogue | None = None, **wish: Any) -> dict[str, Upgrade]:
    return {upgrade.change: upgrade for upgrade in what_if(machine, planner(files, **wish))}


def test_ram_for_the_larger_model_the_smallest_step_that_does() -> None:
    found = upgrades(cpu_machine(ram_gib=32, available_gib=30))
    ram = [upgrade for change, upgrade in found.items() if change.endswith("RAM")]
    larger = next(upgrade for upgrade in ram if upgrade.model == "gpt-oss-120b")
    assert larger.change == "+32 GB RAM"
    assert {upgrade.model for upgrade in upgrades(cpu_machine(ram_gib=48, available_gib=46)).values()} >= {larger.model}
    assert larger.gain.startswith("gpt-oss-120b at about ")
    assert "(now gpt-oss-20b at " in larger.gain


def test_each_step_of_a_kind_is_better_than_the_one_before() -> None:
    found = list(upgrades(cpu_machine(ram_gib=32)).values())
    cards = [upgrade for upgrade in found if "GeForce" in upgrade.change]
    assert len(cards) >= 3
    speeds = [upgrade.tg_ts for upgrade in cards if upgrade.tg_ts is not None]
    assert speeds == sorted(speeds)
    assert cards[-1].tier == "gpu"


def test_where_nothing_fits_the_upgrades_say_what_would() -> None:
    found = upgrades(cpu_machine(ram_gib=8, available_gib=5))
    assert found["+8 GB RAM"].model == "gpt-oss-20b"
    assert all(upgrade.gain.endswith("(now: nothing fits)") for upgrade in found.values())


def test_a_second_equal_gpu() -> None:
    found = upgrades(gpu_machine(vram_gib=48, ram_gib=64), files_of("gpt-oss-120b"))
    second = found["another NVIDIA GeForce RTX 4090"]
    assert second.tier == "gpu"
    assert second.n_ctx == 131_072


def test_a_larger_card_says_what_it_replaces() -> None:
    found = upgrades(gpu_machine(vram_gib=8, ram_gib=16, available_gib=13))
    assert any(change.endswith("(16 GB) in place of what is there") for change in found)
    assert not any("(8 GB)" in change for change in found), "no larger than the one that is there"


def test_unified_memory_grows_whole_with_its_gpus_part() -> None:
    seen: list[Hardware] = []

    def watched(machine: Hardware) -> Plan:
        seen.append(machine)
        return planner()(machine)

    machine = apple_machine(ram_gib=24)
    found = what_if(machine, watched)
    assert any(upgrade.model == "gpt-oss-120b" for upgrade in found)
    assert not any("GeForce" in upgrade.change for upgrade in found)
    for larger in seen[1:]:
        grown = larger.memory.total_bytes / machine.memory.total_bytes
        assert larger.devices[0].total_bytes == pytest.approx(grown * machine.devices[0].total_bytes, rel=1e-6)
        assert larger.devices[0].free_bytes <= larger.devices[0].total_bytes


def test_a_container_gets_no_more_ram_by_buying() -> None:
    found = upgrades(cpu_machine(ram_gib=64, limit_gib=16))
    assert found
    assert not any("RAM" in change for change in found)


def test_a_machine_that_has_everything_needs_nothing() -> None:
    assert upgrades(gpu_machine(vram_gib=141, ram_gib=512)) == {}


def test_what_is_pinned_stays_pinned() -> None:
    found = upgrades(cpu_machine(ram_gib=16), files_of("gpt-oss-20b"), n_ctx=8192)
    assert {upgrade.model for upgrade in found.values()} == {"gpt-oss-20b"}
    assert {upgrade.n_ctx for upgrade in found.values()} == {8192}


def test_a_new_gpu_is_added_to_the_machine_as_it_is() -> None:
    seen: list[Hardware] = []

    def watched(machine: Hardware) -> Plan:
        seen.append(machine)
        return planner()(machine)

    what_if(gpu_machine(), watched)
    pair = next(machine for machine in seen if len(machine.devices) == 2)
    assert [device.name for device in pair.devices] == ["CUDA0", "CUDA1"]
    assert pair.memory.total_bytes == 64 * GIB


def test_an_idle_gpu_that_an_engine_would_use() -> None:
    machine = replace(cpu_machine(ram_gib=32), idle_devices=(idle_gpu(), idle_gpu("AMD Radeon", vendor="AMD")))
    used = with_idle_used(machine, "CUDA", [idle_gpu()])
    assert used is not None
    assert [(d.name, d.description, d.total_bytes) for d in used.devices] == [
        ("CUDA0", "NVIDIA GeForce RTX 4090", 24 * GIB)
    ]
    assert [idle.description for idle in used.idle_devices] == ["AMD Radeon"]
    two = with_idle_used(gpu_machine(), "CUDA", [idle_gpu(), idle_gpu()])
    assert two is not None
    assert [device.name for device in two.devices] == ["CUDA0", "CUDA1", "CUDA2"]
    assert with_idle_used(machine, "CUDA", [idle_gpu(vram_gib=None)]) is None


def test_a_gain_is_a_larger_model_a_faster_one_or_none() -> None:
    planned = planner(files_of("gpt-oss-20b", "MXFP4"))
    now, then = planned(cpu_machine(ram_gib=32)), planned(gpu_machine())
    told = gain_of(now, then)
    assert told is not None
    assert told.startswith("gpt-oss-20b all on the GPU at about ")
    assert told.endswith(f"(now gpt-oss-20b at {now.tg_ts:.0f})")
    assert gain_of(then, then) is None
    assert str(gain_of(None, then)).endswith("(now: nothing fits)")
    slow = replace(then, throughput=tuple(replace(speed, tg_ts=1.0) for speed in then.throughput))
    assert gain_of(now, slow) is None, "on the GPU, and slower"
