import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.catalogue.types import Catalogue
from launcher.errors import DoesNotFitError, UsageError
from launcher.hardware.types import Hardware
from launcher.planner.placement import Placement
from launcher.planner.search import GOOD_N_CTX, context_steps
from launcher.planner.types import HOST, Plan, PlanRequest
from launcher.records import from_jsonable, to_jsonable
from launcher.units import GIB
from tests.builders import ARM_ISA, apple_machine, cpu_machine, gpu_machine
from tests.planner.builders import RATES, SPEC_20B, catalogue, files_of, make_plan, row


def choice(hardware: Hardware, **wish: Any) -> tuple[str, str, str, int]:
    found = make_plan(hardware, **wish)
    return found.file.model, found.file.quant, found.tier, found.load_params.n_ctx


# --- The rule ---


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        # The native release and a good context, not a better class with less: it leaves 28 MiB.
        (cpu_machine(ram_gib=16, available_gib=12.8), ("gpt-oss-20b", "MXFP4", "cpu", 32_768)),
        (cpu_machine(ram_gib=24), ("gpt-oss-20b", "F16", "cpu", 131_072)),
        (cpu_machine(ram_gib=64), ("gpt-oss-20b", "F16", "cpu", 131_072)),
        (cpu_machine(ram_gib=128), ("gpt-oss-120b", "F16", "cpu", 131_072)),
        # 12 GB hold Q2_K_L with the experts of two layers in RAM, MXFP4 with three: no reason to take Q2_K_L.
        (gpu_machine(vram_gib=6), ("gpt-oss-20b", "MXFP4", "gpu+cpu-experts", 32_768)),
        (gpu_machine(vram_gib=8), ("gpt-oss-20b", "MXFP4", "gpu+cpu-experts", 32_768)),
        (gpu_machine(vram_gib=12, ram_gib=32), ("gpt-oss-20b", "MXFP4", "gpu+cpu-experts", 32_768)),
        # The larger model fits with a shorter context, and the largest model goes before its context.
        (gpu_machine(vram_gib=12), ("gpt-oss-120b", "Q4_0", "gpu+cpu-experts", 12_288)),
        # 64 GiB of RAM beside: the 120b, with most experts there.
        (gpu_machine(vram_gib=16), ("gpt-oss-120b", "MXFP4", "gpu+cpu-experts", 32_768)),
        (gpu_machine(vram_gib=24), ("gpt-oss-120b", "MXFP4", "gpu+cpu-experts", 32_768)),
        (gpu_machine(vram_gib=80), ("gpt-oss-120b", "F16", "gpu", 131_072)),
        (gpu_machine(vram_gib=24, ram_gib=16), ("gpt-oss-20b", "F16", "gpu", 131_072)),
    ],
)
def test_the_choice_by_machine(hardware: Hardware, expected: tuple[str, str, str, int]) -> None:
    assert choice(hardware) == expected


def test_the_choice_on_a_mac() -> None:
    found = make_plan(apple_machine(ram_gib=96), files=catalogue(ARM_ISA))
    assert (found.file.model, found.tier) == ("gpt-oss-120b", "gpu")


def test_a_class_below_the_native_one_is_taken_to_stay_in_a_faster_tier() -> None:
    # Whole on the GPU at 32K, MXFP4 needs 12.5 GiB of free memory, Q4_0 12.1.
    whole = gpu_machine(vram_gib=16, vram_free_gib=12.3, ram_gib=32)
    found = make_plan(whole, files=files_of("gpt-oss-20b"))
    assert found.tier == "gpu"
    assert row(found, "CUDA0").fits
    assert found.load_params.n_ctx >= GOOD_N_CTX
    native = make_plan(whole, files=files_of("gpt-oss-20b", "MXFP4"))
    assert native.tier == "gpu+cpu-experts"
    won = next(c for c in found.candidates if c.reason == "chosen")
    better = [c for c in found.candidates if c.tier == "gpu" and c.dense_bpw > won.dense_bpw + 0.05]
    assert not better


