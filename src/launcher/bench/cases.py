"""Which tests a bench runs, from what was typed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from launcher.bench.session import Case
from launcher.bench.types import ENGINES, BenchTest, EngineName
from launcher.errors import UsageError
from launcher.planner.types import DeviceMemory, LoadParams

_MOST = 1 << 24
"""Tokens of one test: far beyond any context, and small enough to add up."""
_CELLS = 256  # llama.cpp rounds a context up to so many (llama_context.cpp, GGML_PAD)


def numbers(text: str, flag: str, *, least: int = 0) -> tuple[int, ...]:
    """`512,2048` as numbers, each once. Raises UsageError for anything else."""
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(least <= number <= _MOST for number in found):
        raise UsageError(
            f"{flag} takes whole numbers from {least} on, separated by commas, not {text!r}",
            hint="gpt-oss bench --help",
        )
    return found


def engine_names(text: str) -> tuple[EngineName, ...]:
    """`embedded,llama-bench` as engines, each once. Raises UsageError for any that is none."""
    words = list(dict.fromkeys(word.strip() for word in text.split(",")))
    found = tuple(engine for word in words for engine in ENGINES if engine == word)
    if len(found) != len(words):
        wrong = next(word for word in words if word not in ENGINES)
        raise UsageError(f"--engine takes {', '.join(ENGINES)}, not {wrong!r}", hint="gpt-oss bench --help")
    return found


def cases_of(
    engines: Sequence[EngineName],
    *,
    n_prompt: Sequence[int],
    n_gen: Sequence[int],
    n_depth: Sequence[int],
    streams: Sequence[int],
) -> tuple[Case, ...]:
    """Every prompt size and every length at every depth; 0 leaves prompts or decoding out, as in llama-bench.

    A server is asked for both at once, as its users do: each prompt size with each length, for each number of streams.

    Raises:
        UsageError: nothing is left to measure.
    """
    sizes, lengths = [n for n in n_prompt if n], [n for n in n_gen if n]
    plain = [
        BenchTest(n_depth=depth, **{kind: n})
        for depth in n_depth
        for kind, counts in (("n_prompt", sizes), ("n_gen", lengths))
        for n in counts
    ]
    asked = [
        BenchTest(n_prompt=p, n_gen=n, n_depth=depth)
        for depth in n_depth
        for p in sizes
        for n in lengths
        if n > 1  # one token has no next
    ]
    in_turn = [Case(engine=engine, test=test) for test in plain for engine in engines if engine != "server"]
    served = [Case(engine="server", test=test, n_streams=n) for test in asked for n in streams if "server" in engines]
    if not in_turn and not served:
        both = " of the server, which needs -p and -n above 1" if "server" in engines else ""
        raise UsageError(f"nothing is left to measure{both}", hint="gpt-oss bench --help")
    return (*in_turn, *served)


def fitting(
    cases: Sequence[Case], params: LoadParams, *, plan_with: Callable[[str], str]
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """The cases that the plan's context holds, and those of several streams that it does not.

    Args:
        cases: what was asked for.
        params: the plan's.
        plan_with: the command that plans for the same model with other flags.

    Raises:
        UsageError: a single stream is too long for it.
    """
    kept: list[Case] = []
    left_out: list[Case] = []
    for case in cases:
        if case.test.n_ctx > params.n_ctx:
            raise UsageError(
                f"{case.test.name} needs {case.test.n_ctx} tokens of context, and the plan has {params.n_ctx}",
                hint=plan_with(f"--min-ctx {case.test.n_ctx}"),
            )
        room = max(params.n_ctx, _cells(case.test))
        (kept if case.n_streams * _cells(case.test) <= room else left_out).append(case)
    return tuple(kept), tuple(left_out)


def _cells(test: BenchTest) -> int:
    """Of one slot of a server; the token that ends an answer needs one as well."""
    return -(-(test.n_ctx + 1) // _CELLS) * _CELLS


def bench_params(params: LoadParams) -> LoadParams:
    """The plan's parameters for one sequence, as llama-bench runs it: no slots, windows where the model has them."""
    return replace(params, n_parallel=1, kv_unified=False, swa_full=False, n_outputs_max=1)


def server_params(params: LoadParams, cases: Sequence[Case]) -> LoadParams:
    """The plan's parameters, with slots for the most streams and cells for the longest test in each."""
    n_parallel = max(case.n_streams for case in cases)
    cells = max(_cells(case.test) for case in cases)
    return replace(
        params,
        n_parallel=n_parallel,
        kv_unified=False,
        n_ctx=n_parallel * cells,
        n_outputs_max=max(params.n_outputs_max, n_parallel),
    )


def fit_together(memory: Sequence[DeviceMemory], n_engines: int) -> bool:
    """Whether so many engines may hold the model at the same time, by the plan's memory table."""
    return all(n_engines * row.used_bytes + row.shared_bytes <= row.free_bytes - row.headroom_bytes for row in memory)
