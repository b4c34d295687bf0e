"""Amounts as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.units import GIB, KIB, MIB, format_bytes, format_duration, format_rate, parse_bytes


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("4096", 4096),
        ("12G", 12 * GIB),
        ("12GiB", 12 * GIB),
        ("12 gib", 12 * GIB),
        ("12GB", 12_000_000_000),
        (" 1.5 m ", 1_572_864),
        ("900kB", 900_000),
        ("1T", 1024 * GIB),
        ("2TB", 2_000_000_000_000),
        ("0", 0),
        ("7b", 7),
    ],
)
def test_amounts_are_read(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "G", "-1", "1.", ".5G", "1,5G", "12 X", "12GiBs", "1e9", "nan", "12G\n13G"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount of memory"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (None, "unknown"),
        (0, "0 B"),
        (512, "512 B"),
        (KIB, "1 KiB"),
        (MIB, "1.0 MiB"),
        (96 * MIB, "96 MiB"),
        (GIB, "1.0 GiB"),
        (12_109_566_560, "11.3 GiB"),
        (1023 * MIB, "1.0 GiB"),
        (-2 * GIB, "-2.0 GiB"),
    ],
)
def test_amounts_are_printed(n_bytes: int | None, text: str) -> None:
    assert format_bytes(n_bytes) == text


@given(st.integers(0, 2**60))
def test_what_is_printed_can_be_read_back_within_what_rounding_takes(n_bytes: int) -> None:
    text = format_bytes(n_bytes)
    # One decimal at the least: half a tenth of the unit; from 10 MiB and below 1 MiB, half the unit.
    unit = parse_bytes("1" + text.partition(" ")[2])
    assert abs(parse_bytes(text) - n_bytes) <= unit / 2


@pytest.mark.parametrize(
    ("rate", "text"), [(48_200_000, "48.2 MB/s"), (1.008e12, "1008.0 GB/s"), (3_000, "3 kB/s"), (0, "0 kB/s")]
)
def test_rates(rate: float, text: str) -> None:
    assert format_rate(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (42, "42 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