def test_a_class_below_the_native_one_is_taken_for_a_good_context() -> None:
    tight = cpu_machine(ram_gib=16, available_gib=12.4)
    native = make_plan(tight, files=files_of("gpt-oss-20b", "MXFP4"))
    assert native.load_params.n_ctx < GOOD_N_CTX
    found = make_plan(tight, files=files_of("gpt-oss-20b"))
    assert found.load_params.n_ctx >= GOOD_N_CTX
    assert found.candidates[0].dense_bpw > 8  # F16 leads the table, though it does not fit
    assert next(c for c in found.candidates if c.reason == "chosen").dense_bpw < 8.4


# A file that kept a faster placement at 4K won over one with 32K in a slower one.
def test_a_good_context_comes_before_a_faster_placement() -> None:
    hardware = gpu_machine(vram_gib=12, vram_free_gib=2.55, ram_gib=16, available_gib=12.8)
    for found in (make_plan(hardware, files=files_of("gpt-oss-20b")), make_plan(hardware)):
        best = max(c.n_ctx for c in found.candidates if c.n_ctx is not None)
        assert found.load_params.n_ctx >= min(GOOD_N_CTX, best)


def test_prefer_speed_takes_the_fastest_prediction() -> None:
    found = make_plan(gpu_machine(vram_gib=24), prefer="speed")
    speeds = [c.tg_ts for c in found.candidates if c.tg_ts]
    assert found.tg_ts is not None
    assert found.tg_ts >= 0.95 * max(speeds)
    assert (found.file.model, found.tier) == ("gpt-oss-20b", "gpu")


# The only known speed, that of the CPU, was taken for the fastest.
def test_prefer_speed_does_not_flee_from_a_gpu_whose_bandwidth_is_unknown() -> None:
    small_gpu = gpu_machine(vram_gib=16, ram_gib=160)
    found = make_plan(small_gpu, prefer="speed", rates={HOST: RATES[HOST]})
    assert (found.file.model, found.tier) == ("gpt-oss-20b", "gpu")
    assert found.tg_ts is None
    assert found.file.quant == "Q3_K_S"  # fewest bytes per token


def test_prefer_context_takes_the_longest_context() -> None:
    hardware = gpu_machine(vram_gib=8)
    usual, long = make_plan(hardware), make_plan(hardware, prefer="context")
    assert long.load_params.n_ctx == 131_072 > usual.load_params.n_ctx
    assert long.load_params.n_cpu_moe > usual.load_params.n_cpu_moe
    assert long.file.model == usual.file.model


def test_a_file_on_this_disk_goes_before_its_equals() -> None:
    files = files_of("gpt-oss-20b", "MXFP4", "Q8_0")
    here = [replace(f, local_path=Path("/models/x.gguf")) if f.quant == "Q8_0" else f for f in files.files]
    found = make_plan(cpu_machine(ram_gib=16), files=replace(files, files=tuple(here)))
    assert found.file.quant == "Q8_0"
    assert make_plan(cpu_machine(ram_gib=16), files=files).file.quant == "MXFP4"


# --- Contexts and pins ---


@pytest.mark.parametrize(
    ("wish", "first", "last", "count"),
    [
        ({}, 131_072, 4096, 11),
        ({"n_ctx": 10_000}, 10_000, 10_000, 1),
        ({"n_ctx": 0}, 131_072, 131_072, 1),
        ({"min_ctx": 50_000}, 131_072, 50_000, 4),
        ({"min_ctx": 131_072}, 131_072, 131_072, 1),
        ({"min_ctx": 100}, 131_072, 100, 12),
    ],
)
def test_context_steps(wish: dict[str, Any], first: int, last: int, count: int) -> None:
    steps = context_steps(SPEC_20B, PlanRequest(**wish))
    assert (steps[0], steps[-1], len(steps)) == (first, last, count)


