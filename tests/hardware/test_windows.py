"""What Windows tells of its GPUs and cores: the registry's values, and records of the kernel."""

from __future__ import annotations

import struct
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.hardware import cores, registry

DATA = Path(__file__).parents[1] / "data" / "hardware" / "registry.toml"
MACHINES = tomllib.loads(DATA.read_text(encoding="utf-8"))["machine"]


def reader(machine: Mapping[str, Any]) -> registry.ReadValues:
    """The registry of a machine in the data; bytes are written there as words."""
    keys = {registry.VIDEO_DEVICES: machine["devices"], **machine["keys"]}

    def read(path: str) -> registry.Values:
        return {
            name: bytes.fromhex(value.removeprefix("bytes ")) if str(value).startswith("bytes ") else value
            for name, value in keys.get(path, {}).items()
        }

    return read


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine["gpus"][0][0])
def test_the_registry_tells_what_is_there_with_all_its_memory(machine: Mapping[str, Any]) -> None:
    found = registry.read_gpus(reader(machine))
    assert [[gpu.description, gpu.vendor, gpu.total_bytes or "unknown"] for gpu in found] == machine["gpus"]
    assert {(gpu.probe, gpu.pci_id, gpu.free_bytes) for gpu in found} == {("registry", None, None)}


def test_drivers_that_write_bytes_are_read_too() -> None:
    values = {
        "HardwareInformation.AdapterString": "Radeon RX 580 Series\0\0".encode("utf-16-le"),
        "MatchingDeviceId": "pci\\ven_1002&dev_67df",
        "HardwareInformation.qwMemorySize": (8 * 1024**3).to_bytes(8, "little"),
    }
    gpu = registry.parse_adapter(values)
    assert gpu is not None
    assert (gpu.description, gpu.vendor, gpu.total_bytes, gpu.driver) == ("Radeon RX 580 Series", "AMD", 8 << 30, None)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"DriverDesc": "Microsoft Remote Display Adapter", "MatchingDeviceId": "RdpIdd_IndirectDisplay"},
        {"DriverDesc": None, "MatchingDeviceId": "PCI\\VEN_10DE"},
        {"DriverDesc": "NVIDIA", "MatchingDeviceId": 7},
    ],
)
def test_what_is_no_gpu_is_left_out(values: dict[str, Any]) -> None:
    assert registry.parse_adapter(values) is None


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.text(), st.binary(), st.integers())))
def test_any_values_are_survived(values: dict[str, Any]) -> None:
    named = {"DriverDesc": "x", "MatchingDeviceId": "PCI\\VEN_1002", **values}
    registry.parse_adapter(named)
    registry.adapter_keys(values)


def test_the_processor_has_its_name() -> None:
    values = {registry.PROCESSOR: {"ProcessorNameString": "12th Gen Intel(R) Core(TM) i7-12700K  "}}
    assert registry.processor_name(lambda path: values.get(path, {})) == "12th Gen Intel(R) Core(TM) i7-12700K"
    assert registry.processor_name(lambda _path: {}) is None


def core(efficiency: int, *, smt: bool, kind: int = 0, groups: int = 1) -> bytes:
    """SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX of one core, as winnt.h lays it out on 64 bits."""
    body = struct.pack("<BB20xH", int(smt), efficiency, groups) + b"\xff" * 16 * groups
    return struct.pack("<II", kind, 8 + len(body)) + body


def test_a_hybrid_processor_counts_its_fast_cores() -> None:
    i7_12700k = b"".join([core(1, smt=True)] * 8 + [core(0, smt=False)] * 4)
    assert len(core(0, smt=False)) == 48
    assert cores.n_performance(i7_12700k) == 8
    with_low_power = i7_12700k + core(2, smt=False) * 2
    assert cores.n_performance(with_low_power) == 2, "the highest class alone"


def test_cores_that_are_alike_are_not_told_apart() -> None:
    assert cores.n_performance(core(0, smt=True) * 16) is None
    assert cores.n_performance(b"") is None
    others = core(5, smt=True, kind=3) + core(0, smt=True, groups=2) * 4
    assert cores.n_performance(others) is None, "a package is no core"


@given(st.binary(max_size=400))
def test_any_records_are_survived(records: bytes) -> None:
    cores.n_performance(records)


def test_elsewhere_there_is_nothing_to_read() -> None:
    if sys.platform != "win32":
        assert registry.read_values(registry.VIDEO_DEVICES) == {}
        assert cores.read_records() == b""
