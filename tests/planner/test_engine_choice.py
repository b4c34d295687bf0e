"""Which build of llama.cpp a machine plans with, over machines that several builds see in different ways."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.errors import DoesNotFitError, UsageError
from launcher.hardware.types import Device, Hardware, OtherEngine
from launcher.planner.choose import plan
from launcher.planner.engine_choice import (
    Option,
    PassedOver,
    Refusal,
    choose_engine,
    engine_note,
    engine_rows,
    left_out_notes,
    nearest_refusal,
    worth_planning,
)
from launcher.planner.types import HOST, Estimate, PlanRequest, Rate
from tests.builders import X86_ISA, cpu, gpu, host_memory, machine
from tests.planner.builders import RATES, catalogue, files_of


def by(name: str, *devices: Device, ram_gib: float = 64, isa: tuple[str, ...] = X86_ISA) -> Hardware:
    """One machine as the build of that name sees it."""
    found = machine(memory=host_memory(ram_gib), processor=cpu(isa=isa), devices=devices)
    site = None if name == "environment" else f"/data/engines/{name}/site"
    return replace(found, engine=replace(found.engine, name=name, site=site))


CPU_ONLY = by("environment")
CUDA = by("cuda-0.3.36", gpu(24))
VULKAN = by("vulkan-0.3.36", gpu(24, backend="Vulkan"))


def option(hardware: Hardware, rates: dict[str, Rate] = RATES, model: str | None = None, **wish: object) -> Option:
    request = PlanRequest(**wish)  # type: ignore[arg-type]
    whole = catalogue(hardware.cpu.isa) if model is None else files_of(model, isa=hardware.cpu.isa)
    files = replace(whole, files=tuple(file for file in whole.files if file.quant in {"MXFP4", "F16"}))
    found = plan(hardware, files, request, rates=rates)
    return Option(plan=found, n_params=files.weights[found.file.name].n_params)


def chosen(*machines: Hardware, rates: dict[str, Rate] = RATES, model: str | None = None, **wish: object) -> str:
    request = PlanRequest(**wish)  # type: ignore[arg-type]
    best = choose_engine([option(hardware, rates, model, **wish) for hardware in machines], request)
    return best.plan.hardware.engine.name


@pytest.mark.parametrize("prefer", ["quality", "speed", "context"])
def test_a_build_that_uses_the_gpu_is_taken(prefer: str) -> None:
    assert chosen(CPU_ONLY, CUDA, prefer=prefer) == "cuda-0.3.36"
    assert chosen(CUDA, CPU_ONLY, prefer=prefer) == "cuda-0.3.36"


def test_cuda_comes_before_vulkan_on_one_gpu() -> None:
    """As in llama.cpp, whose registry has CUDA first; predictions do not tell the two apart."""
    assert option(CUDA).plan.tg_ts == pytest.approx(option(VULKAN).plan.tg_ts, rel=0.05)
    assert chosen(VULKAN, CUDA) == chosen(CUDA, VULKAN) == "cuda-0.3.36"


def test_what_is_really_faster_goes_before_the_order_of_backends() -> None:
    faster = {**RATES, "Vulkan0": replace(RATES["Vulkan0"], bandwidth=Estimate(value=2e12, basis="measured"))}
    assert chosen(CUDA, VULKAN, rates=faster, model="gpt-oss-20b") == "vulkan-0.3.36"


@pytest.mark.parametrize(
    ("cuda", "vulkan", "best"),
    [
        # tok/s over the prediction, which is one for both; None: not measured
        (None, None, "cuda-0.3.36"),
        (0.9, None, "cuda-0.3.36"),  # the prediction of both was too high: Vulkan's is no better
        (0.7, None, "vulkan-0.3.36"),  # further than predictions are off: something is wrong with it
        (None, 1.1, "cuda-0.3.36"),
        (None, 1.5, "vulkan-0.3.36"),
        (0.7, 0.6, "cuda-0.3.36"),
        (0.9, 1.0, "vulkan-0.3.36"),
        (1.0, 0.97, "cuda-0.3.36"),
        (0.97, 1.0, "cuda-0.3.36"),  # within 5 %: the order of backends
    ],
)
def test_what_was_measured_decides_between_two_builds_of_one_gpu(
    cuda: float | None, vulkan: float | None, best: str
) -> None:
    def measured(hardware: Hardware, ratio: float | None) -> Option:
        found = option(hardware, model="gpt-oss-20b")
        speeds = tuple(replace(one, tg_ts=one.tg_ts * (ratio or 1.0)) for one in found.plan.throughput if one.tg_ts)
        return replace(found, plan=replace(found.plan, throughput=speeds), measured=ratio is not None)

    options = [measured(CUDA, cuda), measured(VULKAN, vulkan)]
    for order in (options, options[::-1]):
        assert choose_engine(order, PlanRequest()).plan.hardware.engine.name == best


def test_the_build_that_was_not_measured_is_named() -> None:
    found = replace(option(CUDA, model="gpt-oss-20b"), measured=True)
    slower = tuple(replace(one, tg_ts=0.9 * (one.tg_ts or 0.0)) for one in found.plan.throughput)
    best, other = replace(found, plan=replace(found.plan, throughput=slower)), option(VULKAN, model="gpt-oss-20b")
    note = engine_note(engine_rows(best, [best, other], (), ()))
    assert note is not None
    assert note.endswith(": only one of the two was measured: gpt-oss bench --build vulkan-0.3.36.")
    assert engine_note(engine_rows(other, [best, other], (), ())) is None, "the other one is not faster"


def test_a_larger_model_goes_before_speed_unless_speed_is_asked_for() -> None:
    """The smaller GPU's build keeps RAM that the other one's process does not have."""
    small = by("cuda-0.3.36", gpu(16), ram_gib=16)
    large = by("environment", ram_gib=128)
    assert chosen(small, large) == "environment"
    assert chosen(small, large, prefer="speed") == "cuda-0.3.36"
    best = option(large)
    rows = engine_rows(best, [option(small), best], (), ())
    assert rows[1].reason == "a smaller model than with environment"


def test_more_instructions_decide_between_equals_and_the_environment_comes_first() -> None:
    wider = by("cpu-0.3.36", isa=(*X86_ISA, "AVX512"))
    same = by("cpu-0.3.36")
    assert chosen(CPU_ONLY, wider) == "cpu-0.3.36"
    assert chosen(CPU_ONLY, same) == "environment"


def test_unknown_speeds_are_decided_by_the_placement() -> None:
    unknown = {HOST: RATES[HOST]}
    assert option(CUDA, unknown).plan.tg_ts is None
    assert chosen(CPU_ONLY, CUDA, rates=unknown) == "cuda-0.3.36"
    assert chosen(CPU_ONLY, CUDA, rates=unknown, prefer="speed") == "cuda-0.3.36"


def test_builds_with_the_same_devices_are_planned_for_once() -> None:
    copy, newer = by("cpu-0.3.36"), by("cuda-0.3.37", gpu(24))
    planned, passed = worth_planning([CPU_ONLY, newer, copy, CUDA, VULKAN], with_programs=False)
    assert planned == (CPU_ONLY, newer, VULKAN)
    assert [(one.hardware.engine.name, one.reason) for one in passed] == [
        ("cpu-0.3.36", "computes on the same devices as environment"),
        ("cuda-0.3.36", "computes on the same devices as cuda-0.3.37"),
    ]


def test_builds_with_the_same_devices_are_both_planned_for_where_both_were_measured() -> None:
    newer = by("cuda-0.3.37", gpu(24))
    both = frozenset({"cuda-0.3.36", "cuda-0.3.37", "environment"})
    planned, passed = worth_planning([CPU_ONLY, newer, CUDA], with_programs=False, measured=both)
    assert (planned, passed) == ((CPU_ONLY, newer, CUDA), ())
    for one in ("cuda-0.3.36", "cuda-0.3.37"):  # beside the prediction of a twin, a speed tells of the prediction
        planned, _ = worth_planning([CPU_ONLY, newer, CUDA], with_programs=False, measured={one, "environment"})
        assert planned == (CPU_ONLY, newer)


def test_a_server_takes_a_build_with_programs_if_there_is_one() -> None:
    bare = replace(CUDA, engine=replace(CUDA.engine, bin_dir=None))
    own = replace(CPU_ONLY, other_engines=(OtherEngine(name="cuda-0.3.36", devices=("CUDA0",)),))
    (taken,), (passed,) = worth_planning([bare, own], with_programs=True)
    assert taken.engine == own.engine
    assert left_out_notes(taken) == ("Engine cuda-0.3.36 is left out: it has no llama-server",)
    assert (passed.hardware, passed.reason) == (bare, "it has no llama-server")
    assert worth_planning([bare, own], with_programs=False) == ((bare, own), ())
    assert worth_planning([bare], with_programs=True) == ((bare,), ())


def test_the_choice_is_one_line_with_the_next_best() -> None:
    best, other = option(CUDA, model="gpt-oss-20b"), option(CPU_ONLY, model="gpt-oss-20b")
    rows = engine_rows(best, [other, best], (), ())
    assert [(row.name, row.reason) for row in rows] == [
        ("cuda-0.3.36", "chosen"),
        ("environment", "needs a slower placement"),
    ]
    assert rows[0].devices == ("CUDA0",)
    note = engine_note(rows)
    assert note is not None
    assert note == (
        f"Engine cuda-0.3.36 (CUDA0): about {best.plan.tg_ts:.0f} tok/s; with environment (CPU): about "
        f"{other.plan.tg_ts:.0f} tok/s: needs a slower placement."
    )


def test_where_there_is_no_choice_nothing_is_said() -> None:
    only = option(CPU_ONLY)
    assert engine_rows(only, [only], (), ()) == ()
    assert engine_note(()) is None
    twin = engine_rows(only, [only], (), [PassedOver(hardware=by("cpu-0.3.36"), reason="the same")])
    assert [row.reason for row in twin] == ["chosen", "the same"]
    assert engine_note(twin) is None


def test_a_build_that_does_the_same_is_no_news() -> None:
    best, other = option(CPU_ONLY, devices=()), option(CUDA, devices=())
    rows = engine_rows(best, [best, other], (), ())
    assert rows[1].reason == "no better than the choice"
    assert engine_note(rows) is None


def miss(needs: int, has: int) -> Refusal:
    error = DoesNotFitError(f"short of {needs - has}", needs_bytes=needs, has_bytes=has)
    return Refusal(hardware=CPU_ONLY, error=error)


def test_where_nothing_fits_the_nearest_miss_is_told() -> None:
    odd = Refusal(hardware=CUDA, error=UsageError("--device CUDA7"))
    assert nearest_refusal([odd, miss(30, 10), miss(30, 25)]).message == "short of 5"
    assert nearest_refusal([odd]) is odd.error
    only = option(CPU_ONLY)
    rows = engine_rows(only, [only], [odd], ())
    assert (rows[1].name, rows[1].fits, rows[1].reason) == ("cuda-0.3.36", False, "--device CUDA7")


def test_a_device_that_no_build_has_is_refused_with_the_devices_that_there_are() -> None:
    """The environment's build once answered for all: `this engine's devices are: none`, beside a GPU of another."""
    refusals = [Refusal(hardware=one, error=UsageError(one.engine.name)) for one in (CPU_ONLY, CUDA)]
    assert nearest_refusal(refusals).message == "cuda-0.3.36"


def test_a_gpu_that_is_slower_than_the_processor_is_told_with_the_way_out() -> None:
    slow = {**RATES, "Vulkan0": replace(RATES["Vulkan0"], bandwidth=Estimate(value=5e9, basis="measured"))}
    gpu_first, own = option(VULKAN, slow, "gpt-oss-20b"), option(CPU_ONLY, slow, "gpt-oss-20b")
    assert choose_engine([own, gpu_first], PlanRequest()) is gpu_first
    assert choose_engine([own, gpu_first], PlanRequest(prefer="speed")) is own
    rows = engine_rows(gpu_first, [own, gpu_first], [], [])
    assert rows[1].reason == "less of the model is on a GPU; --prefer speed goes by the speeds"


def test_a_build_that_is_left_out_is_named_with_the_reason() -> None:
    others = (OtherEngine(name="cuda-0.3.36", left_out="it crashed"), OtherEngine(name="cpu-0.3.36"))
    assert left_out_notes(replace(CPU_ONLY, other_engines=others)) == ("Engine cuda-0.3.36 is left out: it crashed",)
