"""A measurement holds for the machine and the engine that it was made with, and for no other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from launcher.hardware.identity import machine_record, same_machine
from launcher.hardware.types import Hardware
from launcher.units import GIB, MIB
from tests.builders import cpu, gpu, host_memory, machine

HERE = machine(devices=[gpu()])


def kept(hardware: Hardware) -> Any:
    """As it is read back from a file."""
    return json.loads(json.dumps(machine_record(hardware)))


def test_a_machine_is_itself_whatever_is_in_its_memory() -> None:
    busy = replace(HERE, memory=host_memory(16, 2), devices=(gpu(24, 1),), notes=("something could not be read",))
    assert same_machine(kept(HERE), busy)


def test_a_kernel_that_keeps_more_memory_to_itself_makes_no_other_machine() -> None:
    less = replace(HERE.memory, total_bytes=HERE.memory.total_bytes - 100 * MIB)
    assert same_machine(kept(HERE), replace(HERE, memory=less))
    assert not same_machine(kept(HERE), replace(HERE, memory=replace(less, total_bytes=15 * GIB)))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(machine(devices=[gpu()], processor=cpu(name="another")), id="processor"),
        pytest.param(machine(devices=[gpu()], processor=cpu(n_physical=4, n_logical=16)), id="affinity"),
        pytest.param(machine(devices=[gpu()], processor=cpu(n_logical=8)), id="threads of a core"),
        pytest.param(machine(devices=[gpu()], processor=cpu(quota_cores=2.0)), id="quota"),
        pytest.param(machine(devices=[gpu()], processor=cpu(isa=("AVX2",))), id="instructions"),
        pytest.param(machine(devices=[gpu()], memory=host_memory(32)), id="RAM"),
        pytest.param(machine(), id="without the GPU"),
        pytest.param(machine(devices=[gpu(), gpu(index=1)]), id="two GPUs"),
        pytest.param(machine(devices=[gpu(description="NVIDIA GeForce RTX 3090")]), id="GPU"),
        pytest.param(machine(devices=[gpu(16)]), id="memory of the GPU"),
        pytest.param(replace(HERE, engine=replace(HERE.engine, llama_cpp_commit="abcdef0")), id="commit"),
        pytest.param(replace(HERE, engine=replace(HERE.engine, version="0.3.37")), id="version"),
        pytest.param(replace(HERE, engine=replace(HERE.engine, name="cuda-0.3.36")), id="build"),
        pytest.param(
            replace(HERE, engine=replace(HERE.engine, made_at="2026-11-25T12:00:00+00:00")), id="compiled again"
        ),
        pytest.param(replace(HERE, engine=replace(HERE.engine, backends=("CPU",))), id="backends"),
    ],
)
def test_another_machine_or_engine_is_another(other: Hardware) -> None:
    assert not same_machine(kept(HERE), other)
    assert same_machine(kept(other), other)


def test_what_was_kept_before_builds_had_names_is_of_the_environments() -> None:
    older = kept(HERE)
    del older["build"]
    assert same_machine(older, HERE)
    assert not same_machine(older, replace(HERE, engine=replace(HERE.engine, name="cuda-0.3.36")))


@pytest.mark.parametrize("wrong", [None, [], {}, "here", {**machine_record(HERE), "ram_bytes": "16 GiB"}])
def test_what_is_no_record_is_no_machine(wrong: object) -> None:
    assert not same_machine(wrong, HERE)
