"""llama.cpp's sampler chain for a Sampling record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from launcher.engines.types import Sampling


@contextmanager
def sampler_chain(llama_cpp: Any, sampling: Sampling) -> Iterator[Any]:
    """Yield a `llama_sampler` chain: top_k, top_p, min_p, temperature, then the draw.

    A stage that would change nothing (OpenAI's defaults for GPT OSS cut nothing) is left out: each costs a pass over
    n_vocab candidates per token. Temperature 0 is greedy. Seed None draws a fresh one (LLAMA_DEFAULT_SEED).
    """
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    stages = []
    if sampling.temperature <= 0:
        stages.append(llama_cpp.llama_sampler_init_greedy())
    else:
        if sampling.top_k > 0:
            stages.append(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1:
            stages.append(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            stages.append(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
        if sampling.temperature != 1:
            stages.append(llama_cpp.llama_sampler_init_temp(sampling.temperature))
        seed = llama_cpp.LLAMA_DEFAULT_SEED if sampling.seed is None else sampling.seed & 0xFFFFFFFF
        stages.append(llama_cpp.llama_sampler_init_dist(seed))
    for stage in stages:
        llama_cpp.llama_sampler_chain_add(chain, stage)
    try:
        yield chain
    finally:
        llama_cpp.llama_sampler_free(chain)
