"""Which records calibrate the planner, and how its predictions are judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launcher.bench.predictions import Subject, judge, sort_records
from launcher.bench.types import BenchRecord
from tests.bench.samples import STEADY, record, scaled

SUBJECT = Subject(
    recipe="a file", settings=lambda kind: f"{kind} settings", work=lambda test: ((((test.name, 1.0),),),)
)
NOISY = (100.0, 60.0, 140.0, 90.0, 115.0)
DISTURBED = (100.0, 40.0, 99.0, 45.0, 101.0)


def test_steady_records_of_one_stream_calibrate() -> None:
    prompt = record(scaled(4.0), n_prompt=512, n_gen=0, predicted_ts=500.0, test_time="2026-11-25T13:00:00Z")
    decode = record(STEADY, engine="llama-bench", n_depth=64)
    found = sort_records([prompt, decode], SUBJECT)
    first, second = found.runs
    assert (first.kind, first.test, first.n_tokens, first.ts) == ("pp", "pp512", 512, 400.0)
    assert (first.recipe, first.settings, first.model) == ("a file", "pp settings", "tiny-gpt-oss")
    assert (first.date, first.predicted_ts) == ("2026-11-25", 500.0)
    assert (second.kind, second.test, second.engine, second.n_tokens) == ("tg", "tg128 @ d64", "llama-bench", 1)
    assert second.work == (((("tg128 @ d64", 1.0),),),)
    assert found.left_out == ()


def test_a_median_that_a_few_disturbed_samples_leave_alone_calibrates() -> None:
    (run,) = sort_records([record(DISTURBED)], SUBJECT).runs
    assert run.ts == 99.0


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (record(NOISY), "tg128 spread by 22%"),
        (record(STEADY[:2]), "tg128 had 2 repetitions, and 3 tell how far it spreads"),
        (record(STEADY[:1]), "tg128 had 1 repetition, and 3 tell how far it spreads"),
        (record(STEADY, n_prompt=64), "pp64+tg128 measured two kinds at once"),
    ],
)
def test_others_are_left_out_with_the_reason(one: BenchRecord, why: str) -> None:
    found = sort_records([one, one], SUBJECT)
    assert found.runs == ()
    assert found.left_out == (why,)


def test_tests_that_are_left_out_for_one_reason_are_told_together() -> None:
    few = [record(STEADY[:2], n_prompt=512, n_gen=0), record(STEADY[:2], engine="llama-bench")]
    told = "embedded pp512, llama-bench tg128 had 2 repetitions, and 3 tell how far it spreads"
    assert sort_records(few, SUBJECT).left_out == (told,)


def test_a_server_tells_of_more_than_the_model() -> None:
    found = sort_records([record(STEADY, engine="server", n_streams=2)], SUBJECT)
    assert (found.runs, found.left_out) == ((), ())


def test_nothing_of_a_file_with_holes_calibrates() -> None:
    found = sort_records([record(STEADY)], replace(SUBJECT, unfit="ran on zeros"))
    assert (found.runs, found.left_out) == ((), ("tg128 ran on zeros",))


def test_the_worst_prediction_comes_first() -> None:
    rows: list[dict[str, Any]] = [{"predicted_ts": 110.0}, {"predicted_ts": 60.0, "n_depth": 4096}, {}]
    found = judge([record(STEADY, **row) for row in rows])
    assert [(miss.name, round(miss.error, 2)) for miss in found.misses] == [
        ("embedded tg128 @ d4096", -0.4),
        ("embedded tg128", 0.1),
    ]
    assert found.unpredicted == ("embedded tg128",)
    assert not found.misses[0].noisy
    assert judge([record(NOISY, predicted_ts=1.0)]).misses[0].noisy
    assert judge([record(STEADY, engine="server", n_streams=4)]).unpredicted == ("server tg128, 4 streams",)