def test_a_model_trained_on_less_is_offered_less() -> None:
    assert context_steps(replace(SPEC_20B, n_ctx_train=5000), PlanRequest()) == (5000, 4096)
    assert context_steps(replace(SPEC_20B, n_ctx_train=2048), PlanRequest()) == (2048,)


@pytest.mark.parametrize(
    ("wish", "hint"),
    [
        ({"n_ctx": 131_073}, "gpt-oss plan --ctx-size 131072"),
        ({"min_ctx": 200_000}, "gpt-oss plan --min-ctx 131072"),
    ],
)
def test_a_context_beyond_the_training_is_refused(wish: dict[str, Any], hint: str) -> None:
    with pytest.raises(UsageError, match="131072") as refused:
        make_plan(cpu_machine(ram_gib=64), **wish)
    assert refused.value.hint == hint


# The hint left the model out, and so planned for another one.
def test_hints_keep_the_model_that_was_asked_for() -> None:
    wish: dict[str, Any] = {"model": "my models/20b.gguf", "quant": "MXFP4", "n_ctx": 200_000}
    with pytest.raises(UsageError) as refused:
        make_plan(cpu_machine(ram_gib=64), files=files_of("gpt-oss-20b", "MXFP4"), **wish)
    assert refused.value.hint == "gpt-oss plan --model 'my models/20b.gguf' --quant MXFP4 --ctx-size 131072"


def test_a_minimum_is_met_by_a_slower_placement() -> None:
    usual = make_plan(gpu_machine(vram_gib=8))
    longer = make_plan(gpu_machine(vram_gib=8), min_ctx=100_000)
    assert longer.load_params.n_ctx >= 100_000
    assert longer.load_params.n_cpu_moe > usual.load_params.n_cpu_moe


@pytest.mark.parametrize(
    "wish",
    [
        {"n_ctx": 20_000},
        {"n_gpu_layers": 10},
        {"n_gpu_layers": 0},
        {"n_cpu_moe": 20},
        {"n_gpu_layers": 25, "n_cpu_moe": 20},
        {"type_k": "q8_0", "type_v": "q4_0"},
        {"n_ubatch": 1024},
        {"n_threads": 3},
        {"n_parallel": 2},
        {"load_mode": "none"},
        {"repack": False},
    ],
    ids=str,
)
def test_what_is_pinned_is_kept(wish: dict[str, Any]) -> None:
    found = make_plan(gpu_machine(vram_gib=12), files=files_of("gpt-oss-20b"), **wish)
    for name, value in wish.items():
        assert getattr(found.load_params, name) == value


def test_layers_for_a_gpu_that_is_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="--n-gpu-layers is for a GPU") as refused:
        make_plan(cpu_machine(ram_gib=64), n_gpu_layers=10)
    assert refused.value.hint == "gpt-oss hardware"


def test_an_empty_catalogue_is_refused() -> None:
    nothing = Catalogue(files=(), weights={}, specs={}, source="hub", as_of="2026-10", notes=("why",))
    with pytest.raises(UsageError, match="no GPT OSS file") as refused:
        make_plan(cpu_machine(), files=nothing)
    assert refused.value.details == ("why",)


def test_files_without_weights_are_passed_over() -> None:
    whole = files_of("gpt-oss-20b", "MXFP4", "F16")
    known = {name: weights for name, weights in whole.weights.items() if name.endswith(":MXFP4")}
    found = make_plan(cpu_machine(ram_gib=64), files=replace(whole, weights=known))
    assert found.file.quant == "MXFP4"
    assert {c.quant for c in found.candidates} == {"MXFP4"}


# --- What does not fit ---


