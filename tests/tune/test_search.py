"""The search on landscapes that are known: it finds what is best, adopts no noise, and stays within its budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.errors import EngineError
from launcher.planner.types import Changes, LoadParams
from launcher.tune.board import Verdict
from launcher.tune.changes import spelt
from launcher.tune.pairs import FIRST_TEST
from launcher.tune.result import About, result_of, tuned_of
from launcher.tune.search import Search
from launcher.tune.sizes import typical
from launcher.tune.space import KEPT
from launcher.tune.types import Axis, Option, Outcome
from tests.tune.landscape import PLAN, World, flat, whole_space

BUDGET_S = 450.0


def hilly(params: LoadParams) -> tuple[float, float]:
    """Best: micro-batches of 256 without flash attention; each a few per cent, in what it touches."""
    pp, tg = flat(params)
    pp *= {64: 0.8, 128: 0.96, 256: 1.04}.get(params.n_ubatch, 1.0)
    pp *= 1.0 if params.n_threads_batch == 8 else 0.85
    tg *= 1.0 if params.n_threads == 8 else 0.8
    pp, tg = (pp, tg) if params.repack else (pp * 0.6, tg * 0.75)
    return (pp, tg) if params.flash_attn else (pp * 1.06, tg * 1.02)


def outcomes(search: Search) -> dict[str, Outcome]:
    assert search.board is not None
    return {trial.label: trial.outcome for trial in search.board.trials}


def test_the_best_setting_is_found_and_adopted() -> None:
    world = World(landscape=hilly, noise=0.005)
    search = world.search()
    assert search.adopted == Changes(flash_attn=False, n_ubatch=256)
    found = result_of(
        search,
        PLAN,
        About(model="m.gguf", size_bytes=1, date="2026-11-25", engine=None),
        workload=typical("chat", PLAN),
        budget_s=BUDGET_S,
    )
    tuned = tuned_of(found)
    assert tuned is not None
    assert tuned.changes == search.adopted
    assert tuned.pp_ratio == pytest.approx(1.06 * 1.04, rel=0.02)
    assert tuned.tg_ratio == pytest.approx(1.02, rel=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_it_comes_near_the_best_of_all_settings(seed: int) -> None:
    search = World(landscape=hilly, noise=0.01, seed=seed).search(budget_s=900)
    assert search.adopted == Changes(flash_attn=False, n_ubatch=256)


def test_losers_are_dropped_after_one_run() -> None:
    world = World(landscape=hilly, noise=0.005)
    world.search()
    for slow in (lambda p: p.n_threads == 4, lambda p: p.n_threads_batch == 4, lambda p: not p.repack):
        assert sum(slow(probe.params) for probe in world.probes) == 1
    # What is close to the best is run again before it is dropped.
    assert sum(probe.params.n_ubatch == 128 for probe in world.probes) >= 1


def test_on_flat_ground_nothing_is_adopted_but_in_one_of_twenty_searches_at_most() -> None:
    n, adopted = 0, 0
    for noise in (0.004, 0.03):
        for seed in range(150):
            search = World(noise=noise, seed=seed).search(budget_s=300 + 200 * (seed % 3))
            n += 1
            adopted += search.adopted != Changes()
    assert adopted <= 0.05 * n


def test_the_budget_is_kept() -> None:
    for budget_s in (60.0, 120.0, 300.0, 1200.0):
        for seed in range(6):
            world = World(landscape=hilly, noise=0.02, seed=seed)
            search = world.search(budget_s=budget_s)
            assert search.spent_s <= 1.05 * budget_s
            # One load, the plan's own speed: what a search cannot do without.
            assert search.spent_s >= 20


def test_what_the_budget_has_no_room_for_is_told() -> None:
    search = World(landscape=hilly).search(budget_s=60)
    assert search.adopted == Changes()
    assert outcomes(search)["repack off"] == "unfinished"
    assert any("n_ubatch 256" in line and "the budget has no room for a prompt" in line for line in search.left_out)


def test_a_crash_costs_the_setting_that_crashed() -> None:
    world = World(landscape=hilly, noise=0.005, crash=lambda params: params.n_threads == 16)
    search = world.search()
    assert outcomes(search)["n_threads 16"] == "crashed"
    assert search.board is not None
    (crashed,) = [trial for trial in search.board.trials if trial.label == "n_threads 16"]
    assert crashed.why == "the engine was ended by signal 9"
    assert search.adopted.flash_attn is False
    assert len(world.loads) >= 2, "the model is loaded again after it"


@pytest.mark.parametrize(
    ("axes", "outcome"), [(("flash_attn", "n_ubatch"), "crashed"), (("flash_attn",), "not confirmed")]
)
def test_a_setting_that_crashes_later_is_dropped_as_well(axes: tuple[str, ...], outcome: Outcome) -> None:
    """While others are compared with it, or while it is confirmed."""
    n_seen = 0

    def later(params: LoadParams) -> bool:
        nonlocal n_seen
        n_seen += not params.flash_attn
        return not params.flash_attn and n_seen > 4

    where = replace(whole_space(), axes=tuple(axis for axis in whole_space().axes if axis.name in axes))
    search = World(landscape=hilly, noise=0.005, crash=later).search(where=where, budget_s=900)
    assert search.adopted == Changes(n_ubatch=256 if "n_ubatch" in axes else None)
    assert outcomes(search)["flash_attn off"] == outcome


@pytest.mark.parametrize(
    ("quantised", "said"), [((50.0, 18.0), "half the cache, slightly"), ((28.0, 11.0), "half the cache, slower here")]
)
def test_cache_types_are_measured_and_never_taken(quantised: tuple[float, float], said: str) -> None:
    search = World(landscape=lambda params: (35.0, 12.0) if params.type_k == "f16" else quantised, noise=0.005).search(
        budget_s=900
    )
    assert search.adopted == Changes()
    assert outcomes(search)["type_k q8_0, type_v q8_0"] == "offered"
    assert search.board is not None
    (offered,) = [trial for trial in search.board.trials if trial.outcome == "offered"]
    assert offered.why.startswith(said)


def test_a_plan_that_cannot_be_run_is_an_error() -> None:
    with pytest.raises(EngineError, match="signal 9"):
        World(crash=lambda _: True).search()


def test_a_plan_that_can_no_longer_be_run_ends_the_search_and_keeps_what_was_measured() -> None:
    """A setting that took the machine down with it, for instance."""
    n_seen = 0

    def later(_params: LoadParams) -> bool:
        nonlocal n_seen
        n_seen += 1
        return n_seen > 12

    search = World(landscape=hilly, noise=0.005, crash=later).search()
    assert search.failure is not None
    assert search.adopted == Changes()
    assert outcomes(search)["n_threads 4"] == "slower"


def test_on_a_noisy_machine_one_run_drops_few() -> None:
    """Tests are short enough here that runs of the plan alone tell the noise before any race."""
    trials = []
    for seed in range(12):
        search = World(landscape=lambda _: (3500.0, 1200.0), noise=0.15, seed=seed).search(budget_s=60)
        assert search.board is not None
        trials += [trial for trial in search.board.trials if trial.axis == "n_threads"]
    assert sum(trial.n_pairs == 1 for trial in trials) < 0.2 * len(trials)


def test_a_disturbed_first_run_is_not_the_plans_speed() -> None:
    n_seen = 0

    def disturbed(_params: LoadParams) -> tuple[float, float]:
        nonlocal n_seen
        n_seen += 1
        return (5.0, 1.0) if n_seen == 1 else (35.0, 12.0)

    search = World(landscape=disturbed, noise=0.005).search()
    assert search.speeds.pp_ts == pytest.approx(35.0, rel=0.05)
    assert search.speeds.tg_ts == pytest.approx(12.0, rel=0.05)


def test_ctrl_c_adopts_nothing_that_was_not_confirmed() -> None:
    whole = World(landscape=hilly, noise=0.005)
    whole.search()
    unconfirmed = next(i for i, step in enumerate(whole.steps) if step.what.startswith("confirming"))
    for interrupt_at in (1, 3, 12, unconfirmed):
        world = World(landscape=hilly, noise=0.005, interrupt_at=interrupt_at)
        search = world.search()
        assert search.interrupted
        assert search.adopted == Changes()
        assert "kept" not in outcomes(search).values() if search.board else True


def test_ctrl_c_keeps_what_was_confirmed() -> None:
    whole = World(landscape=hilly, noise=0.005)
    whole.search()
    world = World(landscape=hilly, noise=0.005, interrupt_at=len(whole.probes))
    search = world.search()
    assert search.interrupted
    assert search.adopted == Changes(flash_attn=False, n_ubatch=256)


def test_what_the_quality_guard_rejects_is_not_adopted_and_the_rest_is() -> None:
    asked: list[tuple[LoadParams, LoadParams]] = []

    def judge(reference: LoadParams, candidate: LoadParams) -> Verdict:
        asked.append((reference, candidate))
        return Verdict(passes=False, text="the mean divergence is 0.3 nats")

    search = World(landscape=hilly, noise=0.003).search(budget_s=1200, judge=judge)
    assert asked == [(PLAN, replace(PLAN, flash_attn=False, n_ubatch=256))]
    assert search.adopted == Changes(n_ubatch=256)
    assert outcomes(search)["flash_attn off"] == "rejected"
    assert outcomes(search)["n_ubatch 256"] == "kept"


def test_threads_are_nothing_to_judge() -> None:
    def judge(_reference: LoadParams, _candidate: LoadParams) -> Verdict:
        raise AssertionError

    search = World(landscape=lambda p: (35.0, 12.0 if p.n_threads == 8 else 14.0), noise=0.005).search(judge=judge)
    assert search.adopted.n_threads in (4, 6, 7, 16)


@pytest.mark.parametrize(("pp", "tg"), [(1.3, 0.97), (0.97, 1.3)])
def test_neither_half_of_a_turn_may_become_slower(pp: float, tg: float) -> None:
    def seesaw(params: LoadParams) -> tuple[float, float]:
        return (35.0, 12.0) if params.flash_attn else (35.0 * pp, 12.0 * tg)

    search = World(landscape=seesaw, noise=0.003).search()
    assert search.adopted == Changes()
    assert search.board is not None
    assert search.board.confirmations[0].why == ("decoding became slower" if tg < 1 else "prompts became slower")


def test_what_needs_a_load_is_adopted_over_what_was_confirmed_before() -> None:
    def loads(params: LoadParams) -> tuple[float, float]:
        pp, tg = (35.0, 12.0) if params.flash_attn else (37.0, 12.5)
        return (pp * 1.05, tg * 1.05) if params.load_mode == "none" else (pp, tg)

    world = World(landscape=loads, noise=0.003)
    search = world.search(budget_s=1800)
    assert search.adopted == Changes(flash_attn=False, load_mode="none")
    assert search.board is not None
    assert [one.over for one in search.board.confirmations] == ["the plan", "what was confirmed before"]


def test_a_machine_that_drifts_favours_nobody() -> None:
    """It becomes slower by a third of a per cent with every run: settings that are tried late are not worse for it."""
    n_probes = 0

    def drifting(_params: LoadParams) -> tuple[float, float]:
        nonlocal n_probes
        n_probes += 1
        factor = 0.997**n_probes
        return 35.0 * factor, 12.0 * factor

    for _ in range(5):
        n_probes = 0
        assert World(landscape=drifting, noise=0.002).search().adopted == Changes()


def test_what_won_before_has_to_win_again() -> None:
    before = Axis(name=KEPT, options=(Option(label="n_ubatch 128", changes=Changes(n_ubatch=128)),), touches="both")
    where = replace(whole_space(), axes=(before, *whole_space().axes))
    assert World(noise=0.003).search(where=where).adopted == Changes()
    fast = World(noise=0.003, landscape=lambda p: (40.0 if p.n_ubatch == 128 else 35.0, 12.0)).search(where=where)
    assert spelt(fast.adopted) == "n_ubatch 128"


def test_several_sequences_are_decoded_together() -> None:
    world = World(landscape=hilly, noise=0.005)
    world.search(purpose="serve", plan=replace(PLAN, n_parallel=4, kv_unified=True))
    assert {probe.n_streams for probe in world.probes} == {4}


def test_long_contexts_are_measured_at_a_depth_that_the_budget_has_room_for() -> None:
    world = World(landscape=hilly, noise=0.005)
    search = world.search(purpose="long-context")
    assert search.board is not None
    depth = search.board.sizes.decode.n_depth
    assert 500 < depth < 2000
    assert {probe.test.n_depth for probe in world.probes if probe.test != FIRST_TEST} == {depth}
