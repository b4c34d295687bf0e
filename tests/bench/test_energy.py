"""Meters of energy: which of them add up, what their readings make between two moments, and what is not known."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.bench.energy import ALLOW, POWERCAP, Meter, Reading, counted_zones, cpu_meters, gpu_meter, joules_between
from tests.hardware.trees import plant, write

S = 1_000_000_000
AMD = "0000:0b:00.0"


def counter(range_j: float | None = None) -> Meter:
    return Meter(name="package-0", kind="joules", read=lambda: None, range_j=range_j)


def watts() -> Meter:
    return Meter(name="CUDA0", kind="watts", read=lambda: None)


# Which meters


def test_two_sockets_with_their_ram_and_without_the_platform_between_them(tmp_path: Path) -> None:
    meters, refused = cpu_meters(plant("powercap_two_sockets", tmp_path))
    assert [(meter.name, meter.read()) for meter in meters] == [
        *(
            ("package-0", 116852.361714),
            ("package-1", 98230.115412),
            ("dram-0", 15731.287361),
            ("dram-1", 14022.915501),
        ),
    ]
    assert [meter.range_j for meter in meters] == [262143.32885, 262143.32885, 65712.999613, 65712.999613]
    assert not refused


def test_cores_are_part_of_their_package(tmp_path: Path) -> None:
    (only,), _ = cpu_meters(plant("powercap_zen", tmp_path))
    assert (only.name, only.read(), only.range_j) == ("package-0", 46223.819275, 65532.610987)


def test_a_socket_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    meters, _ = cpu_meters(plant("powercap_laptop", tmp_path))
    assert [meter.name for meter in meters] == ["package-0", "dram-0"]
    assert counted_zones({"intel-rapl-mmio:0": "package-0", "intel-rapl:0": "package-0"})["package-0"] == "intel-rapl:0"
    assert counted_zones({"intel-rapl-mmio:0": "package-0"}) == {"package-0": "intel-rapl-mmio:0"}


@given(st.dictionaries(st.sampled_from(["intel-rapl", "intel-rapl:0", "intel-rapl:0:0", "x"]), st.text(max_size=12)))
def test_any_names_are_survived(names: dict[str, str]) -> None:
    assert set(counted_zones(names).values()) <= set(names)


def test_counters_of_root_alone_are_told_and_not_counted(tmp_path: Path) -> None:
    def denied(path: Path) -> bytes:
        if "intel-rapl:2" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return path.read_bytes()

    meters, refused = cpu_meters(plant("powercap_two_sockets", tmp_path), denied)
    assert refused
    assert [meter.name for meter in meters] == ["package-0", "dram-0"]
    told = ALLOW.split()[-1]
    for zone in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:2"):
        assert fnmatch.fnmatch(f"/{POWERCAP}/{zone}/energy_uj", told)


def test_a_machine_without_counters_has_none(tmp_path: Path) -> None:
    assert cpu_meters(tmp_path) == ((), False)
    write(tmp_path, f"{POWERCAP}/intel-rapl:0/name", "package-0\n")  # as some kernels leave it: a zone without files
    assert cpu_meters(tmp_path) == ((), False)


def test_a_counter_that_vanishes_or_holds_no_number_tells_nothing(tmp_path: Path) -> None:
    (only,), _ = cpu_meters(plant("powercap_zen", tmp_path))
    write(tmp_path, f"{POWERCAP}/intel-rapl:0/energy_uj", "x\n")
    assert only.read() is None
    (tmp_path / POWERCAP / "intel-rapl:0" / "energy_uj").unlink()
    assert only.read() is None


@pytest.mark.parametrize(
    ("files", "kind", "value"),
    [
        ({"energy1_input": "7000000", "power1_input": "1"}, "joules", 7.0),
        ({"power1_average": "215000000", "power1_input": "1"}, "watts", 215.0),
        ({"power1_input": "98000000"}, "watts", 98.0),
    ],
)
def test_gpus_of_amd_and_intel(tmp_path: Path, files: dict[str, str], kind: str, value: float) -> None:
    for name, content in files.items():
        write(tmp_path, f"sys/bus/pci/devices/{AMD}/hwmon/hwmon3/{name}", content + "\n")
    meter = gpu_meter(tmp_path, AMD, "ROCm0")
    assert meter is not None
    assert (meter.name, meter.kind, meter.read()) == ("ROCm0", kind, value)
    assert gpu_meter(tmp_path, "0000:01:00.0", "ROCm1") is None


# What readings make


def test_joules_of_a_counter_between_two_readings() -> None:
    readings: list[Reading] = [(0, 100.0), (S, 150.0), (2 * S, 170.0)]
    assert joules_between(counter(), readings, 0, 2 * S) == 70.0
    assert joules_between(counter(), readings, S // 2, S + S // 2) == pytest.approx(35.0)
    assert joules_between(counter(), readings, S, S) == 0.0


def test_a_counter_that_runs_over_goes_on_from_nothing() -> None:
    readings: list[Reading] = [(0, 980.0), (S, 15.0), (2 * S, 600.0), (3 * S, 20.0)]
    assert joules_between(counter(1000.0), readings, 0, 3 * S) == pytest.approx(35 + 585 + 420)
    assert joules_between(counter(), readings, 0, 3 * S) is None, "one that never runs over was set back"


def test_a_counter_that_was_set_back_is_not_one_that_ran_over() -> None:
    assert joules_between(counter(262143.0), [(0, 500.0), (S // 10, 2.0)], 0, S // 10) is None


def test_power_adds_up_over_time() -> None:
    readings: list[Reading] = [(0, 100.0), (S, 300.0), (3 * S, 300.0)]
    assert joules_between(watts(), readings, 0, 3 * S) == pytest.approx(200 + 600)
    assert joules_between(watts(), readings, S, 2 * S) == pytest.approx(300)


@pytest.mark.parametrize("readings", [[], [(0, 1.0)], [(5, 1.0), (20, 2.0)], [(0, 1.0), (9, 2.0)]])
@pytest.mark.parametrize("meter", [counter(), watts()])
def test_readings_that_do_not_reach_around_the_time_tell_nothing(meter: Meter, readings: list[Reading]) -> None:
    assert joules_between(meter, readings, 1, 10) is None


@given(st.lists(st.integers(0, 400), min_size=3, max_size=30), st.integers(0, 10**5), st.data())
def test_parts_add_up_to_the_whole_whereever_the_counter_runs_over(
    grown: list[int], first: int, data: st.DataObject
) -> None:
    raw = [first]
    for joules in grown:
        raw.append(raw[-1] + joules)
    readings: list[Reading] = [(i * S // 10, float(value % 1000)) for i, value in enumerate(raw)]
    end = readings[-1][0]
    middle = data.draw(st.integers(0, end))
    whole, left, right = (
        joules_between(counter(1000.0), readings, *span) for span in ((0, end), (0, middle), (middle, end))
    )
    assert whole == pytest.approx(sum(grown))
    assert left is not None
    assert right is not None
    assert left + right == pytest.approx(whole)