def test_what_does_not_fit_says_what_is_needed_and_what_is_here() -> None:
    with pytest.raises(DoesNotFitError) as refused:
        make_plan(cpu_machine(ram_gib=8, available_gib=6.4))
    error = refused.value
    assert error.has_bytes == round(6.4 * GIB) - 512 * 1024**2
    assert error.needs_bytes > error.has_bytes
    assert "gpt-oss-20b" in error.message
    assert error.hint == "gpt-oss chat --demo"
    assert error.details[0].startswith("CPU: needs 11.0 GiB")


def test_a_model_that_was_asked_for_and_does_not_fit_points_to_what_would() -> None:
    with pytest.raises(DoesNotFitError) as refused:
        make_plan(cpu_machine(ram_gib=32), files=files_of("gpt-oss-120b"), model="120b")
    assert refused.value.hint == "gpt-oss plan --model auto"
    assert refused.value.needs_bytes > 58 * GIB


# It only said how much was missing.
@pytest.mark.parametrize("wish", [{"n_ctx": 131_072}, {"min_ctx": 131_072}, {"n_ctx": 0}])
def test_a_context_that_does_not_fit_points_to_the_longest_that_does(wish: dict[str, Any]) -> None:
    hardware = cpu_machine(ram_gib=16, available_gib=12.8)
    with pytest.raises(DoesNotFitError) as refused:
        make_plan(hardware, files=files_of("gpt-oss-20b", "MXFP4"), **wish)
    # With a cache in q8_0, which the planner takes where f16 does not fit.
    assert refused.value.hint == "gpt-oss plan --ctx-size 49152"
    assert refused.value.details[-1] == "A context of 49152 tokens would fit."
    held = make_plan(hardware, files=files_of("gpt-oss-20b", "MXFP4"), n_ctx=49_152).load_params
    assert (held.n_ctx, held.type_k) == (49_152, "q8_0")


def test_a_context_is_not_offered_where_none_fits() -> None:
    with pytest.raises(DoesNotFitError) as refused:
        make_plan(cpu_machine(ram_gib=8), n_ctx=131_072)
    assert refused.value.hint == "gpt-oss chat --demo"


# --- Properties ---

MACHINES = st.one_of(
    st.builds(cpu_machine, ram_gib=st.floats(10, 200)),
    st.builds(gpu_machine, vram_gib=st.floats(1, 100), ram_gib=st.floats(8, 200)),
    st.builds(apple_machine, ram_gib=st.floats(12, 200)),
)
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "prefer": st.sampled_from(["quality", "speed", "context"]),
        "n_ctx": st.integers(0, 131_072),
        "min_ctx": st.integers(1, 131_072),
        "type_k": st.sampled_from(["f16", "q8_0"]),
        "n_ubatch": st.integers(32, 4096),
        "repack": st.booleans(),
        "n_parallel": st.integers(1, 4),
    },
)


def few_files(hardware: Hardware) -> Catalogue:
    """Of each model four classes, so that a property is checked often and quickly."""
    whole = catalogue(ARM_ISA) if hardware.os == "Darwin" else catalogue()
    kept = {f.quant: f for f in whole.files if f.model == "gpt-oss-20b" and f.quant in ("F16", "MXFP4", "Q6_K", "Q2_K")}
    large = {f.quant: f for f in whole.files if f.model == "gpt-oss-120b" and f.quant in ("F16", "MXFP4", "Q4_K_M")}
    return replace(whole, files=(*kept.values(), *large.values()))


def planned(hardware: Hardware, **wish: Any) -> Plan | None:
    try:
        return make_plan(hardware, files=few_files(hardware), **wish)
    except (DoesNotFitError, UsageError):  # a minimum above the context, of a drawn wish
        return None


