"""GPUs as NVML, sysfs and macOS show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.hardware import apple, nvidia, sysfs, windows
from launcher.hardware.seen import INTEL_INTEGRATED, normalise_pci_id, parse_int
from launcher.units import GIB
from tests.fakes.nvml import FakeGpu, FakeNvml
from tests.hardware.trees import plant, text, write

if TYPE_CHECKING:
    from pathlib import Path

# --- NVML ---


def test_nvml_tells_everything_of_a_gpu() -> None:
    nvml = FakeNvml(gpus=[FakeGpu()])
    (gpu,), notes = nvidia.read_gpus(lambda: nvml)
    assert notes == ()
    assert gpu.description == "NVIDIA GeForce RTX 4090"
    assert gpu.pci_id == "0000:01:00.0"
    assert gpu.compute_capability == "8.9"
    assert gpu.driver == "560.35.03"
    assert gpu.total_bytes is not None
    assert gpu.free_bytes is not None
    assert 0 < gpu.free_bytes < gpu.total_bytes
    assert nvml.open_sessions == 0


def test_an_integrated_gpu_has_no_memory_of_its_own() -> None:
    """GB10 answers `Not Supported` when asked for its memory."""
    nvml = FakeNvml(gpus=[FakeGpu(name="NVIDIA GB10", total_bytes=None, free_bytes=None, compute_capability=(12, 1))])
    (gpu,), _ = nvidia.read_gpus(lambda: nvml)
    assert (gpu.total_bytes, gpu.free_bytes, gpu.compute_capability) == (None, None, "12.1")


def test_a_gpu_off_the_bus_is_a_note_and_the_others_are_listed() -> None:
    nvml = FakeNvml(gpus=[FakeGpu(answers=False), FakeGpu(bus_id="00000000:41:00.0")])
    gpus, notes = nvidia.read_gpus(lambda: nvml)
    assert [gpu.pci_id for gpu in gpus] == ["0000:41:00.0"]
    assert notes == ("NVML: GPU 0 does not answer (fallen off the bus, or no permission)",)
    assert nvml.open_sessions == 0


def test_a_driver_that_does_not_match_its_library_is_a_note() -> None:
    nvml = FakeNvml(init_error="Driver/library version mismatch")
    assert nvidia.read_gpus(lambda: nvml) == ((), ("NVML: Driver/library version mismatch",))


def test_nvml_before_2022_answers_in_bytes() -> None:
    nvml = FakeNvml(gpus=[FakeGpu(name=b"Tesla T4", bus_id=b"00000000:00:1E.0")], driver=b"470.57.02")
    (gpu,), _ = nvidia.read_gpus(lambda: nvml)
    assert (gpu.description, gpu.pci_id, gpu.driver) == ("Tesla T4", "0000:00:1e.0", "470.57.02")


def test_nvml_is_asked_only_where_a_driver_is(tmp_path: Path) -> None:
    assert not nvidia.driver_present(tmp_path, "Linux")
    write(tmp_path, "usr/lib/wsl/lib/libnvidia-ml.so.1", "")
    assert nvidia.driver_present(tmp_path, "Linux")
    assert nvidia.driver_present(tmp_path, "Windows")
    assert not nvidia.driver_present(tmp_path, "Darwin")


# --- sysfs ---


def test_amd_is_named_by_chip_and_revision_and_tells_its_memory(tmp_path: Path) -> None:
    (gpu,) = sysfs.read_gpus(plant("amd_desktop", tmp_path))
    assert gpu.description == "AMD Radeon RX 7900 XTX"
    assert (gpu.vendor, gpu.probe, gpu.pci_id) == ("AMD", "sysfs", "0000:0c:00.0")
    assert gpu.total_bytes == 25753026560
    assert gpu.free_bytes == 25753026560 - GIB
    assert gpu.driver is None


def test_intel_is_named_by_pci_ids_and_its_audio_device_is_no_gpu(tmp_path: Path) -> None:
    (gpu,) = sysfs.read_gpus(plant("laptop_hybrid", tmp_path))
    assert gpu.description == "Intel Iris Xe Graphics"
    assert gpu.pci_id == INTEL_INTEGRATED
    assert gpu.total_bytes is None


def test_a_card_in_no_table_is_told_by_its_ids(tmp_path: Path) -> None:
    folder = "sys/bus/pci/devices/0000:03:00.0"
    for name, value in (("class", "0x030200"), ("vendor", "0x10de"), ("device", "0x2b85")):
        write(tmp_path, f"{folder}/{name}", value + "\n")
    (gpu,) = sysfs.read_gpus(tmp_path)
    assert gpu.description == "NVIDIA GPU [10de:2b85]"


@pytest.mark.parametrize(
    ("vendor", "base", "is_gpu"),
    [("0x1002", "0x120000", True), ("0x8086", "0x120000", False), ("0x1a03", "0x030000", False), ("?", "?", False)],
)
def test_accelerators_of_amd_count_and_npus_and_management_controllers_do_not(
    tmp_path: Path, vendor: str, base: str, is_gpu: bool
) -> None:
    for name, value in (("class", base), ("vendor", vendor), ("device", "0x74a1")):
        write(tmp_path, f"sys/bus/pci/devices/0000:03:00.0/{name}", value)
    assert bool(sysfs.read_gpus(tmp_path)) == is_gpu


def test_the_driver_is_the_kernel_module(tmp_path: Path) -> None:
    folder = "sys/bus/pci/devices/0000:03:00.0"
    for name, value in (("class", "0x030000"), ("vendor", "0x10de"), ("device", "0x2684")):
        write(tmp_path, f"{folder}/{name}", value)
    (tmp_path / "sys/bus/pci/drivers/nouveau").mkdir(parents=True)
    (tmp_path / folder / "driver").symlink_to(tmp_path / "sys/bus/pci/drivers/nouveau")
    (gpu,) = sysfs.read_gpus(tmp_path)
    assert gpu.driver == "nouveau"


def test_a_machine_without_sysfs_has_no_gpus(tmp_path: Path) -> None:
    assert sysfs.read_gpus(tmp_path) == ()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("00000000:C1:00.0", "0000:c1:00.0"),
        ("0000:0c:00.0", "0000:0c:00.0"),
        ("10000:01:00.0", "10000:01:00.0"),
        ("01:00.0", None),
        ("", None),
        ("a:b:c:d", None),
        ("-1:00:00.0", None),
    ],
)
def test_pci_addresses_are_written_as_ggml_writes_them(found: str, expected: str | None) -> None:
    assert normalise_pci_id(found) == expected


def test_a_jetsons_gpu_is_told_by_its_device_tree(tmp_path: Path) -> None:
    assert sysfs.read_tegra(tmp_path) == ()
    write(tmp_path, "proc/device-tree/compatible", "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0")
    write(tmp_path, "proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0")
    (gpu,) = sysfs.read_tegra(tmp_path)
    assert (gpu.description, gpu.driver, gpu.pci_id) == ("NVIDIA Jetson AGX Orin Developer Kit", None, None)
    write(tmp_path, "proc/device-tree/compatible", "raspberrypi,5-model-b\0")
    assert sysfs.read_tegra(tmp_path) == ()


# --- Windows ---


def test_windows_lists_its_gpus_and_what_is_none_is_left_out() -> None:
    listed = """[
      {"Name": "Intel(R) UHD Graphics 770", "DriverVersion": "31.0.101.5590",
       "PNPDeviceID": "PCI\\\\VEN_8086&DEV_4680"},
      {"Name": "Microsoft Remote Display Adapter", "DriverVersion": "10.0", "PNPDeviceID": "SWD\\\\REMOTEDISPLAY"},
      {"Name": null, "PNPDeviceID": "PCI\\\\VEN_10DE"}, "junk"
    ]"""
    (gpu,) = windows.parse_controllers(listed)
    assert (gpu.description, gpu.vendor, gpu.driver) == ("Intel(R) UHD Graphics 770", "Intel", "31.0.101.5590")


# --- macOS ---


def test_apple_silicon_counts_performance_cores() -> None:
    cpu = apple.cpu_from_sysctl(apple.parse_sysctl(text("sysctl_m1_max.txt")), arch="arm64")
    assert cpu is not None
    assert cpu.name == "Apple M1 Max"
    assert (cpu.n_physical, cpu.n_logical, cpu.n_performance, cpu.n_threads) == (10, 10, 8, 8)


def test_an_intel_mac_has_one_kind_of_core() -> None:
    cpu = apple.cpu_from_sysctl(apple.parse_sysctl(text("sysctl_intel_mac.txt")), arch="x86_64")
    assert cpu is not None
    assert (cpu.n_physical, cpu.n_logical, cpu.n_performance, cpu.n_threads) == (8, 16, None, 8)


def test_sysctl_that_tells_nothing_is_unknown() -> None:
    assert apple.cpu_from_sysctl({}, arch="arm64") is None


def test_displays_of_apple_silicon_and_of_an_intel_mac() -> None:
    (gpu,) = apple.parse_displays(text("displays_m1_max.json"))
    assert (gpu.description, gpu.vendor, gpu.total_bytes) == ("Apple M1 Max", "Apple", None)
    integrated, discrete = apple.parse_displays(text("displays_intel_mac.json"))
    assert (integrated.vendor, integrated.total_bytes) == ("Intel", None)
    assert (discrete.description, discrete.vendor, discrete.total_bytes) == ("AMD Radeon Pro 5500M", "AMD", 8 * GIB)


# --- Any text ---

JSONISH = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.just("8 GB"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["SPDisplaysDataType", "sppci_model", "_name", "spdisplays_vram"]), inner)
    ),
)


@given(st.text())
def test_any_text_is_survived_by_every_parser(junk: str) -> None:
    apple.parse_displays(junk)
    apple.cpu_from_sysctl(apple.parse_sysctl(junk), arch="arm64")
    apple.cpu_from_sysctl({"hw.logicalcpu": "4", "hw.physicalcpu": junk, "hw.nperflevels": junk}, arch="arm64")
    normalise_pci_id(junk)
    parse_int(junk)
    sysfs.parse_hex(junk)
    sysfs.find_amdgpu_name(junk.splitlines(), 1, 2)
    sysfs.find_pci_name(["8086  Intel", "\t" + junk, junk], 0x8086, 0x46A6)


@given(JSONISH)
def test_any_json_from_system_profiler_is_survived(value: object) -> None:
    import json

    for gpu in (*apple.parse_displays(json.dumps(value)), *windows.parse_controllers(json.dumps(value))):
        assert gpu.description
