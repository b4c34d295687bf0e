from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.catalogue.types import Catalogue
from launcher.planner.types import Plan
from launcher.units import GIB
from tests.builders import cpu_machine, gpu_machine, idle_gpu
from tests.planner.builders import catalogue, files_of, make_plan


def reasons(found: Plan) -> dict[str, str]:
    return {c.name: c.reason for c in found.candidates}


def noted(found: Plan, *words: str) -> bool:
    return any(all(word in note for word in words) for note in found.notes)


def test_candidates_are_all_files_in_order_of_model_and_class() -> None:
    found = make_plan(cpu_machine(ram_gib=24))
    assert len(found.candidates) == len(catalogue().files)
    order = [(c.model != "gpt-oss-120b", -c.dense_bpw) for c in found.candidates]
    assert order == sorted(order)


def test_a_candidate_that_does_not_fit_has_no_settings_and_says_what_it_lacks() -> None:
    found = make_plan(cpu_machine(ram_gib=24))
    large = next(c for c in found.candidates if c.model == "gpt-oss-120b")
    assert (large.fits, large.tier, large.n_ctx, large.tg_ts) == (False, None, None, None)
    assert large.used_bytes is not None
    assert large.used_bytes > 58 * GIB
    assert large.reason.startswith("CPU short by ")


def test_why_each_candidate_was_not_taken() -> None:
    found = make_plan(cpu_machine(ram_gib=24))
    said = reasons(found)
    assert said["unsloth/gpt-oss-20b-GGUF:F16"] == "chosen"
    assert said["ggml-org/gpt-oss-20b-GGUF:MXFP4"] == "fewer bits"
    assert said["bartowski/openai_gpt-oss-20b-GGUF:bf16"] == "the same class from another repository"
    tight = reasons(make_plan(cpu_machine(ram_gib=16)))
    assert tight["unsloth/gpt-oss-20b-GGUF:Q8_0"] == "the same class from another repository"
    assert tight["unsloth/gpt-oss-20b-GGUF:F16"].startswith("CPU short by ")


def test_a_better_class_that_is_slower_says_so() -> None:
    said = reasons(make_plan(gpu_machine(vram_gib=12), files=files_of("gpt-oss-20b")))
    assert said["unsloth/gpt-oss-20b-GGUF:F16"] == "needs a slower placement"
    # It would keep one layer's experts more on the GPU, which is no reason to take it.
    assert said["unsloth/gpt-oss-20b-GGUF:Q2_K_L"] == "fewer bits"


def test_a_better_class_with_a_short_context_says_so() -> None:
    found = make_plan(cpu_machine(ram_gib=16, available_gib=14.2), files=files_of("gpt-oss-20b", "F16", "MXFP4"))
    assert found.file.quant == "MXFP4"
    assert reasons(found)["unsloth/gpt-oss-20b-GGUF:F16"].endswith("tokens of context")


def test_two_labels_of_one_class_from_one_repository() -> None:
    files = files_of("gpt-oss-20b", "Q6_K")
    twin = replace(files.files[0], quant="Q6_K_TWIN")
    two = Catalogue(
        files=(files.files[0], twin),
        weights={**files.weights, twin.name: files.weights[files.files[0].name]},
        specs=files.specs,
        source="hub",
        as_of="2026-10",
    )
    assert reasons(make_plan(cpu_machine(ram_gib=32), files=two))[twin.name] == "the same class as Q6_K"


# The 120b's MXFP4 was called "the same class from another repository" than the 20b's.
def test_a_larger_model_passed_over_for_speed_is_called_slower() -> None:
    found = make_plan(gpu_machine(vram_gib=80), prefer="speed")
    assert found.file.model == "gpt-oss-20b"
    larger = {c.reason for c in found.candidates if c.model == "gpt-oss-120b"}
    assert larger == {"slower than the choice"}
    assert reasons(found)["unsloth/gpt-oss-20b-GGUF:F16"] == "slower than the choice"


def test_a_smaller_model_is_called_that() -> None:
    found = make_plan(cpu_machine(ram_gib=128))
    smaller = {c.reason for c in found.candidates if c.model == "gpt-oss-20b"}
    assert smaller == {"a smaller model than gpt-oss-120b"}


