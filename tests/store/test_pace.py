"""A limit, a watch, and the time left, by a clock of the test's own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from launcher.store.pace import SLOW_FOR_S, Estimate, RateLimit, StallWatch

MB = 1e6


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_limit_holds_over_all_connections() -> None:
    clock = Clock()
    limit = RateLimit(1 * MB, clock)
    for _ in range(400):  # two connections that read in turns, and wait as they are told
        clock.now += max(limit.wait_s(25_000), limit.wait_s(25_000))
    assert 400 * 50_000 / (clock.now - 100) == pytest.approx(1 * MB, rel=0.03)


def test_what_was_not_used_may_not_be_caught_up_with() -> None:
    clock = Clock()
    limit = RateLimit(1 * MB, clock)
    clock.now += 3600
    assert limit.wait_s(2_000_000) == pytest.approx(1.75)


def test_no_limit_never_waits() -> None:
    assert RateLimit(None, Clock()).wait_s(10**12) == 0.0


def test_a_connection_that_crawls_is_told_after_a_while() -> None:
    clock = Clock()
    watch = StallWatch(clock)
    told = []
    for _ in range(70):
        clock.now += 1
        told.append(watch.crawls(1000, 0.0))
    assert told.index(True) == SLOW_FOR_S - 1


def test_a_connection_that_is_slow_beside_another_is_told_and_a_slow_line_is_not() -> None:
    for fastest, expected in ((2 * MB, True), (60_000, False), (0.0, False)):
        clock = Clock()
        watch = StallWatch(clock)
        told = [watch.crawls(50_000, fastest) for clock.now in range(101, 101 + 40)]
        assert any(told) is expected


def test_time_that_we_waited_ourselves_does_not_count() -> None:
    clock = Clock()
    watch = StallWatch(clock)
    for _ in range(100):
        clock.now += 10.1
        watch.pause(10.0)
        assert not watch.crawls(1000, 0.0)


def looked(estimate: Estimate, clock: Clock, *, seconds: float, rate: float, done: float, total: float) -> list[float]:
    lefts = []
    for _ in range(round(seconds / 0.1)):
        clock.now += 0.1
        done += rate * 0.1
        estimate.update(int(done), int(total))
        if estimate.left_s is not None:
            lefts.append(estimate.left_s)
    return lefts


def test_a_steady_line_counts_down_and_is_right() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    lefts = looked(estimate, clock, seconds=50, rate=10 * MB, done=0, total=1000 * MB)
    assert lefts == sorted(lefts, reverse=True)
    assert estimate.bytes_per_s == pytest.approx(10 * MB, rel=0.01)
    assert lefts[-1] == pytest.approx(50, abs=0.5)


def test_a_slow_beginning_is_soon_forgotten() -> None:
    """Connections open, the hub redirects: the first tenths of a second said hours, which took a minute to go."""
    clock = Clock()
    estimate = Estimate(clock)
    looked(estimate, clock, seconds=1, rate=0.05 * MB, done=0, total=10_000 * MB)
    lefts = looked(estimate, clock, seconds=12, rate=100 * MB, done=50_000, total=10_000 * MB)
    assert lefts[-1] == pytest.approx(88, rel=0.25)


def test_a_line_that_comes_in_bursts_does_not_make_it_jump() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    done = 0.0
    lefts: list[float] = []
    for second in range(60):
        rate = 40 * MB if second % 4 == 0 else 0.0  # 10 MB/s on average
        lefts += looked(estimate, clock, seconds=1, rate=rate, done=done, total=3000 * MB)
        done += rate
    settled = lefts[200:]
    assert max(abs(after - before) for before, after in itertools.pairwise(settled)) < 1.0
    assert settled[-1] == pytest.approx((3000 * MB - done) / (10 * MB), rel=0.1)


def test_a_computer_that_slept_goes_on_with_the_rate_it_had() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    looked(estimate, clock, seconds=30, rate=10 * MB, done=0, total=1000 * MB)
    before = estimate.left_s
    clock.now += 8 * 3600
    estimate.update(int(300 * MB), int(1000 * MB))
    assert estimate.left_s == before
    after = looked(estimate, clock, seconds=2, rate=10 * MB, done=300 * MB, total=1000 * MB)
    assert after[0] == pytest.approx(before, abs=0.5)
    assert estimate.bytes_per_s == pytest.approx(10 * MB, rel=0.01)


def test_bytes_that_were_thrown_away_do_not_make_a_negative_rate() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    looked(estimate, clock, seconds=10, rate=10 * MB, done=0, total=1000 * MB)
    clock.now += 0.1
    estimate.update(int(50 * MB), int(1000 * MB))
    assert estimate.bytes_per_s == pytest.approx(10 * MB, rel=0.01)


def test_before_anything_came_nothing_is_said() -> None:
    estimate = Estimate(Clock())
    estimate.update(0, 1000)
    assert (estimate.bytes_per_s, estimate.left_s) == (None, None)
