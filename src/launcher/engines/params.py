"""Spell LoadParams for an engine: fields of llama.cpp's C structs, or arguments of its tools. Pure."""

from __future__ import annotations

from pathlib import Path

from launcher.planner.types import KvType, LoadMode, LoadParams, SplitMode

GGML_TYPE_IDS: dict[KvType, int] = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""enum ggml_type (ggml.h)."""

LOAD_MODE_IDS: dict[LoadMode, int] = {"none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "dio": 4}
"""enum llama_load_mode (llama.h)."""

SPLIT_MODE_IDS: dict[SplitMode, int] = {"none": 0, "layer": 1}
"""enum llama_split_mode (llama.h)."""

FFN_EXPS_PATTERN = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""LLM_FFN_EXPS_REGEX (common/common.h): expert weights and their biases."""


def override_patterns(params: LoadParams) -> tuple[str, ...]:
    """Regular expressions of the tensors that stay in host memory, one per block (`--n-cpu-moe`), single ones last."""
    blocks = tuple(rf"blk\.{i}{FFN_EXPS_PATTERN}" for i in range(params.n_cpu_moe))
    return (*blocks, *_single_tensors(params))


def _single_tensors(params: LoadParams) -> tuple[str, ...]:
    """The pattern of block `n_cpu_moe`'s expert tensors that stay in host memory, if there are any."""
    names = {1: "down", 2: "(down|gate)"}.get(params.n_cpu_moe_tensors)
    return () if names is None else (rf"blk\.{params.n_cpu_moe}\.ffn_{names}_exps",)


def model_fields(params: LoadParams) -> dict[str, int | bool]:
    """Plain fields of `llama_model_params`. Devices and tensor overrides are pointers: see `engines.llama`."""
    return {
        "n_gpu_layers": params.n_gpu_layers,
        "split_mode": SPLIT_MODE_IDS[params.split_mode],
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
        "op_offload": params.op_offload,
        "no_perf": False,
    }


def bench_argv(params: LoadParams, model: Path) -> tuple[str, ...]:
    """Arguments of llama-bench that load and run the model as the plan does (tools/llama-bench)."""
    return (
        *("-m", str(model)),
        *("-ngl", str(params.n_gpu_layers)),
        *("-ncmoe", str(params.n_cpu_moe)),
        *(part for pattern in _single_tensors(params) for part in ("-ot", f"{pattern}=CPU")),
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
        *("-sm", params.split_mode),
        *(("-ts", "/".join(f"{share:g}" for share in params.tensor_split)) if params.tensor_split else ()),
    )


def server_argv(params: LoadParams, model: Path, *, program: str = "llama-server") -> tuple[str, ...]:
    """The llama-server command that loads the model as the plan does, with its own fitting off (common/arg.cpp).

    Long forms, in the order of its help. `n_outputs_max` has no option: the server sets it to its slots.
    """
    split = ",".join(f"{share:g}" for share in params.tensor_split)
    return (
        program,
        *("--model", str(model)),
        *("--threads", str(params.n_threads)),
        *("--threads-batch", str(params.n_threads_batch)),
        *("--ctx-size", str(params.n_ctx)),
        *("--batch-size", str(params.n_batch)),
        *("--ubatch-size", str(params.n_ubatch)),
        *(("--swa-full",) if params.swa_full else ()),
        *("--flash-attn", "on" if params.flash_attn else "off"),
        *(() if params.offload_kqv or not params.devices else ("--no-kv-offload",)),
        "--repack" if params.repack else "--no-repack",
        *("--cache-type-k", params.type_k),
        *("--cache-type-v", params.type_v),
        *("--load-mode", params.load_mode),
        *("--device", ",".join(params.devices) or "none"),
        *(part for pattern in _single_tensors(params) for part in ("--override-tensor", f"{pattern}=CPU")),
        *(("--n-cpu-moe", str(params.n_cpu_moe)) if params.n_cpu_moe else ()),
        *("--n-gpu-layers", str(params.n_gpu_layers)),
        *("--split-mode", params.split_mode),
        *(("--tensor-split", split) if split else ()),
        *("--fit", "off"),
        *(() if params.op_offload else ("--no-op-offload",)),
        *("--parallel", str(params.n_parallel)),
        "--kv-unified" if params.kv_unified else "--no-kv-unified",
    )
