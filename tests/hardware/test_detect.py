"""detect() as a whole: machines from file trees and fakes, and the one that the tests run on."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.hardware import registry
from launcher.hardware.detect import Machine, detect, run_tool
from launcher.hardware.engine_devices import EngineDevice, EngineReport
from launcher.units import GIB
from tests.builders import cpu, host_memory
from tests.fakes.nvml import FakeGpu, FakeNvml
from tests.hardware.test_windows import core
from tests.hardware.trees import plant, text, write

CPU_ONLY = EngineReport(
    version="0.3.36",
    commit="0c1e570",
    bin_dir="/venv/bin",
    devices=(),
    backends=("RPC", "CPU"),
    cpu_features=("AVX", "AVX2", "F16C", "FMA", "OPENMP", "REPACK"),
    supports_rpc=True,
    note=None,
)


def machine(root: Path, **changes: Any) -> Machine:
    """A Linux machine from a tree, with a CPU-only engine, no tools and no NVML."""
    facts: dict[str, Any] = {
        "system": "Linux",
        "arch": "x86_64",
        "root": root,
        "environ": {},
        "affinity": lambda: frozenset(range(8)),
        "run": lambda _command: None,
        "load_nvml": FakeNvml,
        "engine": lambda: CPU_ONLY,
        "host_memory": lambda: host_memory(16.0, 9.0),
        "host_cpu": lambda **known: replace(cpu(), **known),
        "install": "checkout",
        "python": "/venv/bin/python",
    }
    return Machine(**facts | changes)


def gpu_engine(*devices: EngineDevice) -> EngineReport:
    return replace(CPU_ONLY, devices=devices, backends=(*dict.fromkeys(d.backend for d in devices), "CPU"))


def test_a_container_on_a_big_machine(tmp_path: Path) -> None:
    found = detect(machine(plant("docker_v2", tmp_path)))
    assert found.os == "Linux"
    assert found.memory.available_bytes == 7 * GIB
    assert found.cpu.n_threads == 2
    assert found.devices == ()
    assert found.idle_devices == ()
    assert found.engine.llama_cpp_commit == "0c1e570"
    assert found.engine.bin_dir == "/venv/bin"


def test_the_isa_is_the_engines_and_what_it_leaves_unused_is_said(tmp_path: Path) -> None:
    """An engine compiled elsewhere, on a Xeon with AVX-512."""
    found = detect(machine(plant("docker_v2", tmp_path)))
    assert found.cpu.isa == ("AVX", "AVX2", "F16C", "FMA")
    (note,) = found.notes
    assert note == (
        "this llama.cpp build does not use AVX512, AVX512_VNNI, which the CPU has; "
        "one that does: gpt-oss engine install cpu"
    )


def test_an_rtx_4090_and_a_cpu_only_build(tmp_path: Path) -> None:
    write(plant("laptop_hybrid", tmp_path), "proc/driver/nvidia/version", "NVRM version: 560.35.03\n")
    nvml = FakeNvml(gpus=[FakeGpu()])
    found = detect(machine(tmp_path, load_nvml=lambda: nvml))
    assert found.devices == ()
    nvidia, intel = found.idle_devices
    assert nvidia.description == "NVIDIA GeForce RTX 4090"
    assert nvidia.remedy == "gpt-oss engine install cuda"
    assert intel.description == "Intel Iris Xe Graphics"


def test_nvml_is_read_before_the_engine_takes_memory_for_its_own_context(tmp_path: Path) -> None:
    write(plant("amd_desktop", tmp_path), "dev/nvidiactl", "")
    calls = []

    def load() -> Any:
        calls.append("nvml")
        return FakeNvml()

    def engine() -> EngineReport:
        calls.append("engine")
        return CPU_ONLY

    detect(machine(tmp_path, load_nvml=load, engine=engine))
    assert calls == ["nvml", "engine"]


def test_without_a_driver_nvml_is_not_even_loaded(tmp_path: Path) -> None:
    def load() -> Any:
        raise AssertionError("loaded")

    detect(machine(plant("amd_desktop", tmp_path), load_nvml=load))


def test_nvml_that_is_not_installed_is_a_note(tmp_path: Path) -> None:
    def load() -> Any:
        raise ImportError("No module named 'pynvml'")

    write(plant("amd_desktop", tmp_path), "dev/nvidiactl", "")
    assert "NVML: No module named 'pynvml'" in detect(machine(tmp_path, load_nvml=load)).notes


def test_a_radeon_under_vulkan_is_a_device_and_not_idle(tmp_path: Path) -> None:
    engine = gpu_engine(
        EngineDevice(
            name="Vulkan0",
            description="AMD Radeon RX 7900 XTX (RADV NAVI31)",
            type="GPU",
            backend="Vulkan",
            free_bytes=23 * GIB,
            total_bytes=24 * GIB,
            device_id="0000:0c:00.0",
        )
    )
    found = detect(machine(plant("amd_desktop", tmp_path), engine=lambda: engine))
    assert [device.name for device in found.devices] == ["Vulkan0"]
    assert found.idle_devices == ()


def test_a_gb10_shares_its_memory_within_the_containers_limit(tmp_path: Path) -> None:
    """ggml reports all that the machine has available, whatever the container may take."""
    root = plant("docker_v2", tmp_path)
    engine = gpu_engine(
        EngineDevice(
            name="CUDA0",
            description="NVIDIA GB10",
            type="IGPU",
            backend="CUDA",
            free_bytes=110 * GIB,
            total_bytes=120 * GIB,
            device_id="000f:01:00.0",
        )
    )
    (device,) = detect(machine(root, engine=lambda: engine)).devices
    assert (device.unified, device.free_bytes) == (True, 7 * GIB)


def test_a_mac_with_metal_asks_system_profiler_for_nothing(tmp_path: Path) -> None:
    commands = []

    def run(command: Any) -> str | None:
        commands.append(command[0])
        return text("sysctl_m1_max.txt")

    engine = gpu_engine(
        EngineDevice(
            name="MTL0",
            description="Apple M1 Max",
            type="GPU",
            backend="MTL",
            free_bytes=12 * GIB,
            total_bytes=12 * GIB,
            device_id=None,
        )
    )
    found = detect(machine(tmp_path, system="Darwin", arch="arm64", run=run, engine=lambda: engine))
    assert commands == ["sysctl"]
    assert (found.cpu.name, found.cpu.n_performance) == ("Apple M1 Max", 8)
    (device,) = found.devices
    assert device.unified
    assert device.free_bytes == found.memory.available_bytes == 9 * GIB


def test_a_mac_whose_engine_lacks_metal_sees_its_gpu_idle(tmp_path: Path) -> None:
    answers = {"sysctl": text("sysctl_m1_max.txt"), "system_profiler": text("displays_m1_max.json")}
    found = detect(machine(tmp_path, system="Darwin", arch="arm64", run=lambda command: answers[command[0]]))
    (gpu,) = found.idle_devices
    assert (gpu.description, gpu.probe) == ("Apple M1 Max", "system_profiler")
    assert gpu.remedy is not None
    assert gpu.remedy == "gpt-oss engine install metal"


def test_a_mac_that_does_not_answer_falls_back_to_psutil(tmp_path: Path) -> None:
    found = detect(machine(tmp_path, system="Darwin", arch="arm64"))
    assert found.cpu.n_physical == 8
    assert found.cpu.arch == "arm64"


def test_windows_goes_by_psutil_and_nvml_that_is_missing_is_no_news(tmp_path: Path) -> None:
    nvml = FakeNvml(init_error="NVML Shared Library Not Found")
    found = detect(machine(tmp_path, system="Windows", arch="AMD64", load_nvml=lambda: nvml))
    assert found.os == "Windows"
    assert found.memory.available_bytes == 9 * GIB
    assert found.notes == ()


def test_windows_names_its_processor_and_gpus_by_the_registry_and_counts_fast_cores(tmp_path: Path) -> None:
    adapter = "System\\CurrentControlSet\\Control\\Video\\{1}\\0000"
    keys: dict[str, dict[str, object]] = {
        registry.PROCESSOR: {"ProcessorNameString": "Intel(R) Core(TM) i7-12700K"},
        registry.VIDEO_DEVICES: {"\\Device\\Video0": f"\\Registry\\Machine\\{adapter}"},
        adapter: {
            "DriverDesc": "AMD Radeon RX 7900 XTX",
            "MatchingDeviceId": "PCI\\VEN_1002&DEV_744C",
            "HardwareInformation.qwMemorySize": 24 * GIB,
        },
    }
    found = detect(
        machine(
            tmp_path,
            system="Windows",
            arch="AMD64",
            load_nvml=lambda: FakeNvml(init_error="NVML Shared Library Not Found"),
            read_registry=lambda path: keys.get(path, {}),
            read_cores=lambda: core(1, smt=True) * 6 + core(0, smt=False) * 2,
        )
    )
    assert (found.cpu.name, found.cpu.n_performance) == ("Intel(R) Core(TM) i7-12700K", 6)
    (gpu,) = found.idle_devices
    assert (gpu.description, gpu.probe, gpu.total_bytes) == ("AMD Radeon RX 7900 XTX", "registry", 24 * GIB)


def test_a_linux_that_tells_nothing_still_gives_a_record_and_says_why(tmp_path: Path) -> None:
    found = detect(machine(tmp_path))
    assert found.memory.available_bytes == 9 * GIB
    assert found.cpu.n_physical is None
    assert found.notes == (
        "/proc/meminfo could not be read: limits of control groups are not known",
        "sysfs does not tell which CPUs share a core: threads are counted by logical cores",
    )


def test_an_engine_that_cannot_be_asked_is_a_note(tmp_path: Path) -> None:
    broken = replace(CPU_ONLY, devices=None, backends=(), cpu_features=(), note="the engine crashed")
    found = detect(machine(plant("amd_desktop", tmp_path), engine=lambda: broken))
    assert found.notes == ("the engine crashed",)
    assert found.cpu.isa  # the processor's own, as nothing is known of the engine's
    assert [gpu.reason for gpu in found.idle_devices] == ["the engine crashed"]


def test_a_tool_that_is_not_there_is_none_and_one_that_fails_is_what_it_printed(tmp_path: Path) -> None:
    assert run_tool([str(tmp_path / "nothing")]) is None
    script = "import sys; print('a: 1'); sys.exit(1)"
    assert (run_tool([sys.executable, "-I", "-c", script]) or "").strip() == "a: 1"


# --- The machine that the tests run on ---


def test_this_machine_agrees_with_the_system() -> None:
    import psutil

    found = detect()
    assert found.memory.total_bytes == psutil.virtual_memory().total
    assert 0 < found.memory.available_bytes <= found.memory.total_bytes
    assert found.cpu.n_logical == len(psutil.Process().cpu_affinity() or range(os.cpu_count() or 1))
    assert 1 <= found.cpu.n_threads <= found.cpu.n_logical
    assert found.engine.version is not None
    assert "CPU" in found.engine.backends


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own files")
def test_this_linux_machine_has_what_proc_says() -> None:
    found = detect()
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    available_kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    # Other processes come and go between the two readings; a limit can only take away.
    assert found.memory.available_bytes <= available_kib * 1024 + GIB
    if found.memory.limit_bytes is None:
        assert abs(found.memory.available_bytes - available_kib * 1024) < GIB
    assert found.cpu.isa
    assert found.cpu.name
