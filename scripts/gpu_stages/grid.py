"""Which placements and settings are asked of a GPU. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from launcher.bench.probe import same_load
from launcher.bench.types import BenchTest
from launcher.planner.types import KvType, LoadParams

CONTEXTS = (4096, 32_768, 131_072)
UBATCHES = (512, 2048)
DEPTHS = (0, 4096, 16_384, 32_768)
STREAMS = (1, 2, 4, 8, 16, 32, 64)
_QUARTERS = (1, 2, 3, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """How much is asked."""

    contexts: tuple[int, ...] = CONTEXTS
    ubatches: tuple[int, ...] = UBATCHES
    depths: tuple[int, ...] = DEPTHS
    streams: tuple[int, ...] = STREAMS
    n_prompts: tuple[int, ...] = (512, 2048)
    n_gen: int = 64
    n_repeat: int = 3
    offload_steps: int = 6
    """Besides nothing on the host."""
    serve_tokens: int = 128
    """Of each prompt and of each answer."""


REHEARSAL = Grid(
    contexts=(512, 1024),
    ubatches=(128,),
    depths=(0, 256),
    streams=(1, 2, 4),
    n_prompts=(64,),
    n_gen=8,
    n_repeat=2,
    offload_steps=2,
    serve_tokens=16,
)
"""The same on what a minute of a small machine holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryCase:
    """A placement whose memory is asked for."""

    file: str
    params: LoadParams
    deep: bool = False
    """Fill the context first: scratch that grows with it shows at its end alone."""

    @property
    def key(self) -> str:
        """What sets it apart."""
        p = self.params
        slots = f" np{p.n_parallel}{' unified' if p.kv_unified else ''}" if p.n_parallel > 1 else ""
        return (
            f"{self.file} ngl{p.n_gpu_layers} ncmoe{p.n_cpu_moe} c{p.n_ctx} ub{p.n_ubatch} {p.type_k}/{p.type_v}"
            f"{slots}{' deep' if self.deep else ''}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedCase:
    """A test of a placement."""

    file: str
    params: LoadParams
    test: BenchTest

    @property
    def key(self) -> str:
        """What sets it apart."""
        return f"{self.file} ngl{self.params.n_gpu_layers} ncmoe{self.params.n_cpu_moe} {self.test.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeCase:
    """So many streams."""

    file: str
    n_streams: int

    @property
    def key(self) -> str:
        """What sets it apart."""
        return f"{self.file} {self.n_streams} streams"


def memory_cases(file: str, base: LoadParams, n_layer: int, grid: Grid) -> tuple[MemoryCase, ...]:
    """Of one file, those that load alike together; the whole model on the GPU first.

    Args:
        file: what rows call it.
        base: of a placement on the devices; what the grid varies is replaced.
        n_layer: of the model.
        grid: how much.
    """
    found = [MemoryCase(file=file, params=params) for params in _placed(base, n_layer, grid)]
    whole = _whole(base, n_layer)
    middle, most = grid.contexts[len(grid.contexts) // 2], grid.contexts[-1]
    ubatch = grid.ubatches[-1]
    kv: tuple[KvType, ...] = ("f16", "q8_0")
    found += [
        MemoryCase(file=file, params=_with(whole, n_ctx=n_ctx, n_ubatch=ubatch, kv=(one, one)), deep=True)
        for n_ctx, one in ((middle, kv[0]), (middle, kv[1]), (most, kv[1]))
    ]
    return tuple(_together(found))


def _placed(base: LoadParams, n_layer: int, grid: Grid) -> Iterator[LoadParams]:
    whole = _whole(base, n_layer)
    middle, most, ubatch = grid.contexts[len(grid.contexts) // 2], grid.contexts[-1], grid.ubatches[0]
    for n_ctx in grid.contexts:
        for n_ubatch in grid.ubatches:
            yield _with(whole, n_ctx=n_ctx, n_ubatch=n_ubatch)
    types: tuple[KvType, ...] = ("q8_0", "q4_0")
    for one in types:
        yield _with(whole, n_ctx=most, n_ubatch=ubatch, kv=(one, one))
    yield _with(whole, n_ctx=most, n_ubatch=ubatch, kv=("q8_0", "f16"))
    for n_parallel, unified in ((4, True), (4, False), (16, True), (16, False)):
        yield replace(
            _with(whole, n_ctx=middle, n_ubatch=ubatch),
            n_parallel=n_parallel,
            kv_unified=unified,
            n_outputs_max=n_parallel,
        )
    for part in _QUARTERS:
        moe = replace(whole, n_cpu_moe=part * n_layer // len(_QUARTERS))
        layers = replace(whole, n_gpu_layers=(part - 1) * n_layer // len(_QUARTERS) or 1)
        for placed in (moe, layers):
            for n_ubatch in grid.ubatches:
                yield _with(placed, n_ctx=middle, n_ubatch=n_ubatch)


def _whole(base: LoadParams, n_layer: int) -> LoadParams:
    return replace(
        base, n_gpu_layers=n_layer + 1, n_cpu_moe=0, n_cpu_moe_tensors=0, n_parallel=1, kv_unified=False,
        n_outputs_max=1, swa_full=False, load_mode="mmap", repack=False, offload_kqv=True,
    )  # fmt: skip


def _with(params: LoadParams, *, n_ctx: int, n_ubatch: int, kv: tuple[KvType, KvType] = ("f16", "f16")) -> LoadParams:
    n_batch = max(2048, n_ubatch) if n_ctx >= 2048 else min(n_ctx, max(n_ubatch, 512))
    return replace(params, n_ctx=n_ctx, n_batch=n_batch, n_ubatch=n_ubatch, type_k=kv[0], type_v=kv[1])


def _together(cases: Sequence[MemoryCase]) -> list[MemoryCase]:
    """Each once, those of one load one after the other, in the order that loads come first."""
    loads: list[list[MemoryCase]] = []
    for case in {case.key: case for case in cases}.values():
        home = next((load for load in loads if same_load(load[0].params, case.params)), None)
        if home is None:
            loads.append([case])
        else:
            home.append(case)
    return [case for load in loads for case in load]


def speed_tests(grid: Grid) -> tuple[BenchTest, ...]:
    """Prompts and decoding over depth, those of one depth together: its cache is filled once."""
    return tuple(
        test
        for n_depth in grid.depths
        for test in (
            *(BenchTest(n_prompt=n, n_depth=n_depth) for n in grid.n_prompts),
            BenchTest(n_gen=grid.n_gen, n_depth=n_depth),
        )
    )


def speed_cases(file: str, params: LoadParams, grid: Grid) -> tuple[SpeedCase, ...]:
    """Of one file, as planned."""
    return tuple(SpeedCase(file=file, params=params, test=test) for test in speed_tests(grid))


def offload_cases(file: str, params: LoadParams, n_layer: int, grid: Grid) -> tuple[SpeedCase, ...]:
    """Experts of more and more blocks on the host: both ends first, then what lies between.

    So a run that is cut off tells of the whole range.
    """
    steps = grid.offload_steps
    order = sorted(range(steps + 1), key=lambda i: (i not in {0, steps}, i % 2 == 1, i))
    n_cpu_moe = dict.fromkeys(i * n_layer // steps for i in order)
    tests = (BenchTest(n_prompt=grid.n_prompts[0]), BenchTest(n_gen=grid.n_gen))
    return tuple(
        SpeedCase(
            file=file,
            params=replace(params, n_cpu_moe=n, n_cpu_moe_tensors=0, load_mode="mmap", repack=False),
            test=test,
        )
        for n in n_cpu_moe
        for test in tests
    )


def serve_cases(file: str, grid: Grid) -> tuple[ServeCase, ...]:
    """Of one file, with more and more streams."""
    return tuple(ServeCase(file=file, n_streams=n) for n in grid.streams)
