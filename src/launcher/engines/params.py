"""Spell LoadParams for an engine: fields of llama.cpp's C structs, or arguments of its tools. Pure."""

from __future__ import annotations

from pathlib import Path

from launcher.planner.types import KvType, LoadMode, LoadParams

GGML_TYPE_IDS: dict[KvType, int] = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}
"""enum ggml_type (ggml.h)."""

LOAD_MODE_IDS: dict[LoadMode, int] = {"none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "dio": 4}
"""enum llama_load_mode (llama.h)."""

FFN_EXPS_PATTERN = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""LLM_FFN_EXPS_REGEX (common/common.h): expert weights and their biases."""


def override_patterns(params: LoadParams) -> tuple[str, ...]:
    """Regular expressions of the tensors that `n_cpu_moe` keeps in host memory, one per block (`--n-cpu-moe`)."""
    return tuple(rf"blk\.{i}{FFN_EXPS_PATTERN}" for i in range(params.n_cpu_moe))


def model_fields(params: LoadParams) -> dict[str, int | bool]:
    """Plain fields of `llama_model_params`. Devices and tensor overrides are pointers: see `engines.llama`."""
    return {
        "n_gpu_layers": params.n_gpu_layers,
        "load_mode": LOAD_MODE_IDS[params.load_mode],
        "use_extra_bufts": params.repack,
    }


def context_fields(params: LoadParams) -> dict[str, int | bool]:
    """Fields of `llama_context_params`."""
    return {
        "n_ctx": params.n_ctx,
        "n_batch": params.n_batch,
        "n_ubatch": params.n_ubatch,
        "n_seq_max": params.n_parallel,
        "n_outputs_max": params.n_outputs_max,
        "n_threads": params.n_threads,
        "n_threads_batch": params.n_threads_batch,
        "flash_attn_type": 1 if params.flash_attn else 0,
        "type_k": GGML_TYPE_IDS[params.type_k],
        "type_v": GGML_TYPE_IDS[params.type_v],
        "offload_kqv": params.offload_kqv,
        "swa_full": params.swa_full,
        "kv_unified": params.kv_unified,
        "no_perf": False,
    }


def bench_argv(params: LoadParams, model: Path) -> tuple[str, ...]:
    """Arguments of llama-bench that load and run the model as the plan does (tools/llama-bench)."""
    return (
        *("-m", str(model)),
        *("-ngl", str(params.n_gpu_layers)),
        *("-ncmoe", str(params.n_cpu_moe)),
        *("-b", str(params.n_batch)),
        *("-ub", str(params.n_ubatch)),
        *("-t", str(params.n_threads)),
        *("-ctk", params.type_k),
        *("-ctv", params.type_v),
        *("-fa", "1" if params.flash_attn else "0"),
        *("-nkvo", "0" if params.offload_kqv else "1"),
        *("-lm", params.load_mode),
        *("--repack", "1" if params.repack else "0"),
        *("-dev", "/".join(params.devices) or "none"),
    )
