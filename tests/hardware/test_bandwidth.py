"""The bandwidth table: the right entry, never a neighbour's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import DamagedFileError
from launcher.hardware.bandwidth import device_bandwidth, host_bandwidth, load_table
from launcher.units import GIB


@pytest.mark.parametrize(
    ("description", "gb_per_s"),
    [
        ("NVIDIA GeForce RTX 4090", 1008),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 576),
        ("NVIDIA GeForce RTX 4070", 480),
        ("NVIDIA GeForce RTX 4070 Ti", 504),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 672),
        ("NVIDIA GeForce RTX 3090", 936),
        ("NVIDIA GeForce RTX 2080", 448),
        ("NVIDIA GeForce RTX 5090", 1792),
        ("NVIDIA RTX A6000", 768),
        ("NVIDIA RTX 6000 Ada Generation", 960),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 1792),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 1792),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 1597),
        ("NVIDIA A100-SXM4-80GB", 2039),
        ("NVIDIA A100 80GB PCIe", 1935),
        ("NVIDIA A100-PCIE-40GB", 1555),
        ("NVIDIA H100 80GB HBM3", 3350),
        ("NVIDIA H100 PCIe", 2000),
        ("NVIDIA H200", 4800),
        ("NVIDIA L4", 300),
        ("NVIDIA L40S", 864),
        ("NVIDIA GB10", 273),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", 960),
        ("AMD Radeon RX 7900 XT", 800),
        ("AMD Radeon AI PRO R9700 (RADV GFX1201)", 640),
        ("AMD Radeon Graphics (RADV GFX1151)", 256),
        ("Radeon 8060S Graphics", 256),
        ("AMD Instinct MI300X", 5300),
        ("Intel(R) Arc(tm) A770 Graphics (DG2)", 512),
        ("Intel(R) Arc(TM) B580 Graphics", 456),
        ("Apple M1", 68),
        ("Apple M1 Max", 400),
        ("Apple M2 Ultra", 800),
        ("Apple M4 Pro", 273),
    ],
)
def test_descriptions_as_ggml_gives_them(description: str, gb_per_s: float) -> None:
    found = device_bandwidth(description)
    assert found is not None
    assert found.bytes_per_s == gb_per_s * 1e9
    assert found.basis.startswith(f"published: {gb_per_s} GB/s (")


@pytest.mark.parametrize(
    ("description", "vram_gib", "gb_per_s"),
    [
        ("NVIDIA GeForce RTX 3060", 11.63, 360),
        ("NVIDIA GeForce RTX 3060", 7.78, 240),
        ("NVIDIA GeForce RTX 3080", 9.77, 760),
        ("NVIDIA GeForce RTX 3080", 11.75, 912),
        ("NVIDIA GeForce RTX 4090", 23.52, 1008),
        ("Intel(R) Arc(tm) A770 Graphics (DG2)", 15.91, 560),
        ("NVIDIA A100-SXM4-40GB", 39.39, 1555),
    ],
)
def test_the_size_tells_apart_what_has_one_name(description: str, vram_gib: float, gb_per_s: float) -> None:
    found = device_bandwidth(description, round(vram_gib * GIB))
    assert found is not None
    assert found.bytes_per_s == gb_per_s * 1e9


@pytest.mark.parametrize(
    "description",
    ["NVIDIA GeForce RTX 9090", "NVIDIA GeForce RTX 3050 Laptop GPU", "Apple M9 Max", "llvmpipe (LLVM 15)", ""],
)
def test_what_is_not_listed_is_unknown_and_not_its_neighbour(description: str) -> None:
    assert device_bandwidth(description) is None


def test_the_published_speeds_were_measured_on_devices_that_are_listed() -> None:
    """The figures that predictions are held to need a bandwidth each."""
    for name in ("RTX PRO 6000 Blackwell", "RTX 5090", "RTX 4090", "RTX 3090", "RTX 2080", "GB10", "Apple M2 Ultra"):
        assert device_bandwidth(name) is not None


@pytest.mark.parametrize(
    ("name", "gb_per_s", "kind"),
    [
        ("Intel(R) Xeon(R) CPU E5-2699 v4 @ 2.20GHz", 76.8, "published"),
        ("Intel(R) Core(TM) i9-14900K", 89.6, "published"),
        ("13th Gen Intel(R) Core(TM) i7-13700K", 89.6, "published"),
        ("Intel(R) Core(TM) i9-10900X CPU @ 3.70GHz", 93.9, "published"),
        ("AMD Ryzen 7 5800X 8-Core Processor", 51.2, "published"),
        ("AMD Ryzen 9 7950X 16-Core Processor", 83.2, "published"),
        ("AMD Ryzen 9 9950X 16-Core Processor", 89.6, "published"),
        ("AMD Ryzen Threadripper PRO 5995WX 64-Cores", 204.8, "published"),
        ("AMD Ryzen Threadripper 3970X 32-Core Processor", 102.4, "published"),
        ("AMD EPYC 9575F 64-Core Processor", 576, "published"),
        ("AMD EPYC 7763 64-Core Processor", 204.8, "published"),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 256, "published"),
        ("Apple M1 Max", 400, "published"),
        ("AMD EPYC", 51.2, "assumed"),
        ("13th Gen Intel(R) Core(TM) i7-1355U", 51.2, "assumed"),
        (None, 51.2, "assumed"),
    ],
)
def test_a_processor_has_a_bound_and_says_whether_it_is_published(name: str | None, gb_per_s: float, kind: str) -> None:
    found = host_bandwidth(name)
    assert found.bytes_per_s == pytest.approx(gb_per_s * 1e9)
    assert found.basis.startswith(f"{kind}: ")


def test_every_name_of_the_table_finds_itself() -> None:
    """Keeps out a name that a shorter one shadows, or that its own telling words make unreachable."""
    for entry in load_table().devices:
        found = device_bandwidth(entry.name)
        assert found is not None, entry.name
        assert found.bytes_per_s == entry.gb_per_s * 1e9, entry.name


def test_every_pattern_compiles_and_matches_not_everything() -> None:
    for entry in load_table().cpus:
        assert not re.search(entry.pattern, "Some processor"), entry.pattern


@given(st.text())
def test_any_name_has_an_answer(text: str) -> None:
    device_bandwidth(text)
    assert host_bandwidth(text).bytes_per_s > 0


@pytest.mark.parametrize("text", ["[", "x = 1", '[[group]]\nsource = "s"\ngb_per_s = 3\n', ""])
def test_a_broken_table_is_a_damaged_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bandwidth.toml"
    path.write_text(text)
    with pytest.raises(DamagedFileError):
        load_table(path)
