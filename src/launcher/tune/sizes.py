"""How large tests may be so that a search stays within its budget, and which settings they can tell apart. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from launcher.bench.types import BenchTest
from launcher.planner.types import LoadParams, Purpose
from launcher.tune.changes import with_changes
from launcher.tune.types import Axis, Option, Sizes, Space, Speeds, Workload

_TYPICAL: dict[Purpose, Workload] = {
    "chat": Workload(purpose="chat", n_prompt=512, n_gen=256),
    "serve": Workload(purpose="serve", n_prompt=512, n_gen=256, n_streams=4),
    "long-context": Workload(purpose="long-context", n_prompt=2048, n_gen=256, n_depth=16_384),
}
_PROMPT_PART = 1 / 80
"""Of the budget, for one test of a prompt: some sixty tests and the loads make a search."""
_DECODE_PART = 1 / 150
_BATCHES_PART = 1 / 16
"""For one prompt that is as large as the micro-batches: three of them are compared in a round."""
_DEPTH_PART = 1 / 12
"""For filling the context once; what needs the cache in another form fills it again."""
_STEP = 32
_LEAST_PROMPT, _LEAST_GEN = 64, 8


def typical(purpose: Purpose, params: LoadParams, n_streams: int | None = None) -> Workload:
    """The turn that a purpose is weighed by, within the plan's context."""
    turn = _TYPICAL[purpose]
    if purpose == "serve":
        turn = replace(turn, n_streams=max(2, n_streams or params.n_parallel))
    room = params.n_ctx // (1 if params.kv_unified else params.n_parallel)
    n_prompt, n_gen = min(turn.n_prompt, room // 2), min(turn.n_gen, room // (4 * turn.n_streams))
    return replace(turn, n_prompt=n_prompt, n_gen=n_gen, n_depth=min(turn.n_depth, room - n_prompt - 2 * n_gen))


def sizes_for(workload: Workload, speeds: Speeds, budget_s: float, params: LoadParams) -> Sizes:
    """Tests for these speeds of the plan, whose micro-batch a prompt has to fill where micro-batches are compared."""
    pp, tg = speeds.pp_ts or 1.0, speeds.tg_ts or 1.0
    n_prompt = _stepped(pp * budget_s * _PROMPT_PART, _LEAST_PROMPT, workload.n_prompt)
    # Of several sequences `tg_ts` is all of them together.
    n_gen = int(min(max(tg / workload.n_streams * budget_s * _DECODE_PART, _LEAST_GEN), workload.n_gen))
    n_depth = _stepped(pp * budget_s * _DEPTH_PART, 0, workload.n_depth)
    # As large as the budget lets it be, since a batch more or less tells little.
    most = _stepped(pp * budget_s * _BATCHES_PART, 0, workload.n_prompt)
    enough = most >= max(min(params.n_ubatch, workload.n_prompt), 2 * _STEP)
    return Sizes(
        prompt=BenchTest(n_prompt=n_prompt, n_depth=n_depth),
        decode=BenchTest(n_gen=n_gen, n_depth=n_depth),
        batches=BenchTest(n_prompt=most, n_depth=n_depth) if enough else None,
        n_streams=workload.n_streams,
    )


def _stepped(tokens: float, least: int, most: int) -> int:
    return min(max(int(tokens) // _STEP * _STEP, least), most)


def told_apart(space: Space, params: LoadParams, sizes: Sizes) -> Space:
    """The space without what these tests cannot tell from what is there, and why."""
    axes: list[Axis] = []
    left_out: list[str] = []
    for axis in space.axes:
        if axis.name not in ("n_ubatch", "n_batch"):
            axes.append(axis)
            continue
        n_prompt = sizes.batches.n_prompt if sizes.batches else 0
        options = _distinct(axis.options, params, n_prompt)
        if options:
            axes.append(replace(axis, options=options))
        gone = [option.label for option in axis.options if option not in options]
        if gone:
            left_out.append(
                f"{', '.join(gone)}: a prompt of {n_prompt} tokens is too short to show it."
                if n_prompt
                else f"{', '.join(gone)}: the budget has no room for a prompt as large."
            )
    return replace(space, axes=tuple(axes), left_out=(*space.left_out, *left_out))


def _distinct(options: Sequence[Option], params: LoadParams, n_prompt: int) -> tuple[Option, ...]:
    """Options that make llama.cpp cut such a prompt in another way than the plan and than each other."""
    seen = {_cut(params, n_prompt)}
    found = []
    for option in options:
        changed = with_changes(params, option.changes)
        cut = _cut(changed, n_prompt)
        # A micro-batch that the prompt does not fill is not measured, only its smaller part.
        if cut not in seen and changed.n_ubatch <= n_prompt:
            seen.add(cut)
            found.append(option)
    return tuple(found)


def _cut(params: LoadParams, n_prompt: int) -> tuple[int, int]:
    n_batch = min(params.n_batch, n_prompt)
    return min(params.n_ubatch, n_batch), n_batch


def decode_share(workload: Workload, speeds: Speeds) -> float:
    """Part of a typical turn's time that is spent decoding."""
    pp, tg = speeds.pp_ts or 1.0, speeds.tg_ts or 1.0
    prompt_s = workload.n_streams * workload.n_prompt / pp
    decode_s = workload.n_streams * workload.n_gen / tg
    return decode_s / (prompt_s + decode_s)
