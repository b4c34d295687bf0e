"""The JSON of a plan: the documented shape whether it fits or not, and nothing left out that is not known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from launcher.errors import DoesNotFitError
from launcher.planner.report import missing, plan_json
from launcher.planner.types import HOST, Plan
from tests.builders import apple_machine, cpu_machine, gpu_machine
from tests.planner.builders import files_of, make_plan

ARGV = ("llama-server", "--model", "/models/a b.gguf")
KEYS = {
    "hardware": {"os", "cpu", "memory", "devices", "idle_devices", "engine", "notes"},
    "model": {"repo", "revision", "files", "quant", "total_bytes"},
    "load_params": {
        *("n_gpu_layers", "n_cpu_moe", "tensor_split", "n_ctx", "n_batch", "n_ubatch", "n_parallel", "n_threads"),
        *("flash_attn", "type_k", "type_v", "kv_unified", "swa_full", "n_outputs_max", "load_mode", "repack"),
    },
}
ROWS = {
    "memory": {
        *("device", "model_bytes", "context_bytes", "compute_bytes", "overhead_bytes", "mapped_bytes"),
        *("anonymous_bytes", "total_bytes", "free_bytes", "headroom_bytes", "shared_bytes"),
    },
    "throughput": {"n_depth", "pp_ts", "tg_ts", "basis"},
    "candidates": {"repo", "quant", "fits", "why"},
}
TOP = {*KEYS, *ROWS, "fits", "tier", "spec", "weights_basis", "argv", "notes"}


def nearest_miss() -> Plan:
    with pytest.raises(DoesNotFitError) as refused:
        make_plan(cpu_machine(ram_gib=16), files=files_of("gpt-oss-120b"))
    assert isinstance(refused.value.closest, Plan)
    return refused.value.closest


def report(plan: Plan) -> dict[str, Any]:
    """As a program reads it."""
    found: dict[str, Any] = json.loads(json.dumps(plan_json(plan, ARGV)))
    return found


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(make_plan(gpu_machine(), files=files_of("gpt-oss-120b")), id="gpu and experts in RAM"),
        pytest.param(make_plan(gpu_machine(n_gpus=2, vram_gib=48)), id="two gpus"),
        pytest.param(make_plan(apple_machine()), id="unified"),
        pytest.param(make_plan(cpu_machine(ram_gib=64), rates={}), id="speeds unknown"),
        pytest.param(nearest_miss(), id="does not fit"),
    ],
)
def test_every_plan_has_the_documented_shape(plan: Plan) -> None:
    found = report(plan)
    assert found.keys() >= TOP
    for key, names in KEYS.items():
        assert found[key].keys() >= names, key
    for key, names in ROWS.items():
        assert found[key], key
        assert all(row.keys() >= names for row in found[key]), key
    assert found["argv"] == list(ARGV)
    assert found["memory"][-1]["device"] == HOST
    assert found["fits"] is plan.fits


def test_a_row_adds_up() -> None:
    for row in report(make_plan(apple_machine()))["memory"]:
        parts = ("model_bytes", "context_bytes", "compute_bytes", "overhead_bytes")
        assert row["total_bytes"] == sum(row[part] for part in parts)
        assert row["anonymous_bytes"] + row["mapped_bytes"] == row["total_bytes"]
        assert row["fits"]


def test_the_host_of_unified_memory_says_what_devices_draw_from_it() -> None:
    device, host = report(make_plan(apple_machine()))["memory"]
    assert host["shared_bytes"] == device["total_bytes"] > 0
    assert device["shared_bytes"] == 0


def test_files_have_paths_sizes_and_hashes() -> None:
    plan = make_plan(cpu_machine(ram_gib=32), files=files_of("gpt-oss-20b", "MXFP4"))
    model = report(plan)["model"]
    assert model["repo"] == plan.file.repo
    assert model["total_bytes"] == plan.file.size_bytes
    assert model["files"] == [
        {"path": part.path, "size_bytes": part.size_bytes, "sha256": part.sha256} for part in plan.file.parts
    ]


def test_what_is_not_known_is_null() -> None:
    plan = make_plan(cpu_machine(ram_gib=32), rates={})
    found = report(replace(plan, file=replace(plan.file, repo=None, revision=None)))
    assert found["model"]["repo"] is found["model"]["revision"] is None
    assert found["throughput"][0]["tg_ts"] is None


def test_candidates_say_why_and_one_is_chosen() -> None:
    rows = report(make_plan(cpu_machine(ram_gib=32)))["candidates"]
    assert [row["why"] for row in rows].count("chosen") == 1
    assert all("reason" not in row and row["why"] for row in rows)
    assert any(not row["fits"] and "short by" in row["why"] for row in rows)


def test_what_is_missing_in_few_words() -> None:
    plan = nearest_miss()
    host = plan.memory[-1]
    assert missing(plan).startswith("short of ")
    assert missing(plan).endswith(" GiB RAM")
    tight = replace(host, free_bytes=10 * host.free_bytes)
    assert missing(replace(plan, memory=(replace(host, name="CUDA0"), tight))).endswith(" GiB CUDA0")
    assert missing(replace(plan, memory=(tight,))) == "slower than asked"
