"""What is tried around a plan: what fits, what is not pinned, what the tests can tell apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launcher.planner.types import Changes, LoadParams, Tuned
from launcher.tune.changes import merged, spelt, with_changes
from launcher.tune.sizes import decode_share, sizes_for, told_apart, typical
from launcher.tune.space import (
    DEFAULTS,
    KEPT,
    default_threads,
    defaults,
    fits,
    space,
    thread_counts,
    with_kept,
)
from launcher.tune.types import Space, Speeds
from tests.builders import cpu, cpu_machine, gpu, host_memory, machine
from tests.planner.builders import gpu_params, make_plan
from tests.tune.landscape import PLAN, ground

SLOW = Speeds(pp_ts=30.0, tg_ts=10.0)


def labels(found: Space) -> dict[str, list[str]]:
    return {axis.name: [option.label for option in axis.options] for axis in found.axes}


def test_everything_that_could_help_on_a_cpu() -> None:
    found = labels(space(ground()))
    assert found["n_threads"] == [f"n_threads {n}" for n in (4, 6, 7, 16)]
    assert found["flash_attn"] == ["flash_attn off"]
    assert found["n_ubatch"][:2] == ["n_ubatch 256", "n_ubatch 1024"]
    assert found["cache"] == ["type_k q8_0, type_v q8_0"]
    assert found["repack"] == ["repack off"]
    assert found["load_mode"] == ["load_mode none"]
    assert not {"op_offload", "n_cpu_moe", "n_gpu_layers", "tensor_split"} & set(found)


def test_settings_that_need_a_load_come_last() -> None:
    reloads = [axis.reloads for axis in space(ground()).axes]
    assert reloads == sorted(reloads)


@pytest.mark.parametrize(
    ("wish", "gone"),
    [
        ({"n_threads": 8}, ("n_threads", "n_threads_batch")),
        ({"n_ubatch": 512}, ("n_ubatch",)),
        ({"n_batch": 2048}, ("n_batch",)),
        ({"type_k": "f16"}, ("cache",)),
        ({"repack": True}, ("repack",)),
        ({"load_mode": "mmap"}, ("load_mode",)),
    ],
)
def test_what_was_pinned_is_left_alone(wish: dict[str, Any], gone: tuple[str, ...]) -> None:
    whole, found = space(ground()), space(ground(**wish))
    assert set(labels(whole)) - set(labels(found)) == set(gone)
    assert any("pinned by" in line for line in found.left_out)


def test_what_does_not_fit_is_not_tried() -> None:
    """Without flash attention the scores of a long context take more than the machine has."""
    tight = ground(replace(PLAN, n_ctx=131_072, load_mode="none"), cpu_machine(ram_gib=24, available_gib=22))
    found = space(tight)
    assert "flash_attn" not in labels(found)
    assert "flash_attn off would not fit." in found.left_out
    assert "load_mode mmap would not fit." in found.left_out
    assert not fits(tight, replace(tight.params, flash_attn=False))
    assert fits(tight, tight.params)


def test_llama_servers_defaults_are_tried_whole() -> None:
    hardware = machine(memory=host_memory(64), processor=cpu(n_physical=8, quota_cores=4.0))
    odd = ground(replace(PLAN, n_threads=4, n_threads_batch=4, n_ubatch=256, n_batch=256), hardware)
    first = space(odd).axes[0]
    assert first.name == DEFAULTS
    assert first.options[0].changes == Changes(n_threads=8, n_threads_batch=8, n_batch=2048, n_ubatch=512)
    assert with_changes(odd.params, defaults(odd)) == PLAN
    assert DEFAULTS not in labels(space(ground())), "the plan is made of them"


def test_llama_cpp_counts_cores_and_no_quota() -> None:
    assert default_threads(cpu(n_physical=8, quota_cores=2.0)) == 8
    assert default_threads(cpu(n_physical=14, n_performance=6)) == 6


def test_threads_within_a_quota() -> None:
    assert thread_counts(cpu(n_physical=2, n_logical=2)) == (1, 2)
    assert thread_counts(cpu(n_physical=8, quota_cores=4.0)) == (2, 3, 4)
    assert 16 in thread_counts(cpu(n_physical=8))


def test_a_gpu_with_experts_in_ram_has_more_to_try() -> None:
    hardware = machine(memory=host_memory(64), devices=[gpu(8)])
    plan = make_plan(hardware, model="20b", quant="MXFP4")
    assert plan.tier == "gpu+cpu-experts"
    found = labels(space(ground(plan.load_params, hardware)))
    assert found["op_offload"] == ["op_offload off"]
    assert found["n_cpu_moe"]
    assert "n_threads" in found
    assert "repack" not in found


def test_a_gpu_that_has_all_of_it_needs_no_threads() -> None:
    hardware = machine(memory=host_memory(64), devices=[gpu(24)])
    found = labels(space(ground(gpu_params(25, n_ctx=32_768), hardware)))
    assert not {"n_threads", "op_offload", "n_gpu_layers"} & set(found)


def test_layers_move_between_two_gpus() -> None:
    hardware = machine(memory=host_memory(64), devices=[gpu(24), gpu(24, index=1)])
    params = gpu_params(25, n_ctx=32_768, devices=("CUDA0", "CUDA1"), split_mode="layer", tensor_split=(13.0, 12.0))
    assert labels(space(ground(params, hardware)))["tensor_split"] == ["tensor_split 14,11", "tensor_split 12,13"]


def test_what_won_before_is_tried_first() -> None:
    kept = Tuned(purpose="chat", changes=Changes(n_ubatch=256), pp_ratio=1.1, tg_ratio=1.0, date="2026-11-01")
    found = with_kept(space(ground()), ground(), kept)
    assert (found.axes[0].name, found.axes[0].reloads) == (KEPT, False)
    repacked = with_kept(space(ground()), ground(), replace(kept, changes=Changes(repack=False)))
    assert repacked.axes[0].reloads
    same = with_kept(space(ground()), ground(), replace(kept, changes=Changes(n_ubatch=512)))
    assert same == space(ground()), "the plan has it by now"


@pytest.mark.parametrize(("budget_s", "n_prompt"), [(60, 0), (240, 0), (300, 512), (3600, 512)])
def test_micro_batches_are_compared_where_a_prompt_can_fill_them(budget_s: float, n_prompt: int) -> None:
    tests = sizes_for(typical("chat", PLAN), SLOW, budget_s, PLAN)
    found = told_apart(space(ground()), PLAN, tests)
    if n_prompt == 0:
        assert tests.batches is None
        assert "n_ubatch" not in labels(found)
        assert any("the budget has no room for a prompt" in line for line in found.left_out)
    else:
        assert tests.batches is not None
        assert tests.batches.n_prompt == n_prompt
        assert labels(found)["n_ubatch"] == ["n_ubatch 256", "n_ubatch 128"]
    assert "n_batch" not in labels(found), "one batch or two of the same micro-batches are the same work"


def test_tests_grow_with_the_budget_and_no_longer_than_a_turn() -> None:
    turn = typical("chat", PLAN)
    sizes = [sizes_for(turn, SLOW, budget_s, PLAN) for budget_s in (60, 600, 6000)]
    prompts = [one.prompt.n_prompt for one in sizes]
    assert prompts == sorted(prompts)
    assert prompts[-1] == turn.n_prompt
    assert sizes[-1].decode.n_gen == turn.n_gen
    assert sizes[0].decode.n_gen >= 8


def test_turns_stay_within_the_context() -> None:
    for purpose in ("chat", "serve", "long-context"):
        for n_ctx in (512, 4096, 131_072):
            params: LoadParams = replace(PLAN, n_ctx=n_ctx, n_parallel=4, kv_unified=True)
            turn = typical(purpose, params)
            assert turn.n_depth + turn.n_prompt + turn.n_streams * turn.n_gen <= n_ctx
            assert turn.n_prompt > 0
            assert turn.n_gen > 0
            assert turn.n_depth >= 0


def test_the_weight_of_decoding_follows_the_speeds() -> None:
    turn = typical("chat", PLAN)
    assert decode_share(turn, Speeds(pp_ts=100.0, tg_ts=10.0)) == pytest.approx(25.6 / (25.6 + 5.12))


def test_changes_add_up() -> None:
    both = merged(Changes(n_ubatch=256, flash_attn=False), Changes(n_ubatch=128))
    assert spelt(both) == "n_ubatch 128, flash_attn off"
    assert spelt(Changes()) == ""
    assert with_changes(PLAN, Changes(n_ubatch=4096)).n_batch == 4096
