"""A plan with tuned settings: what is taken, what wins over it, what is claimed, and when the plan stays as it was."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from launcher.engines.params import server_argv
from launcher.hardware.types import Hardware
from launcher.planner.choose import plan as plan_of
from launcher.planner.report import plan_json
from launcher.planner.table import memory_table
from launcher.planner.throughput import predict, recipe_of, settings_of
from launcher.planner.tuned import apply_tuned, changed_params, changes_text, contradiction
from launcher.planner.types import (
    HOST,
    Calibration,
    Changes,
    LoadParams,
    Plan,
    PlanRequest,
    Purpose,
    Residual,
    SpeedKind,
    Tuned,
)
from tests.builders import cpu_machine, gpu, gpu_machine, host_memory, machine
from tests.planner.builders import RATES, SPEC_20B, files_of, gpu_params, load_params, make_plan, row, weights_of

WEIGHTS = weights_of("gpt-oss-20b")
CPU = cpu_machine(ram_gib=32)


def planned(hardware: Hardware = CPU, **wish: Any) -> Plan:
    return make_plan(hardware, files=files_of("gpt-oss-20b", "MXFP4"), **wish)


def tuned(plan: Plan | None = None, *, purpose: Purpose = "chat", **changes: Any) -> Tuned:
    against = None if plan is None else plan.load_params
    return Tuned(
        purpose=purpose, changes=Changes(**changes), pp_ratio=1.12, tg_ratio=1.06, date="2026-11-25", against=against
    )


def applied(plan: Plan, won: Tuned, *, purpose: Purpose | None = None, **wish: Any) -> Plan:
    return apply_tuned(
        plan,
        WEIGHTS,
        won,
        PlanRequest(**wish),
        rates=RATES,
        calibration=None,
        **({"purpose": purpose} if purpose else {}),
    )


def test_the_plan_is_worked_out_anew_and_says_so() -> None:
    plan = planned(n_ctx=8192)
    won = tuned(plan, n_ubatch=1024, flash_attn=False, n_threads_batch=16)
    found = applied(plan, won, n_ctx=8192)
    assert found.load_params == replace(plan.load_params, n_ubatch=1024, flash_attn=False, n_threads_batch=16)
    assert found.memory == memory_table(CPU, SPEC_20B, WEIGHTS, found.load_params)
    assert row(found).compute_bytes > row(plan).compute_bytes
    assert found.notes[0] == (
        "Tuned for chat on 2026-11-25: n_threads_batch 16, n_ubatch 1024, flash_attn off; prompts 1.12, decoding 1.06 "
        "of the plan without them (gpt-oss tune --explain)."
    )
    assert found.notes[1:] == plan.notes
    assert found.candidates == plan.candidates
    assert found.tuned is not None
    assert (found.tuned.changes, found.tuned.pp_ratio, found.tuned.tg_ratio) == (won.changes, 1.12, 1.06)


def test_speeds_are_those_of_the_plan_without_changes_times_what_was_measured() -> None:
    plan = planned(n_ctx=8192)
    # The model of speed has its own opinion of twice the threads, which must not count beside the measurement.
    found = applied(plan, tuned(plan, n_threads=16, n_threads_batch=16), n_ctx=8192)
    assert [r.n_depth for r in found.throughput] == [r.n_depth for r in plan.throughput] == [0, 4096]
    for new, old in zip(found.throughput, plan.throughput, strict=True):
        assert old.tg_ts is not None
        assert old.pp_ts is not None
        assert new.tg_ts == pytest.approx(old.tg_ts * 1.06)
        assert new.pp_ts == pytest.approx(old.pp_ts * 1.12)
        assert new.basis == f"{old.basis}; prompts 1.12 and decoding 1.06 times that, as tuned here on 2026-11-25"


def test_what_several_sequences_gained_is_not_claimed_of_one() -> None:
    plan = planned()
    won = tuned(plan, purpose="serve", n_threads=4)
    found = applied(plan, won)
    anew = predict(CPU, SPEC_20B, WEIGHTS, found.load_params, RATES)
    assert [r.tg_ts for r in found.throughput] == [r.tg_ts for r in anew]
    assert plan.throughput[0].pp_ts is not None
    assert found.throughput[0].pp_ts == pytest.approx(plan.throughput[0].pp_ts * 1.12)
    assert "decoding several sequences 1.06 of" in found.notes[0]
    assert found.notes[0].endswith("(gpt-oss tune --for serve --explain).")
    assert "decoding" not in found.throughput[0].basis


def test_runs_with_the_tuned_settings_are_not_counted_twice() -> None:
    plan = planned(n_ctx=8192)
    won = tuned(plan, n_ubatch=1024, n_threads=7)
    params = replace(plan.load_params, n_ubatch=1024, n_threads=7)
    recipe = recipe_of(SPEC_20B, WEIGHTS)

    def calibrated(*kept: tuple[SpeedKind, str | None]) -> Calibration:
        left = (Residual(recipe=recipe, settings=how, kind=kind, factor=0.8, n_runs=5) for kind, how in kept)
        return Calibration(n_runs=5, last_date="2026-11-26", costs=(), residuals=tuple(left))

    def anew(calibration: Calibration) -> tuple[bool, bool, str]:
        """Which speeds are predicted like those of any plan, and on what they rest."""
        request, files = PlanRequest(n_ctx=8192), files_of("gpt-oss-20b", "MXFP4")
        base = plan_of(CPU, files, request, rates=RATES, calibration=calibration)
        shown = apply_tuned(base, WEIGHTS, won, request, rates=RATES, calibration=calibration).throughput[0]
        other = predict(CPU, SPEC_20B, WEIGHTS, params, RATES, calibration=calibration)[0]
        return shown.pp_ts == other.pp_ts, shown.tg_ts == other.tg_ts, shown.basis

    *both, basis = anew(calibrated(("pp", settings_of(params, "pp")), ("tg", settings_of(params, "tg"))))
    assert both == [True, True]
    assert "as tuned here" not in basis
    *prompts, basis = anew(calibrated(("pp", settings_of(params, "pp"))))
    assert prompts == [True, False]
    assert basis.endswith("; decoding 1.06 times that, as tuned here on 2026-11-25")
    *others, basis = anew(calibrated(("pp", None), ("tg", settings_of(plan.load_params, "tg"))))
    assert others == [False, False], "runs with other settings tell nothing of the gain"
    assert "prompts 1.12 and decoding 1.06" in basis


def test_an_unknown_speed_stays_unknown() -> None:
    plan = make_plan(CPU, files=files_of("gpt-oss-20b", "MXFP4"), rates={})
    assert plan.tg_ts is None
    found = apply_tuned(plan, WEIGHTS, tuned(plan, n_ubatch=256), PlanRequest(), rates={}, calibration=None)
    assert found.load_params.n_ubatch == 256
    assert found.tg_ts is None


def test_settings_of_another_purpose_say_so() -> None:
    plan = planned(n_parallel=4)
    found = applied(plan, tuned(planned(), n_ubatch=1024), purpose="serve", n_parallel=4)
    assert found.notes[0].startswith("Tuned for chat on 2026-11-25 (nothing is for serve): n_ubatch 1024; prompts 1.12")
    assert found.load_params == replace(plan.load_params, n_ubatch=1024), "slots make no other plan of it"


def test_another_context_keeps_what_was_tuned() -> None:
    won = tuned(planned(n_ctx=4096), n_ubatch=1024)
    found = applied(planned(n_ctx=65_536), won, n_ctx=65_536)
    assert (found.load_params.n_ctx, found.load_params.n_ubatch) == (65_536, 1024)
    assert found.tuned is not None
    assert found.tuned.tg_ratio == 1.06


@pytest.mark.parametrize(
    ("wish", "changes", "kept", "pinned"),
    [
        ({"n_ubatch": 256}, {"n_ubatch": 1024, "flash_attn": False}, {"flash_attn": False}, "n_ubatch is"),
        ({"n_threads": 4}, {"n_threads_batch": 16, "n_ubatch": 1024}, {"n_ubatch": 1024}, "n_threads is"),
        ({"repack": True, "load_mode": "mmap"}, {"repack": False, "load_mode": "none", "n_ubatch": 256},
         {"n_ubatch": 256}, "load_mode and repack are"),
        ({"type_k": "q8_0"}, {"type_k": "q4_0", "n_threads": 4}, {"n_threads": 4}, "type_k is"),
        ({"n_batch": 512}, {"n_batch": 4096, "flash_attn": False}, {"flash_attn": False}, "n_batch is"),
    ],
)  # fmt: skip
def test_what_is_pinned_wins_and_no_gain_is_claimed(
    wish: dict[str, Any], changes: dict[str, Any], kept: dict[str, Any], pinned: str
) -> None:
    plan = planned(n_ctx=8192, **wish)
    found = applied(plan, tuned(planned(n_ctx=8192), **changes), n_ctx=8192, **wish)
    assert found.load_params == replace(plan.load_params, **kept)
    assert found.tuned is not None
    assert found.tuned.changes == Changes(**kept)
    assert found.tuned.pp_ratio is found.tuned.tg_ratio is None
    assert f"; what they gain here was not measured, as {pinned} pinned (" in found.notes[0]
    assert found.throughput == predict(CPU, SPEC_20B, WEIGHTS, found.load_params, RATES)


def test_where_all_of_it_is_pinned_the_plan_stays() -> None:
    plan = planned(n_ubatch=256)
    found = applied(plan, tuned(planned(), n_ubatch=1024), n_ubatch=256)
    assert found == replace(plan, notes=found.notes)
    assert found.notes[0] == ("Settings tuned for chat on 2026-11-25 are left out (n_ubatch 1024): n_ubatch is pinned.")


def test_what_is_pinned_to_the_same_is_no_contradiction() -> None:
    plan = planned(n_ubatch=1024, n_ctx=8192)
    found = applied(plan, tuned(plan, n_ubatch=1024, flash_attn=False), n_ubatch=1024, n_ctx=8192)
    assert found.load_params.flash_attn is False
    assert found.tuned is not None
    assert found.tuned.pp_ratio == 1.12


def test_the_command_that_explains_is_for_the_same_model() -> None:
    plan = planned()
    found = applied(plan, tuned(plan, n_ubatch=256), model="/models/my own.gguf", quant="MXFP4")
    assert found.notes[0].endswith("(gpt-oss tune --model '/models/my own.gguf' --quant MXFP4 --explain).")


def test_where_nothing_won_the_plan_says_that() -> None:
    plan = planned()
    found = applied(plan, tuned(plan))
    assert found.notes[0] == "Tuned for chat on 2026-11-25: nothing was better than the plan (gpt-oss tune --explain)."
    assert (found.load_params, found.throughput) == (plan.load_params, plan.throughput)


def test_what_does_not_fit_now_is_left_out() -> None:
    plan = planned(n_ctx=131_072)
    found = applied(plan, tuned(plan, flash_attn=False), n_ctx=131_072)
    assert found == replace(plan, notes=found.notes)
    assert found.notes[0].startswith(
        "Settings tuned for chat on 2026-11-25 are left out (flash_attn off): RAM would be"
    )
    assert found.tuned is None
    less = planned(n_ctx=4096)
    assert applied(less, tuned(plan, flash_attn=False), n_ctx=4096).load_params.flash_attn is False


def test_a_device_that_does_not_hold_it_is_named() -> None:
    hardware = gpu_machine(vram_gib=14, vram_free_gib=13.9, ram_gib=64)
    plan = planned(hardware)
    assert plan.tier == "gpu"
    found = applied(plan, tuned(plan, n_ubatch=8192, n_batch=8192))
    assert found.load_params == plan.load_params
    assert "CUDA0 would be short by" in found.notes[0]


@pytest.mark.parametrize(
    ("params", "changes", "why"),
    [
        (
            load_params(n_ctx=1024, n_batch=1024),
            {"n_ubatch": 2048},
            "n_ubatch 2048 is beyond the context of 1024 tokens",
        ),
        (load_params(), {"n_batch": 8192}, "n_batch 8192 is beyond the context of 4096 tokens"),
        (load_params(), {"n_batch": 256, "n_ubatch": 512}, "n_ubatch 512 is above n_batch 256"),
        (load_params(), {"type_v": "q8_0", "flash_attn": False}, "llama.cpp has no V cache in q8_0 without flash_attn"),
        (load_params(type_v="q4_0"), {"flash_attn": False}, "llama.cpp has no V cache in q4_0 without flash_attn"),
        (load_params(type_k="q8_0"), {"flash_attn": False}, None),
        (load_params(), {"type_v": "bf16", "flash_attn": False}, None),
        (load_params(), {"n_threads": 0}, "n_threads 0 is below 1"),
        (load_params(), {"n_gpu_layers": 25}, "layers were on a device, and this plan uses none"),
        (gpu_params(25), {"n_cpu_moe": 25}, "n_cpu_moe 25 is more than there are"),
        (gpu_params(25), {"n_cpu_moe": -1}, "n_cpu_moe -1 is below 0"),
        (gpu_params(25), {"tensor_split": (1.0, 1.0)}, "layers were shared out otherwise than over 1 device"),
        (
            gpu_params(25, devices=("CUDA0", "CUDA1"), split_mode="layer", tensor_split=(12.0, 13.0)),
            {"tensor_split": (0.0, 0.0)},
            "layers were shared out otherwise than over 2 devices",
        ),
        (gpu_params(25), {"n_gpu_layers": 0}, None),
        (gpu_params(25), {"n_cpu_moe": 3, "op_offload": False}, None),
    ],
)
def test_what_cannot_be_is_told_apart(params: LoadParams, changes: dict[str, Any], why: str | None) -> None:
    assert contradiction(SPEC_20B, changed_params(params, Changes(**changes)), PlanRequest()) == why


def test_a_micro_batch_above_a_pinned_batch_is_left_out() -> None:
    plan = planned(n_batch=512)
    found = applied(plan, tuned(plan, n_ubatch=1024), n_batch=512)
    assert found.load_params == plan.load_params
    assert found.notes[0].endswith("n_ubatch 1024 is above n_batch 512, which is pinned.")


@pytest.mark.parametrize(
    ("params", "changes", "more"),
    [
        (load_params(), {"n_ubatch": 4096}, {"n_batch": 4096}),
        (load_params(), {"n_batch": 256}, {"n_ubatch": 256}),
        (gpu_params(25, 3, n_cpu_moe_tensors=2), {"n_cpu_moe": 4}, {"n_cpu_moe_tensors": 0}),
        (
            gpu_params(25, 3, n_cpu_moe_tensors=1),
            {"n_gpu_layers": 0},
            {"devices": (), "n_cpu_moe": 0, "n_cpu_moe_tensors": 0, "offload_kqv": False},
        ),
        (
            gpu_params(25, devices=("CUDA0", "CUDA1"), split_mode="layer", tensor_split=(12.0, 13.0)),
            {"split_mode": "none"},
            {"devices": ("CUDA0",), "tensor_split": ()},
        ),
    ],
)
def test_a_change_brings_what_follows_from_it(
    params: LoadParams, changes: dict[str, Any], more: dict[str, Any]
) -> None:
    assert changed_params(params, Changes(**changes)) == replace(params, **changes, **more)


def test_every_change_reaches_the_parameters() -> None:
    names = {f.name for f in fields(Changes)}
    assert names <= {f.name for f in fields(LoadParams)}
    every = Changes(
        n_threads=3, n_threads_batch=5, n_batch=1024, n_ubatch=128, flash_attn=False, n_gpu_layers=20, n_cpu_moe=2,
        tensor_split=(1.0, 2.0), split_mode="layer", load_mode="none", repack=True, op_offload=False, type_k="q8_0",
        type_v="bf16",
    )  # fmt: skip
    params = gpu_params(25, devices=("CUDA0", "CUDA1"), split_mode="layer", tensor_split=(12.0, 13.0))
    found = changed_params(params, every)
    assert {name: getattr(found, name) for name in names} == {name: getattr(every, name) for name in names}
    assert changes_text(every) == (
        "n_threads 3, n_threads_batch 5, n_batch 1024, n_ubatch 128, flash_attn off, n_gpu_layers 20, n_cpu_moe 2, "
        "tensor_split 1,2, split_mode layer, load_mode none, repack on, op_offload off, type_k q8_0, type_v bf16"
    )
    assert changes_text(Changes()) == "nothing"


def off_gpu(n: int) -> tuple[Hardware, Plan]:
    """A machine whose GPU holds all but the experts of a few layers; the smaller `n`, the more are off."""
    hardware = gpu_machine(vram_gib=16, vram_free_gib=n, ram_gib=64)
    return hardware, planned(hardware, n_ctx=8192)


def test_layers_are_moved_only_where_they_lie_as_they_did() -> None:
    _, plan = off_gpu(8)
    assert plan.tier == "gpu+cpu-experts"
    more = plan.load_params.n_cpu_moe + 2
    won = tuned(plan, n_cpu_moe=more, n_ubatch=1024)
    found = applied(plan, won, n_ctx=8192)
    assert (found.load_params.n_cpu_moe, found.load_params.n_cpu_moe_tensors) == (more, 0)
    assert found.tuned is not None
    assert found.tuned.tg_ratio == 1.06
    assert any(f"The experts of {more} of 24 layers stay in RAM" in note for note in found.notes)
    assert not any(f"The experts of {plan.load_params.n_cpu_moe} of 24" in note for note in found.notes)
    # With the whole GPU free again, moving experts off it would cost speed.
    _, roomy = off_gpu(15)
    kept = applied(roomy, won, n_ctx=8192)
    assert kept.load_params == replace(roomy.load_params, n_ubatch=1024)
    assert kept.tuned is not None
    assert kept.tuned.changes == Changes(n_ubatch=1024)
    assert kept.tuned.tg_ratio is None
    assert "was not measured, as layers lie elsewhere than they did" in kept.notes[0]


def test_what_was_tuned_on_a_gpu_is_nothing_for_the_cpu_alone() -> None:
    hardware, plan = off_gpu(15)
    won = tuned(plan, n_ubatch=2048)
    alone = planned(hardware, devices=(), n_ctx=8192)
    found = applied(alone, won, devices=(), n_ctx=8192)
    assert found.load_params == alone.load_params
    assert found.notes[0].endswith("are left out (n_ubatch 2048): they were measured on CUDA0.")
    back = applied(plan, tuned(alone, n_threads=4), n_ctx=8192)
    assert back.notes[0].endswith("(n_threads 4): they were measured on the CPU alone.")


def test_pinned_layers_take_no_tuned_ones() -> None:
    hardware, plan = off_gpu(8)
    pinned = planned(hardware, n_ctx=8192, n_gpu_layers=12)
    found = applied(pinned, tuned(n_cpu_moe=24, n_gpu_layers=25, n_threads=4), n_ctx=8192, n_gpu_layers=12)
    assert found.load_params == replace(pinned.load_params, n_threads=4)
    assert "n_gpu_layers is pinned" in found.notes[0]
    anywhere = applied(plan, tuned(n_cpu_moe=20, n_threads=4), n_ctx=8192, devices=("CUDA0",))
    assert anywhere.load_params == replace(plan.load_params, n_threads=4), "nobody knows which devices were measured"


def test_the_plan_that_was_measured_has_to_be_this_one() -> None:
    plan = planned(type_k="q8_0", type_v="q8_0")
    found = applied(plan, tuned(planned(), n_ubatch=1024), type_k="q8_0", type_v="q8_0")
    assert found.load_params.n_ubatch == 1024
    assert found.tuned is not None
    assert found.tuned.pp_ratio is None
    assert "as the plan had type_k f16 then" in found.notes[0]


def test_notes_of_the_planner_do_not_explain_what_was_tuned() -> None:
    hardware = gpu_machine(vram_gib=24, ram_gib=64)
    plan = planned(hardware, n_ctx=8192)
    assert any(note.startswith("n_ubatch 2048 instead of 512") for note in plan.notes)
    found = applied(plan, tuned(plan, n_ubatch=1024), n_ctx=8192)
    assert not any(note.startswith("n_ubatch") for note in found.notes)
    two = machine(devices=[gpu(10), gpu(10, index=1)], memory=host_memory(64))
    shared = planned(two, n_ctx=8192)
    assert len(shared.load_params.devices) == 2
    moved = applied(shared, tuned(shared, tensor_split=(10.0, 15.0)), n_ctx=8192)
    assert "Layers by device (the output counts as one): CUDA0 10, CUDA1 15." in moved.notes


def test_a_change_that_leaves_the_gpu_makes_a_plan_of_the_cpu() -> None:
    hardware = gpu_machine(vram_gib=24, ram_gib=64)
    plan = planned(hardware, n_ctx=8192)
    found = applied(plan, tuned(plan, n_gpu_layers=0, repack=True), n_ctx=8192)
    assert (found.tier, found.load_params.devices) == ("cpu", ())
    assert [r.name for r in found.memory] == [HOST]


def test_what_does_not_fit_anyway_is_left_alone() -> None:
    miss = replace(planned(), fits=False)
    assert applied(miss, tuned(n_ubatch=1024)) is miss


def test_json_carries_it_or_null() -> None:
    plan = planned()
    assert plan_json(plan, ())["tuned"] is None
    told = plan_json(applied(plan, tuned(plan, n_ubatch=1024)), ())["tuned"]
    assert (told["purpose"], told["date"], told["pp_ratio"], told["tg_ratio"]) == ("chat", "2026-11-25", 1.12, 1.06)
    assert told["changes"] == {f.name: 1024 if f.name == "n_ubatch" else None for f in fields(Changes)}


def test_whatever_was_tuned_a_plan_that_is_given_fits_and_can_be_spelt() -> None:
    chance = random.Random(7)
    values: dict[str, tuple[Any, ...]] = {
        "n_threads": (0, 1, 4, 16),
        "n_threads_batch": (1, 8, 32),
        "n_batch": (1, 256, 2048, 8192),
        "n_ubatch": (1, 64, 512, 4096),
        "flash_attn": (True, False),
        "n_gpu_layers": (-1, 0, 12, 25, 99),
        "n_cpu_moe": (0, 7, 24, 99),
        "tensor_split": ((), (1.0,), (1.0, 2.0), (0.0, 0.0)),
        "split_mode": ("none", "layer"),
        "load_mode": ("none", "mmap", "mlock"),
        "repack": (True, False),
        "op_offload": (True, False),
        "type_k": ("f16", "q8_0", "q4_0"),
        "type_v": ("f16", "q8_0", "bf16"),
    }
    machines = (
        cpu_machine(ram_gib=16),
        CPU,
        gpu_machine(vram_gib=8, ram_gib=32),
        machine(devices=[gpu(10), gpu(10, index=1)], memory=host_memory(64)),
    )
    plans = [(planned(hardware, n_ctx=n_ctx), n_ctx) for hardware in machines for n_ctx in (2048, 32_768)]
    taken = 0
    for _ in range(400):
        plan, n_ctx = chance.choice(plans)
        names = chance.sample(sorted(values), chance.randint(1, 4))
        won = tuned(chance.choice((plan, None)), **{name: chance.choice(values[name]) for name in names})
        found = applied(plan, won, n_ctx=n_ctx)
        if found.tuned is None:
            assert found == replace(plan, notes=found.notes)
            assert len(found.notes) == len(plan.notes) + 1
            continue
        taken += 1
        assert all(r.fits for r in found.memory)
        params = found.load_params
        assert params == changed_params(plan.load_params, found.tuned.changes)
        assert contradiction(SPEC_20B, params, PlanRequest()) is None
        assert [r.name for r in found.memory] == [*params.devices, HOST]
        server_argv(params, Path("model.gguf"))
    assert 100 < taken < 350
