"""Hardware in a file: what one machine saves, another plans for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import DamagedFileError, UsageError
from launcher.hardware.saved import hardware_from_json, hardware_to_json, load_hardware
from tests.builders import apple_machine, cpu_machine, gpu_machine, idle_gpu

if TYPE_CHECKING:
    from pathlib import Path

    from launcher.hardware.types import Hardware

MACHINES = [
    cpu_machine(ram_gib=16, idle=[idle_gpu()]),
    cpu_machine(ram_gib=64, limit_gib=8),
    gpu_machine(vram_gib=24, n_gpus=2),
    apple_machine(),
]


@pytest.mark.parametrize("hardware", MACHINES)
def test_round_trip_through_a_file(tmp_path: Path, hardware: Hardware) -> None:
    path = tmp_path / "hardware.json"
    path.write_text(json.dumps(hardware_to_json(hardware)))
    assert load_hardware(path) == hardware


def test_the_schema_comes_first_and_unknown_is_null() -> None:
    data = hardware_to_json(cpu_machine())
    assert next(iter(data.items())) == ("schema", 1)
    assert data["memory"]["limit_bytes"] is None
    assert data["cpu"]["n_performance"] is None


def damage(change: dict[str, Any]) -> str:
    return json.dumps(hardware_to_json(cpu_machine()) | change)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON: "),
        ("[]", "holds no hardware record"),
        ("{}", "holds no hardware record"),
        ("[" * 100_000, "is not JSON"),
        (damage({"os": 3}), "is damaged: os: expected text, found 3"),
        (damage({"memory": None}), "is damaged: memory: expected an object, found None"),
        (damage({"colour": 3}), "is damaged: colour: no such field"),
    ],
)
def test_a_file_that_is_no_hardware_record_is_damaged(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "hardware.json"
    path.write_text(content)
    with pytest.raises(DamagedFileError) as caught:
        load_hardware(path)
    assert message in caught.value.message
    assert caught.value.path == str(path)
    assert caught.value.hint == "gpt-oss hardware --save FILE"


def test_bytes_that_are_no_text_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "hardware.json"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(DamagedFileError, match="is not JSON text"):
        load_hardware(path)


def test_a_missing_file_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="cannot be read: No such file"):
        load_hardware(tmp_path / "none.json")


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_a_matter_of_versions_and_not_damage(schema: object) -> None:
    with pytest.raises(UsageError, match="this launcher reads schema 1"):
        hardware_from_json(hardware_to_json(cpu_machine()) | {"schema": schema})


@given(
    key=st.sampled_from(["os", "cpu", "memory", "devices", "idle_devices", "engine", "notes"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
        max_leaves=4,
    ),
)
def test_any_value_in_a_field_is_read_or_refused(key: str, value: Any) -> None:
    data = hardware_to_json(cpu_machine()) | {key: value}
    try:
        found = hardware_from_json(data)
    except DamagedFileError:
        return
    assert hardware_from_json(hardware_to_json(found)) == found
