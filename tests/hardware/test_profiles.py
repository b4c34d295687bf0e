"""Machines as TOML: the shipped ones, and what is told of a bad one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.hardware.bandwidth import device_tflops
from launcher.hardware.profile_lines import Lines
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
        ("tflops = 165", "tflops = nan", 18, ("device.tflops", "above 0")),
        ('total = "64 GiB"', f'total = "{"9" * 400} GiB"', 7, ("ram.total", "above 0")),
        ("[cpu]", "[cpu]\nname = 3", 4, ("cpu.name", "text")),
        ("[cpu]", "[cpu]\nperformance_cores = 17", 4, ("cpu.performance_cores", "more than physical_cores 16")),
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


LAYOUTS = (
    """\
# a comment, then a name that looks like a table
name = '''
[ram]
total = 1'''
os = "a = # no comment" # a comment = one
cpu.physical_cores = 4
"cpu" . "isa" = "avx2"
ram = { total = "8 GiB", available = "}, 5 GiB" }

device = [
  { name = "a" }, { name = "b",
    free = """
    + '"""\\"""\nx""""'
    + """ },
  # a comment ]
  { name = "c" },
]
"""
)


@pytest.mark.parametrize(
    ("table", "index", "key", "line"),
    [
        ("", 0, "name", 2),
        ("", 0, "os", 5),
        ("cpu", 0, "physical_cores", 6),
        ("cpu", 0, "isa", 7),
        ("cpu", 0, "bandwidth", 6),
        ("ram", 0, "total", 8),
        ("ram", 0, "", 8),
        ("device", 0, "name", 11),
        ("device", 1, "free", 12),
        ("device", 2, "name", 15),
        ("device", 2, "free", 15),
        ("device", 9, "name", 10),
        ("", 0, "device", 10),
        ("", 0, "nothing", 1),
    ],
)
def test_the_line_of_a_key_in_tricky_layouts(table: str, index: int, key: str, line: int) -> None:
    tomllib.loads(LAYOUTS)
    assert Lines(LAYOUTS).of(table, index, key) == line


def test_the_line_of_a_key_in_lists_of_tables() -> None:
    text = '[[ device ]] # first\nname = 1\n[device.extra]\nname = 2\n[["device"]]\n\n  name=3\n[ ram ]\ntotal = 4\n'
    tomllib.loads(text)
    lines = Lines(text)
    assert [lines.of("device", 0, "name"), lines.of("device", 0, "free")] == [2, 1]
    assert [lines.of("device", 1, "name"), lines.of("device", 1, "free")] == [7, 5]
    assert [lines.of("ram", 0, "total"), lines.of("ram", 0, "free")] == [9, 8]


@pytest.mark.parametrize(
    ("system", "cpu", "arch", "has", "lacks"),
    [
        ("linux", "", "x86_64", "AVX2", "AVX512"),
        ("linux", 'isa = "avx512"', "x86_64", "AVX512", "AVX512_VNNI"),
        ("linux", 'isa = "amx"', "x86_64", "AVX512_VNNI", "NEON"),
        ("linux", 'isa = "neon"', "arm64", "DOTPROD", "MATMUL_INT8"),
        ("macos", 'name = "Apple M1 Max"', "arm64", "DOTPROD", "MATMUL_INT8"),
        ("macos", 'name = "Apple M3"', "arm64", "MATMUL_INT8", "AVX2"),
        # Keeps out: a Mac with an Intel processor called arm64.
        ("macos", 'isa = "avx2"', "x86_64", "AVX2", "NEON"),
    ],
)
def test_instruction_sets(tmp_path: Path, system: str, cpu: str, arch: str, has: str, lacks: str) -> None:
    text = GOOD.replace('"linux"', f'"{system}"').replace('isa = "avx2"', cpu)
    found = read_profile(written(tmp_path, text)).hardware.cpu
    assert (found.arch, has in found.isa, lacks in found.isa) == (arch, True, False)


@pytest.mark.parametrize(
    ("backend", "memory", "registry", "kind", "unified"),
    [
        ("cuda", "unified", "CUDA", "igpu", True),
        ("metal", "unified", "MTL", "gpu", True),
        ("vulkan", "dedicated", "Vulkan", "gpu", False),
        ("rocm", "unified", "ROCm", "igpu", True),
        ("sycl", "dedicated", "SYCL", "gpu", False),
    ],
)
def test_backends_and_memory(
    tmp_path: Path, backend: str, memory: str, registry: str, kind: str, unified: bool
) -> None:
    text = GOOD.replace('"cuda"', f'"{backend}"').replace('"dedicated"', f'"{memory}"')
    hardware = read_profile(written(tmp_path, text)).hardware
    (device,) = hardware.devices
    assert (device.backend, device.kind, device.unified) == (registry, kind, unified)
    assert hardware.engine.backends == (registry, "CPU")


def test_problems_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        GOOD.replace('name = "CUDA0"', "name = 7").replace("[cpu]", "[cpu]\ncolour = 1") + GOOD[GOOD.index("[[") :] * 2
    )
    with pytest.raises(UsageError) as refused:
        read_profile(written(tmp_path, text))
    assert [told.partition(":")[0] for told in refused.value.details] == ["line 4", "line 12", "line 30"]
    assert "'CUDA0' stands twice" in refused.value.details[-1]


def test_what_profiles_state_of_compute_means_the_same_as_the_table() -> None:
    """Keeps out: sparse, or f16-accumulated, figures in a profile where the table has dense ones."""
    for profile in list_profiles():
        for device in profile.hardware.devices:
            table = device_tflops(device.description, device.total_bytes)
            assert table is not None, profile.slug
            assert device.flops == table[0] * 1e12, profile.slug


@pytest.mark.parametrize("text", ["./nowhere", "no/where", "nowhere.toml"])
def test_what_looks_like_a_path_is_never_taken_for_a_name(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        open_hardware(text)
