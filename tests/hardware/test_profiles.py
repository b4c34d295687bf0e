"""Machines as TOML: the shipped ones, and what is told of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.hardware.profiles import list_profiles, open_hardware, read_profile
from launcher.hardware.saved import hardware_to_json
from launcher.units import GIB
from tests.builders import gpu_machine

GOOD = """\
name = "RTX 4090, 64 GB"
os = "linux"
[cpu]
physical_cores = 16
isa = "avx2"
[ram]
total = "64 GiB"
available = "58 GiB"
bandwidth = "80 GB/s"
[[device]]
name = "CUDA0"
description = "NVIDIA GeForce RTX 4090"
backend = "cuda"
memory = "dedicated"
total = "24 GiB"
free = "23.5 GiB"
bandwidth = "1008 GB/s"
tflops = 165
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_profile_is_read_whole(tmp_path: Path) -> None:
    found = read_profile(written(tmp_path, GOOD))
    hardware = found.hardware
    (device,) = hardware.devices
    assert (found.slug, found.name, hardware.os) == ("mine", "RTX 4090, 64 GB", "Linux")
    assert (hardware.cpu.n_physical, "AVX2" in hardware.cpu.isa) == (16, True)
    assert hardware.memory.available_bytes == 58 * GIB
    assert hardware.memory.bandwidth_bytes_per_s == 80e9
    assert (device.backend, device.kind, device.unified) == ("CUDA", "gpu", False)
    assert (device.bandwidth_bytes_per_s, device.flops) == (1008e9, 165e12)


def test_every_shipped_profile_is_plausible() -> None:
    found = list_profiles()
    assert len(found) >= 25
    assert len({profile.slug for profile in found}) == len({profile.name for profile in found}) == len(found)
    for profile in found:
        memory = profile.hardware.memory
        assert 0.4 * memory.total_bytes < memory.available_bytes < memory.total_bytes, profile.slug
        for device in profile.hardware.devices:
            assert device.free_bytes <= device.total_bytes
            assert device.bandwidth_bytes_per_s
    sizes = {round(device.total_bytes / GIB) for profile in found for device in profile.hardware.devices}
    assert {8, 12, 16, 24, 32, 48, 80, 96} <= sizes
    assert {len(profile.hardware.devices) for profile in found} >= {0, 1, 2, 4}


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('os = "linux"', 'os = "beos"', 2, ("os", "linux", "macos", "windows")),
        ("physical_cores = 16", "physical_cores = 0", 4, ("cpu.physical_cores", "from 1 to")),
        ('isa = "avx2"', 'isa = "mmx"', 5, ("cpu.isa", "avx512")),
        ('total = "64 GiB"', 'total = "-64 GiB"', 7, ("ram.total", "above 0")),
        ('total = "64 GiB"', 'total = "0 GiB"', 7, ("ram.total", "above 0")),
        ('available = "58 GiB"', 'available = "65 GiB"', 8, ("ram.available", "more than total")),
        ('bandwidth = "80 GB/s"', 'bandwidth = "80 GB"', 9, ("ram.bandwidth", "80 GB/s")),
        ('backend = "cuda"', 'backend = "glide"', 13, ("device.backend", "vulkan")),
        ('memory = "dedicated"', 'memory = "mine"', 14, ("device.memory", "unified")),
        ('free = "23.5 GiB"', 'free = "25 GiB"', 16, ("device.free", "more than total")),
        ("tflops = 165", "tflops = -1", 18, ("device.tflops", "above 0")),
        ('free = "23.5 GiB"\n', "", 10, ("device.free", "missing")),
        ('name = "CUDA0"', 'nmae = "CUDA0"', 11, ("device.nmae", "did you mean 'name'")),
    ],
)
def test_each_slip_is_told_with_its_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, words: tuple[str, ...]
) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as refused:
        read_profile(written(tmp_path, GOOD.replace(old, new, 1)))
    told = [refused.value.message, *refused.value.details]
    assert any(f"line {line}" in text and all(word in text for word in words) for text in told), told


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    bad = GOOD.replace('os = "linux"', 'os = "beos"').replace("tflops = 165", "tflops = 0")
    with pytest.raises(UsageError) as refused:
        read_profile(written(tmp_path, bad))
    told = " ".join([refused.value.message, *refused.value.details])
    assert "beos" in told
    assert "tflops" in told


@pytest.mark.parametrize("text", ["name = ", "\x00", "[[["])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="TOML"):
        read_profile(written(tmp_path, text))


def test_profiles_are_opened_by_name_by_file_and_as_saved(tmp_path: Path) -> None:
    assert open_hardware("DGX-Spark").slug == "dgx-spark"
    assert open_hardware(str(written(tmp_path, GOOD))).name == "RTX 4090, 64 GB"
    import json

    saved = tmp_path / "pc.json"
    saved.write_text(json.dumps(hardware_to_json(gpu_machine())))
    assert open_hardware(str(saved)).hardware == gpu_machine()
    with pytest.raises(UsageError, match="no profile is called") as refused:
        open_hardware("dgx-sprak")
    assert "dgx-spark" in refused.value.details[0]
