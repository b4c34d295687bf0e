"""The llama-server command of a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UsageError
from launcher.planner.types import Plan
from launcher.server.command import ServeOptions, cache_budget, check_extra, model_names, server_command
from launcher.units import GIB, MIB
from tests.builders import cpu_machine, gpu_machine
from tests.planner.builders import make_plan

MODEL = Path("/models/gpt-oss-20b-MXFP4.gguf")


def serving(ram_gib: float = 64, **wish: Any) -> Plan:
    return make_plan(cpu_machine(ram_gib=ram_gib), model="20b", quant="MXFP4", n_parallel=4, **wish)


def command(plan: Plan, **options: Any) -> list[str]:
    return list(server_command(plan, MODEL, ServeOptions(**options), program="llama-server"))


def value(argv: list[str], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_the_plan_sampling_and_safety_are_all_told() -> None:
    argv = command(serving())
    assert argv[:3] == ["llama-server", "--model", str(MODEL)]
    assert value(argv, "--fit") == "off"
    assert value(argv, "--parallel") == "4"
    assert "--kv-unified" in argv
    assert [value(argv, flag) for flag in ("--temp", "--top-p", "--top-k", "--min-p")] == ["1", "1", "0", "0"]
    assert value(argv, "--alias") == "gpt-oss-20b,openai/gpt-oss-20b"
    assert value(argv, "--host") == "127.0.0.1"
    assert value(argv, "--cors-origins") == "http://127.0.0.1:8080"
    assert "--no-cors-credentials" in argv
    assert "--api-key-file" not in argv


def test_what_was_asked_for_is_told() -> None:
    argv = command(
        serving(),
        host="0.0.0.0",
        port=9000,
        key_file=Path("/k"),
        cors_origins="http://a.example",
        sleep_idle_seconds=60,
        reasoning_effort="high",
        seed=7,
        extra=("--log-verbosity", "4"),
    )
    assert value(argv, "--port") == "9000"
    assert value(argv, "--api-key-file") == "/k"
    assert value(argv, "--cors-origins") == "http://a.example"
    assert value(argv, "--sleep-idle-seconds") == "60"
    assert value(argv, "--reasoning-effort") == "high"
    assert value(argv, "--seed") == "7"
    assert argv[-2:] == ["--log-verbosity", "4"]


def test_a_model_of_another_kind_is_called_like_its_file() -> None:
    plan = serving()
    file = replace(plan.file, model="Qwen3 4B", repo=None, local_path=Path("/models/Qwen3-4B-Q8_0.gguf"))
    assert model_names(replace(plan, file=file)) == ("Qwen3-4B-Q8_0",)


# llama-server takes 8 GiB for conversations and 32 checkpoints a slot, whatever the machine has.
def test_the_prompt_cache_takes_what_the_plan_leaves() -> None:
    roomy = cache_budget(serving(ram_gib=64))
    assert (roomy.n_checkpoints, roomy.cache_ram_mib) == (32, 8192)
    assert roomy.checkpoint_bytes == 18 * MIB  # n_ubatch 512, the 20b's twelve window layers in f16
    plan = serving(ram_gib=20)
    tight = cache_budget(plan)
    host = plan.memory[-1]
    left = host.left_bytes - host.headroom_bytes
    assert 0 < left < 8 * GIB
    taken = tight.n_checkpoints * 4 * tight.checkpoint_bytes + tight.cache_ram_mib * MIB
    assert left - 256 * MIB < taken <= left


def test_without_room_nothing_is_kept_and_that_is_said() -> None:
    plan = serving()
    host = plan.memory[-1]
    full = replace(plan, memory=(*plan.memory[:-1], replace(host, free_bytes=host.used_bytes + host.headroom_bytes)))
    budget = cache_budget(full)
    assert (budget.n_checkpoints, budget.cache_ram_mib) == (0, 0)
    assert "reads its whole prompt again" in budget.note


def test_whole_windows_need_no_checkpoints() -> None:
    budget = cache_budget(serving(swa_full=True))
    assert budget.n_checkpoints == 0
    assert "swa_full" in budget.note


def test_experts_off_the_gpu_and_devices_are_told() -> None:
    argv = command(make_plan(gpu_machine(vram_gib=24, ram_gib=64), model="120b", n_parallel=4))
    assert value(argv, "--device") == "CUDA0"
    assert int(value(argv, "--n-cpu-moe")) > 0


@pytest.mark.parametrize(
    ("extra", "says", "hint"),
    [
        (["-ngl", "3"], "-ngl (--n-gpu-layers) is decided by the plan; say --n-gpu-layers before", "--help"),
        (["--temperature", "0"], "say --temp", "--help"),
        (["-sm", "row"], "say --tensor-split before", "--help"),
        (["-fa", "off"], "-fa (--flash-attn) is decided by the plan", "--dry-run"),
        (["--api-key", "x"], "would show the key", "--api-key-file"),
    ],
)
def test_clashes_are_refused_by_name(extra: list[str], says: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_extra(extra)
    assert says in caught.value.message
    assert hint in (caught.value.hint or "")


def test_what_does_not_clash_passes() -> None:
    check_extra(["--log-verbosity", "4", "--tools", "get_info", "--ssl-cert-file", "x.pem"])