@settings(max_examples=30)
@given(hardware=MACHINES, wish=WISHES)
def test_a_plan_fits_row_by_row_and_keeps_the_wish(hardware: Hardware, wish: dict[str, Any]) -> None:
    found = planned(hardware, **wish)
    if found is None:
        return
    for memory in found.memory:
        assert memory.fits
        assert memory.used_bytes + memory.shared_bytes + memory.headroom_bytes <= memory.free_bytes
        assert 0 <= memory.mapped_bytes <= memory.model_bytes
    params = found.load_params
    assert params.n_ctx <= found.spec.n_ctx_train
    assert params.n_ctx == (wish.get("n_ctx") or params.n_ctx)
    if "n_ctx" not in wish:
        assert params.n_ctx >= wish.get("min_ctx", 0)
    if not params.devices:
        assert params.repack == wish.get("repack", params.repack)
    assert params.type_k in ([wish["type_k"]] if "type_k" in wish else ["f16", "q8_0"])
    sizes = [wish["n_ubatch"]] if "n_ubatch" in wish else [512, 1024, 2048] if params.devices else [512]
    assert params.n_ubatch in [min(size, params.n_ctx) for size in sizes]
    assert params.n_ubatch <= params.n_batch <= params.n_ctx
    assert [c.reason for c in found.candidates].count("chosen") == 1


@settings(max_examples=30)
@given(hardware=MACHINES, wish=WISHES)
def test_a_plan_is_always_the_same_and_survives_json(hardware: Hardware, wish: dict[str, Any]) -> None:
    found = planned(hardware, **wish)
    assert planned(hardware, **wish) == found
    if found is not None:
        assert from_jsonable(Plan, json.loads(json.dumps(to_jsonable(found)))) == found


def rank(found: Plan | None) -> tuple[int, int, int, int]:
    """How good a plan is by the rule: larger is better."""
    if found is None:
        return (-1, 0, 0, 0)
    best = Placement(tier=found.tier, params=found.load_params, memory=found.memory, n_layer=found.spec.n_layer)
    size = {"gpt-oss-20b": 20, "gpt-oss-120b": 120}[found.file.model]
    return size, min(found.load_params.n_ctx, GOOD_N_CTX), -best.tier_rank, -best.n_off


@settings(max_examples=30)
@given(
    ram_gib=st.floats(8, 160),
    vram_gib=st.floats(1, 90),
    more_ram_gib=st.floats(0, 64),
    more_vram_gib=st.floats(0, 32),
    has_gpu=st.booleans(),
)
def test_more_memory_is_never_worse(
    ram_gib: float, vram_gib: float, more_ram_gib: float, more_vram_gib: float, has_gpu: bool
) -> None:
    if has_gpu:
        less = gpu_machine(vram_gib=vram_gib, ram_gib=ram_gib)
        more = gpu_machine(vram_gib=vram_gib + more_vram_gib, ram_gib=ram_gib + more_ram_gib)
    else:
        less, more = cpu_machine(ram_gib=ram_gib), cpu_machine(ram_gib=ram_gib + more_ram_gib)
    # Not n_cpu_moe: a class below the native one may have fewer, and more memory may bring the native one.
    assert rank(planned(more))[:3] >= rank(planned(less))[:3]
    one_file = few_files(less)
    one_file = replace(one_file, files=tuple(f for f in one_file.files if f.quant == "MXFP4"))
    try:
        small = make_plan(less, files=one_file)
    except DoesNotFitError:
        return
    assert rank(make_plan(more, files=one_file)) >= rank(small)


@settings(max_examples=25)
@given(ram_gib=st.floats(10, 160), more_gib=st.floats(0, 64))
def test_more_memory_never_shortens_the_longest_context(ram_gib: float, more_gib: float) -> None:
    less = planned(cpu_machine(ram_gib=ram_gib), prefer="context")
    if less is None:
        return
    more = planned(cpu_machine(ram_gib=ram_gib + more_gib), prefer="context")
    assert more is not None
    if more.file.model == less.file.model:
        assert more.load_params.n_ctx >= less.load_params.n_ctx


def test_estimates_do_not_decide_quality() -> None:
    for vram_gib in (8, 24):
        hardware = gpu_machine(vram_gib=vram_gib)
        assert make_plan(hardware).file == make_plan(hardware, rates={}).file
