"""A test under settings other than those the model was loaded with: what a search among settings asks for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from launcher.bench.types import BenchTest
from launcher.planner.types import LoadParams


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One test on a loaded model."""

    test: BenchTest
    params: LoadParams
    """Of the context; what concerns the model's place in memory is as it was loaded."""
    n_streams: int = 1
    """Sequences that are decoded together, one token of each in a batch, after a prompt that they share."""
    n_warm: int | None = None
    """Tokens of a prompt that run before, with one that is decoded, and do not count; 0 runs nothing. None: the whole
    prompt, as llama-bench does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What a probe took."""

    start_ns: int
    """When the clock began, by `time.perf_counter_ns`, which all processes of a machine share."""
    prompt_ns: int
    """0 where there was no prompt."""
    gen_ns: int
    """0 where nothing was decoded; of several sequences all together."""


def same_load(one: LoadParams, other: LoadParams) -> bool:
    """Whether a model that was loaded as `one` need not be loaded again for `other`."""
    return _load_part(one) == _load_part(other)


def _load_part(params: LoadParams) -> tuple[object, ...]:
    return (
        *(params.n_gpu_layers, params.n_cpu_moe, params.n_cpu_moe_tensors, params.devices),
        *(params.split_mode, params.tensor_split, params.load_mode, params.repack),
    )


def probe_params(probe: Probe) -> LoadParams:
    """The parameters of a context that is as large as the test, with room for its sequences."""
    test, n_streams = probe.test, probe.n_streams
    unified = probe.params.kv_unified or n_streams == 1
    own = test.n_ctx if not unified else test.n_gen
    shared = test.n_depth + test.n_prompt if unified else 0
    return replace(
        probe.params,
        n_ctx=shared + own * n_streams,
        n_parallel=n_streams,
        kv_unified=unified and n_streams > 1,
        n_outputs_max=max(probe.params.n_outputs_max, n_streams),
    )