def test_the_nearest_miss_is_one_that_is_short_of_ram_alone() -> None:
    found = make_plan(gpu_machine(vram_gib=8, ram_gib=32))
    large = next(c for c in found.candidates if c.model == "gpt-oss-120b")
    assert large.reason.startswith("CPU short by ")
    assert not noted(found, "gpt-oss-120b would need", "CUDA0")


def test_the_larger_model_is_named_with_what_it_needs() -> None:
    on_cpu = make_plan(cpu_machine(ram_gib=64))
    assert noted(on_cpu, "gpt-oss-120b would need", "of RAM (51.2 GiB available)")
    assert not noted(make_plan(cpu_machine(ram_gib=128)), "would need")


def test_a_short_context_is_explained_unless_it_was_asked_for() -> None:
    tight = cpu_machine(ram_gib=16)
    assert noted(make_plan(tight), "n_ctx 131072 to 32768: RAM was short by")
    assert not noted(make_plan(tight, n_ctx=16_384), "n_ctx 131072 to")
    assert not noted(make_plan(cpu_machine(ram_gib=32)), "n_ctx 131072 to")


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({}, "The experts of 13 of 24 layers stay in RAM"),
        ({"n_gpu_layers": 10, "n_cpu_moe": 24}, "10 of 25 layers are on the GPU, all experts in RAM."),
        ({"n_gpu_layers": 10}, "10 of 25 layers are on the GPU."),
    ],
)
def test_the_placement_on_a_gpu_is_told(wish: dict[str, Any], words: str) -> None:
    found = make_plan(gpu_machine(vram_gib=8), files=files_of("gpt-oss-20b", "MXFP4"), **wish)
    assert noted(found, words)


def test_why_there_is_no_mmap_or_no_repacking() -> None:
    without_mmap = "Loaded without mmap"
    assert noted(make_plan(cpu_machine(ram_gib=24)), without_mmap)
    # What a person chose needs no reason.
    assert not noted(make_plan(cpu_machine(ram_gib=24), load_mode="none"), without_mmap)
    assert not noted(make_plan(cpu_machine(ram_gib=24), repack=False), "Experts keep")


# It said --prefer speed, which takes a class below MXFP4.
def test_a_faster_class_is_named_with_the_flag_that_takes_it() -> None:
    hardware = cpu_machine(ram_gib=32)
    found = make_plan(hardware)
    assert noted(found, "MXFP4: about", "faster", "--quant MXFP4")
    assert not noted(make_plan(hardware, prefer="speed"), "--quant")
    assert not noted(make_plan(hardware, rates={}), "--quant")
    assert not noted(make_plan(cpu_machine(ram_gib=16)), "faster, at")


def test_idle_gpus_and_their_remedy_are_told() -> None:
    found = make_plan(cpu_machine(ram_gib=32, idle=[idle_gpu()]))
    assert noted(found, "RTX 4090", "CPU-only", "Run: gpt-oss engine install cuda")


def test_gpus_that_a_plan_leaves_idle_are_named() -> None:
    small = files_of("gpt-oss-20b", "MXFP4")
    assert noted(make_plan(gpu_machine(n_gpus=2), files=small), "Uses CUDA0 alone; CUDA1 stays idle.")
    assert noted(make_plan(gpu_machine(n_gpus=3), files=small), "CUDA1, CUDA2 stay idle.")
    assert not noted(make_plan(gpu_machine()), "idle")


def test_weights_that_are_not_from_the_header_say_so() -> None:
    files = files_of("gpt-oss-20b", "MXFP4")
    assert noted(make_plan(cpu_machine(ram_gib=32), files=files), "Weights are from the catalogue")
    read = {name: replace(weights, basis="header") for name, weights in files.weights.items()}
    here = tuple(replace(f, local_path=Path("/models/20b.gguf")) for f in files.files)
    found = make_plan(cpu_machine(ram_gib=32), files=replace(files, files=here, weights=read))
    assert found.weights_basis == "header"
    assert not noted(found, "Weights are from")
    assert found.candidates[0].on_disk
