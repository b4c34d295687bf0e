"""GPUs of the machine against devices of the engine."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.hardware.engine_devices import EngineDevice, EngineReport
from launcher.hardware.match import idle_devices, merge_seen, usable_devices
from launcher.hardware.seen import SeenGpu
from launcher.units import GIB
from tests.builders import host_memory

INSTALL_CUDA = "gpt-oss engine install cuda"


def listed(**changes: Any) -> EngineDevice:
    facts: dict[str, Any] = {
        "name": "CUDA0",
        "description": "NVIDIA GeForce RTX 4090",
        "type": "GPU",
        "backend": "CUDA",
        "free_bytes": 22 * GIB,
        "total_bytes": 24 * GIB,
        "device_id": "0000:01:00.0",
    }
    return EngineDevice(**facts | changes)


CPU_DEVICE = listed(name="CPU", description="CPU", type="CPU", backend="CPU", device_id=None)


def report(*devices: EngineDevice, backends: tuple[str, ...] = (), note: str | None = None) -> EngineReport:
    return EngineReport(
        version="0.3.36",
        commit=None,
        bin_dir=None,
        devices=None if note else (*devices, CPU_DEVICE),
        backends=(*backends, "RPC", "CPU"),
        cpu_features=(),
        supports_rpc=True,
        note=note,
    )


def seen(**changes: Any) -> SeenGpu:
    facts: dict[str, Any] = {
        "description": "NVIDIA GeForce RTX 4090",
        "vendor": "NVIDIA",
        "probe": "nvml",
        "pci_id": "0000:01:00.0",
        "total_bytes": 24 * GIB,
        "free_bytes": 23 * GIB,
        "compute_capability": "8.9",
        "driver": "560.35.03",
    }
    return SeenGpu(**facts | changes)


RADEON = seen(
    description="AMD Radeon RX 7900 XTX",
    vendor="AMD",
    probe="sysfs",
    pci_id="0000:0c:00.0",
    compute_capability=None,
    driver="amdgpu",
)
INTEL_IGPU = seen(
    description="Intel UHD Graphics 770",
    vendor="Intel",
    probe="sysfs",
    pci_id="0000:00:02.0",
    total_bytes=None,
    free_bytes=None,
    compute_capability=None,
    driver="i915",
)


def idle(engine: EngineReport, *gpus: SeenGpu, **environ: str) -> list[Any]:
    return list(idle_devices(engine, gpus, environ=environ))


def usable(
    engine: EngineReport, *gpus: SeenGpu, arch: str = "x86_64", ram_gib: float = 80, available_gib: float = 64
) -> list[Any]:
    return list(usable_devices(engine, gpus, arch=arch, memory=host_memory(ram_gib, available_gib)))


# --- Usable ---


def test_free_memory_is_nvmls_and_not_what_was_left_beside_the_probes_own_context() -> None:
    (device,) = usable(report(listed()), seen())
    assert device.free_bytes == 23 * GIB
    assert device.compute_capability == "8.9"
    assert not device.unified


def test_a_slice_of_a_gpu_keeps_its_own_figure() -> None:
    """Keeps out: a 10 GiB MIG slice planned with the 75 GiB that are free on the whole GPU."""
    (device,) = usable(report(listed(total_bytes=10 * GIB, free_bytes=9 * GIB)), seen(total_bytes=80 * GIB))
    assert device.free_bytes == 9 * GIB


def test_nvml_never_promises_more_than_ggml_can_take() -> None:
    (device,) = usable(report(listed(total_bytes=23 * GIB)), seen(free_bytes=24 * GIB))
    assert device.free_bytes == 23 * GIB


def test_amds_sysfs_does_not_replace_what_the_engine_says() -> None:
    engine = report(listed(name="ROCm0", backend="ROCm", device_id="0000:0c:00.0"))
    (device,) = usable(engine, RADEON)
    assert device.free_bytes == 22 * GIB


def test_one_gpu_under_two_backends_is_one_device() -> None:
    both = report(listed(), listed(name="Vulkan0", backend="Vulkan"), listed(name="CUDA1", device_id="0000:02:00.0"))
    assert [device.name for device in usable(both)] == ["CUDA0", "CUDA1"]


def test_devices_without_an_address_are_told_apart_by_name() -> None:
    engine = report(listed(device_id=None), listed(name="CUDA1", device_id=None))
    assert [device.name for device in usable(engine)] == ["CUDA0", "CUDA1"]


def test_kinds_and_the_cpu_and_meta_devices_are_left_out() -> None:
    engine = report(
        listed(name="Vulkan0", type="IGPU", device_id=None),
        listed(name="BLAS", type="ACCEL", device_id=None),
        listed(name="Meta", type="META", device_id=None),
    )
    assert [(device.name, device.kind) for device in usable(engine)] == [("Vulkan0", "igpu"), ("BLAS", "accel")]


@pytest.mark.parametrize(
    ("changes", "arch", "unified"),
    [
        ({"backend": "MTL", "description": "Apple M1 Max"}, "arm64", True),
        ({"backend": "MTL", "description": "AMD Radeon Pro 5500M"}, "x86_64", False),
        ({"backend": "MTL", "description": "Intel(R) UHD Graphics 630"}, "x86_64", True),
        ({"type": "IGPU", "description": "NVIDIA GB10"}, "aarch64", True),
        ({"backend": "OpenCL", "description": "QUALCOMM Adreno(TM) X1-85"}, "ARM64", True),
        ({}, "x86_64", False),
    ],
)
def test_who_shares_the_hosts_memory(changes: dict[str, Any], arch: str, unified: bool) -> None:
    (device,) = usable(report(listed(device_id=None, **changes)), arch=arch)
    assert device.unified == unified


def test_what_shares_the_hosts_memory_has_no_more_free_than_the_host() -> None:
    """Metal reports what this process may take, not what others have left."""
    engine = report(listed(backend="MTL", free_bytes=48 * GIB, total_bytes=48 * GIB, device_id=None))
    (device,) = usable(engine, arch="arm64", available_gib=20)
    assert device.free_bytes == 20 * GIB


def test_what_is_set_aside_for_an_integrated_gpu_is_free_beside_the_hosts_memory() -> None:
    engine = report(listed(type="IGPU", free_bytes=94 * GIB, total_bytes=96 * GIB, device_id=None))
    (device,) = usable(engine, ram_gib=32, available_gib=20)
    assert device.free_bytes == (20 + 64) * GIB


# --- Idle ---


def test_an_rtx_4090_beside_a_cpu_only_build_is_said_with_the_command_that_helps() -> None:
    (gpu,) = idle(report(), seen())
    assert gpu.description == "NVIDIA GeForce RTX 4090"
    assert gpu.probe == "nvml"
    assert gpu.total_bytes == 24 * GIB
    assert gpu.reason == "this llama.cpp build is CPU-only; an engine with CUDA would use it"
    assert gpu.remedy == INSTALL_CUDA


def test_what_the_engine_uses_is_not_idle() -> None:
    assert idle(report(listed(), backends=("CUDA",)), seen()) == []


def test_a_second_gpu_that_is_hidden_is_said_to_be() -> None:
    engine = report(listed(), backends=("CUDA",))
    (gpu,) = idle(engine, seen(), seen(pci_id="0000:41:00.0"), CUDA_VISIBLE_DEVICES="0")
    assert gpu.reason == "hidden by CUDA_VISIBLE_DEVICES='0'"
    assert gpu.remedy is None


def test_a_backend_that_finds_nothing_blames_the_driver() -> None:
    (gpu,) = idle(report(backends=("CUDA",)), seen(driver="470.57.02"))
    assert gpu.reason == (
        "the CUDA backend of this build found no such device (driver 470.57.02): the driver may be too old"
    )
    assert gpu.remedy is None


def test_a_card_under_nouveau_needs_nvidias_driver_first() -> None:
    (gpu,) = idle(report(), seen(probe="sysfs", driver="nouveau"))
    assert gpu.reason == "NVIDIA's own driver is not in use (nouveau drives it); install it and restart"
    assert gpu.remedy is None


def test_amd_is_served_by_vulkan() -> None:
    (gpu,) = idle(report(), RADEON)
    assert gpu.reason == "this llama.cpp build is CPU-only; an engine with Vulkan would use it"
    assert gpu.remedy == "gpt-oss engine install vulkan"


def test_an_amd_card_beside_a_cuda_build() -> None:
    (gpu,) = idle(report(listed(), backends=("CUDA",)), seen(), RADEON)
    assert gpu.reason.startswith("this llama.cpp build has CUDA only; ")


def test_integrated_intel_graphics_promise_little() -> None:
    (gpu,) = idle(report(), INTEL_IGPU)
    assert gpu.reason.endswith("decoding gains little")
    assert gpu.remedy is not None


def test_integrated_intel_graphics_beside_a_used_gpu_are_no_loss() -> None:
    (gpu,) = idle(report(listed(), backends=("CUDA",)), seen(), INTEL_IGPU)
    assert gpu.reason == "llama.cpp leaves an integrated GPU alone where a discrete one is usable"
    assert gpu.remedy is None


def test_an_engine_that_could_not_be_asked_leaves_every_gpu_idle() -> None:
    (gpu,) = idle(report(note="the engine crashed"), seen())
    assert (gpu.reason, gpu.remedy) == ("the engine crashed", INSTALL_CUDA)


@pytest.mark.parametrize(
    ("gpu", "device"),
    [
        (RADEON, listed(name="Vulkan0", backend="Vulkan", description="AMD Radeon RX 7900 XTX (RADV NAVI31)")),
        (
            seen(description="AMD GPU [1002:744c]", vendor="AMD"),
            listed(backend="ROCm", description="Radeon RX 7900 XTX"),
        ),
        (
            seen(description="Apple M1 Max", vendor="Apple", pci_id=None),
            listed(backend="MTL", description="Apple M1 Max"),
        ),
    ],
)
def test_a_device_that_tells_no_address_is_matched_by_name_or_maker(gpu: SeenGpu, device: EngineDevice) -> None:
    nameless = EngineDevice(**{name: getattr(device, name) for name in EngineDevice.__slots__} | {"device_id": None})
    assert idle(report(nameless, backends=(device.backend,)), gpu) == []


def test_two_equal_cards_of_which_one_is_listed_without_an_address() -> None:
    engine = report(listed(device_id=None), backends=("CUDA",))
    assert len(idle(engine, seen(), seen(pci_id="0000:41:00.0"))) == 1


def test_a_gpu_that_two_backends_list_claims_both_entries() -> None:
    """Keeps out: the Vulkan entry of the first card claimed by the second, idle one."""
    engine = report(listed(), listed(name="Vulkan0", backend="Vulkan"), backends=("CUDA", "Vulkan"))
    assert [gpu.description for gpu in idle(engine, seen(), seen(pci_id="0000:41:00.0"))] == ["NVIDIA GeForce RTX 4090"]


def test_nvml_and_sysfs_tell_of_one_gpu_once() -> None:
    both = merge_seen([seen()], [seen(probe="sysfs", description="NVIDIA AD102"), RADEON])
    assert [(gpu.probe, gpu.vendor) for gpu in both] == [("nvml", "NVIDIA"), ("sysfs", "AMD")]
