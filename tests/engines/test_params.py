"""LoadParams spelled for llama.cpp: every field lands where the C structs and the tools expect it."""

from __future__ import annotations

import ctypes
import re
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import llama_cpp
import pytest
from llama_cpp._ggml import libggml

from launcher.engines.params import (
    GGML_TYPE_IDS,
    LOAD_MODE_IDS,
    bench_argv,
    context_fields,
    model_fields,
    override_patterns,
    server_argv,
)
from launcher.planner.types import Changes, KvType, LoadMode
from tests.engines.demo import load_params

BENCH = Path(llama_cpp.__file__).parent.parent / "bin" / "llama-bench"


def struct_fields(struct: Any) -> set[str]:
    return {field[0] for field in struct._fields_}


def test_every_name_is_a_field_of_the_struct() -> None:
    """Regression guard: ctypes takes a misspelt attribute without a word, and llama.cpp goes on with its default."""
    assert set(model_fields(load_params())) <= struct_fields(llama_cpp.llama_model_params)
    assert set(context_fields(load_params())) <= struct_fields(llama_cpp.llama_context_params)


def test_ids_are_ggmls() -> None:
    libggml.ggml_type_name.restype = ctypes.c_char_p
    assert set(GGML_TYPE_IDS) == set(get_args(KvType))
    for name, number in GGML_TYPE_IDS.items():
        assert libggml.ggml_type_name(number).decode() == name
    assert set(LOAD_MODE_IDS) == set(get_args(LoadMode))
    assert len(set(LOAD_MODE_IDS.values())) == len(LOAD_MODE_IDS)


def test_values_arrive() -> None:
    params = load_params(n_ctx=4096, n_ubatch=512, type_k="q8_0", type_v="f16", swa_full=True, n_threads=3, repack=True)
    fields = context_fields(params)
    assert (fields["n_ctx"], fields["n_ubatch"], fields["n_threads"]) == (4096, 512, 3)
    assert (fields["type_k"], fields["type_v"], fields["swa_full"]) == (8, 1, True)
    assert context_fields(load_params(flash_attn=False))["flash_attn_type"] == 0
    assert model_fields(params)["use_extra_bufts"] is True
    assert model_fields(load_params(load_mode="none"))["load_mode"] == 0


TUNED = {
    "n_threads": 3,
    "n_threads_batch": 5,
    "n_batch": 1024,
    "n_ubatch": 128,
    "flash_attn": False,
    "n_gpu_layers": 2,
    "n_cpu_moe": 1,
    "tensor_split": (1.0, 3.0),
    "split_mode": "layer",
    "load_mode": "none",
    "repack": True,
    "op_offload": False,
    "type_k": "q8_0",
    "type_v": "bf16",
}
"""Every setting that may be tuned, otherwise than `load_params` has it."""


@pytest.mark.parametrize("name", [field.name for field in fields(Changes)])
def test_whatever_may_be_tuned_reaches_every_engine(name: str) -> None:
    plain, changed = load_params(n_gpu_layers=1), load_params(**{"n_gpu_layers": 1, name: TUNED[name]})
    model = Path("model.gguf")
    assert server_argv(plain, model) != server_argv(changed, model)
    if name not in {"n_threads_batch", "op_offload"}:  # the bench says these two itself, by the test
        assert bench_argv(plain, model) != bench_argv(changed, model)
    if name != "tensor_split":  # a pointer, which engines.llama fills in
        spelt = [{**model_fields(p), **context_fields(p), "overrides": override_patterns(p)} for p in (plain, changed)]
        assert spelt[0] != spelt[1]


def test_the_server_is_told_what_was_tuned_in_its_own_words() -> None:
    argv = server_argv(load_params(**{**TUNED, "devices": ("CUDA0", "CUDA1")}), Path("model.gguf"))
    words = " ".join(argv)
    for expected in (
        *("--threads 3 --threads-batch 5", "--batch-size 1024 --ubatch-size 128", "--flash-attn off", "--repack"),
        *("--cache-type-k q8_0 --cache-type-v bf16", "--load-mode none", "--n-cpu-moe 1 --n-gpu-layers 2"),
        *("--split-mode layer --tensor-split 1,3", "--no-op-offload"),
    ):
        assert expected in words


@pytest.mark.parametrize(
    ("tensor", "moved"),
    [
        ("blk.0.ffn_gate_exps.weight", True),
        ("blk.1.ffn_down_exps.bias", True),
        ("blk.1.ffn_up_chexps.weight", True),
        ("blk.2.ffn_gate_exps.weight", False),
        ("blk.10.ffn_gate_exps.weight", False),
        ("blk.0.ffn_gate_inp.weight", False),
        ("blk.0.attn_q.weight", False),
    ],
)
def test_overrides_take_the_experts_of_the_first_layers(tensor: str, *, moved: bool) -> None:
    patterns = override_patterns(load_params(n_cpu_moe=2))
    assert any(re.search(pattern, tensor) for pattern in patterns) == moved


def test_no_override_without_need() -> None:
    assert override_patterns(load_params()) == ()


def test_llama_bench_takes_the_arguments() -> None:
    """Its own parser reads them: a flag that llama.cpp renamed would end it with its usage."""
    argv = bench_argv(load_params(n_cpu_moe=1), Path("/no/such/model.gguf"))
    assert argv[argv.index("-dev") + 1] == "none"
    if not BENCH.exists():
        pytest.skip("llama-bench is not in this build")
    done = subprocess.run([BENCH, *argv, "-o", "json"], capture_output=True, text=True, check=False, timeout=60)
    assert "invalid parameter" not in done.stderr
    assert "failed to load model" in done.stderr
