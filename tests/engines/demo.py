"""The demo model for engine tests: how it is loaded, and questions that it surely knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from launcher.engines.types import Sampling
from launcher.planner.types import LoadParams

GREEDY = Sampling(temperature=0.0)
CAPITAL = "What is the capital of France?"


def load_params(**changes: Any) -> LoadParams:
    """One thread, no GPU, a context of 1024 tokens in micro-batches of 64, as the planner would spell them."""
    plain = LoadParams(
        n_gpu_layers=0,
        n_cpu_moe=0,
        n_ctx=1024,
        n_batch=64,
        n_ubatch=64,
        n_parallel=1,
        n_threads=1,
        n_threads_batch=1,
        type_k="f16",
        type_v="f16",
        flash_attn=True,
        offload_kqv=True,
        swa_full=False,
        kv_unified=True,
        n_outputs_max=1,
        load_mode="mmap",
        repack=False,
        devices=(),
    )
    return replace(plain, **changes)
