"""What pairs mean: when a setting is dropped, leads, is confirmed."""

from __future__ import annotations

import math

import pytest

from launcher.tune.pairs import Logs, together
from launcher.tune.race import (
    FIRST,
    MIN_PAIRS,
    MOST,
    PRIOR_SD,
    Noise,
    Runner,
    best,
    is_faster,
    is_slower,
    n_more,
    ratio_of,
    settled,
    turn_log,
)
from launcher.tune.search import verdict_of

UP, DOWN = 0.02, -0.02


def runner(*logs: float, noise: Noise | None = None) -> Runner:
    found = Runner()
    for log in logs:
        found.add(log, noise or Noise())
    return found


def test_the_noise_is_learnt() -> None:
    noise = Noise()
    assert noise.sd == pytest.approx(PRIOR_SD)
    runner(*[0.1, -0.1] * 20, noise=noise)
    assert noise.sd == pytest.approx(0.1, rel=0.1)
    quiet = Noise()
    runner(*[0.0] * 40, noise=quiet)
    assert quiet.sd < PRIOR_SD / 3


def test_far_behind_is_dropped_at_once_and_near_is_not() -> None:
    noise = Noise()
    assert runner(-0.05).lost(noise)
    assert not runner(-0.01).lost(noise)
    assert runner(*[-0.01] * 12).lost(noise)
    assert not Runner().lost(noise)


def test_the_leader_leads_by_more_than_the_noise() -> None:
    noise = Noise()
    near, far = runner(0.015, 0.016), runner(0.03, 0.03)
    assert best([near, far], noise) is far
    assert best([runner(0.001)], noise) is None
    assert settled([runner(0.2, 0.2)], noise)
    assert not settled([runner(0.2)], noise), "one run may have been lucky"
    assert not settled([runner(0.2), runner(0.0)], noise)


def test_six_pairs_that_agree_are_enough() -> None:
    logs: list[float] = []
    while n_more(logs, 100):
        logs.append(UP)
    assert len(logs) == FIRST
    assert is_faster(logs)


def test_a_pair_that_disagrees_asks_for_twelve() -> None:
    logs = [UP, UP, DOWN, UP, UP, UP]
    assert n_more(logs, 100) == MOST - FIRST
    assert not is_faster(logs)
    assert is_faster([*logs, *[UP] * 6])
    assert not is_faster([*logs, DOWN, DOWN, *[UP] * 4])
    assert n_more(logs, 5) == 0, "without room for twelve it is over"


def test_what_cannot_be_shown_any_more_is_given_up() -> None:
    assert n_more([DOWN, DOWN, DOWN], 100) == 0
    assert n_more([DOWN], 6) == 0, "six would all have to agree"
    assert n_more([DOWN], 100) > 0


def test_fewer_than_five_show_nothing() -> None:
    assert n_more([], MIN_PAIRS - 1) == 0
    assert n_more([], MIN_PAIRS) == MIN_PAIRS
    assert not is_faster([UP] * (MIN_PAIRS - 1))
    assert is_faster([UP] * MIN_PAIRS)


def test_a_gain_that_nobody_notices_is_none() -> None:
    assert not is_faster([0.001] * 12)
    assert is_slower([DOWN] * 6)


def test_a_turn_is_as_fast_as_its_halves_weighed() -> None:
    assert turn_log(1.0, 0.1, 0.5) == pytest.approx(0.1)
    assert turn_log(0.0, 0.1, 0.5) == pytest.approx(0.5)
    assert turn_log(0.5, math.log(2), 0.0) == pytest.approx(math.log(1 / 0.75))


def test_ratios_come_with_their_interval() -> None:
    found = ratio_of([0.01, 0.02, 0.03, 0.02, 0.01, 0.02])
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.ratio < found.high
    assert ratio_of([]) is None


def test_verdicts_say_why() -> None:
    def logs(turn: float, prompt: float = 0.05, n: int = 6) -> Logs:
        return Logs(turn=[turn] * n, prompt=[prompt] * n)

    assert verdict_of(logs(0.05)) == (True, "fresh pairs show it")
    assert verdict_of(logs(-0.05)) == (False, "fresh pairs did not show it")
    assert verdict_of(logs(0.05, -0.05)) == (False, "prompts became slower")
    assert verdict_of(logs(0.05, n=3)) == (False, "the budget had no room for 5 pairs")


def test_settings_of_both_halves_need_both() -> None:
    assert together(["prompt", "prompt"]) == "prompt"
    assert together(["prompt", "decode"]) == "both"
    assert together(["both"]) == "both"


def test_runs_of_the_same_settings_say_how_noisy_the_machine_is() -> None:
    noise = Noise()
    for log in (0.2, -0.2, 0.1):
        noise.learn(log)
    assert noise.sd > 0.1
    assert not runner(-0.1).lost(noise), "there a tenth is nothing"
