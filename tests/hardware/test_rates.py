"""How fast the parts are, with where that is known from; what is kept of measurements."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

from launcher.hardware.bandwidth import device_tflops
from launcher.hardware.ram_probe import measured_ram, read_bytes_per_s
from launcher.hardware.rates import rates_of
from launcher.planner.types import HOST, Estimate
from tests.builders import cpu_machine, gpu, gpu_machine, machine


def test_what_a_profile_states_goes_before_the_table() -> None:
    device = replace(gpu(), bandwidth_bytes_per_s=500e9, flops=50e12)
    rates = rates_of(machine(devices=[device]))
    stated = rates["CUDA0"]
    assert stated.bandwidth == Estimate(value=500e9, basis="stated: 500 GB/s")
    assert stated.flops is not None
    assert stated.flops.value == 50e12
    listed = rates_of(gpu_machine())["CUDA0"]
    assert listed.bandwidth is not None
    assert listed.flops is not None
    assert (listed.bandwidth.value, listed.flops.value) == (1008e9, 165e12)
    assert listed.bandwidth.basis.startswith("published: 1008 GB/s")


def test_an_unknown_device_has_no_rates_and_the_disk_is_assumed() -> None:
    rates = rates_of(gpu_machine(description="Voodoo 2"))
    assert (rates["CUDA0"].bandwidth, rates["CUDA0"].flops) == (None, None)
    assert rates["disk"].bandwidth is not None
    assert rates["disk"].bandwidth.basis.startswith("assumed")


def test_measured_ram_is_marked_as_measured() -> None:
    measured = Estimate(value=30e9, basis="measured here")
    host = rates_of(cpu_machine(), measured_ram=measured)[HOST]
    assert (host.bandwidth, host.measured) == (measured, True)
    assert not rates_of(cpu_machine())[HOST].measured


def test_tflops_by_name() -> None:
    assert device_tflops("NVIDIA GeForce RTX 4090") == (165, "published: 165 TFLOPS (RTX 4090)")
    assert device_tflops("NVIDIA GeForce RTX 4090 D Ultra") is None


def test_the_probe_runs_once_and_is_kept(tmp_path: Path) -> None:
    asked = []

    def probe(n_threads: int) -> float:
        asked.append(n_threads)
        return 40e9

    here = cpu_machine(ram_gib=32)
    first = measured_ram(here, state_dir=tmp_path, probe=probe, today=lambda: date(2026, 11, 23))
    again = measured_ram(here, state_dir=tmp_path, probe=probe)
    assert first == again == Estimate(value=40e9, basis="measured here on 2026-11-23: 40.0 GB/s with 8 threads")
    assert asked == [8]
    assert measured_ram(cpu_machine(ram_gib=64), state_dir=tmp_path, probe=probe) is not None
    assert asked == [8, 8], "another machine is measured anew"
    (tmp_path / "ram-bandwidth.json").write_text("{")
    assert measured_ram(here, state_dir=tmp_path, probe=probe) is not None


def test_a_probe_that_fails_or_would_disturb_says_nothing(tmp_path: Path) -> None:
    def broken(_: int) -> float:
        raise MemoryError

    assert measured_ram(cpu_machine(), state_dir=tmp_path, probe=broken) is None
    assert measured_ram(cpu_machine(ram_gib=2, available_gib=1), state_dir=tmp_path, probe=lambda _: 1e9) is None


def test_the_probe_reads_memory() -> None:
    assert read_bytes_per_s(1) > 1e8
