"""Repetitions go round; what fails is told and left out; Ctrl-C keeps what there is."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from launcher.bench.run import Clock, Outcome, Step, order_of, run
from launcher.bench.session import Case, OpenSession, Session
from launcher.bench.types import EngineName
from launcher.errors import EngineError
from tests.bench.measured import PP, TG, fake_engine

EMBEDDED = Case(engine="embedded", test=TG)
YARDSTICK = Case(engine="llama-bench", test=TG)
FOUR = (Case(engine="embedded", test=PP), Case(engine="llama-bench", test=PP), EMBEDDED, YARDSTICK)


def both(log: list[str]) -> dict[EngineName, OpenSession]:
    return {"embedded": fake_engine("embedded", log), "llama-bench": fake_engine("llama-bench", log)}


def counts(outcome: Outcome) -> dict[str, int]:
    return {case.name: len(samples) for case, samples in outcome.samples.items()}


def test_every_round_has_each_case_once_and_another_engine_first() -> None:
    first, second = list(order_of(FOUR, 0)), list(order_of(FOUR, 1))
    assert first == [FOUR[0], FOUR[1], FOUR[2], FOUR[3]]
    assert second == [FOUR[1], FOUR[0], FOUR[3], FOUR[2]]


def test_repetitions_are_interleaved() -> None:
    log: list[str] = []
    engines = both(log)
    outcome = run([EMBEDDED, YARDSTICK], engines, repetitions=2, together=True)
    measured = [line for line in log if "tg8" in line]
    assert measured == ["embedded tg8", "llama-bench tg8", "llama-bench tg8", "embedded tg8"]
    assert counts(outcome) == {"embedded tg8": 2, "llama-bench tg8": 2}
    assert log.count("open embedded") == log.count("close embedded") == 1


def test_one_engine_makes_way_for_the_next_where_memory_holds_one() -> None:
    log: list[str] = []
    engines = both(log)
    run([EMBEDDED, YARDSTICK], engines, repetitions=1, together=False)
    assert log == [
        *("open embedded", "embedded tg8", "close embedded"),
        *("open llama-bench", "llama-bench tg8", "close llama-bench"),
    ]


def test_a_case_that_crashes_is_named_and_the_rest_goes_on() -> None:
    log: list[str] = []

    def crash(case: Case) -> int:
        if case.test == PP:
            raise EngineError("the engine was ended by signal 6", details=("GGML_ASSERT",))
        return 5

    engines: dict[EngineName, OpenSession] = {
        "embedded": fake_engine("embedded", log, crash),
        "llama-bench": fake_engine("llama-bench", log),
    }
    outcome = run(FOUR, engines, repetitions=3, together=True)
    (failure,) = outcome.failures
    assert failure.case.name == "embedded pp32"
    assert (failure.message, failure.details) == ("the engine was ended by signal 6", ("GGML_ASSERT",))
    assert counts(outcome) == {"llama-bench pp32": 3, "embedded tg8": 3, "llama-bench tg8": 3}
    assert log.count("embedded pp32") == 1, "what crashed once is not tried again"
    assert log.count("open embedded") == 2, "a crashed engine is opened anew"


def test_an_engine_that_cannot_load_is_left_out_altogether() -> None:
    log: list[str] = []

    def refuse() -> AbstractContextManager[Session]:
        log.append("open")
        raise EngineError("llama.cpp could not load it")

    engines: dict[EngineName, OpenSession] = {"embedded": refuse, "llama-bench": fake_engine("llama-bench", [])}
    outcome = run(FOUR, engines, repetitions=2, together=True)
    assert log == ["open"]
    assert len(outcome.failures) == 1
    assert counts(outcome) == {"llama-bench pp32": 2, "llama-bench tg8": 2}


def test_ctrl_c_keeps_what_was_measured_and_closes_the_engine() -> None:
    log: list[str] = []
    left = [1, 1, 1]

    def interrupt(_: Case) -> int:
        if not left:
            raise KeyboardInterrupt
        return left.pop()

    engines: dict[EngineName, OpenSession] = {"embedded": fake_engine("embedded", log, interrupt)}
    outcome = run([EMBEDDED], engines, repetitions=9, together=True)
    assert outcome.interrupted
    assert counts(outcome) == {"embedded tg8": 3}
    assert log[-1] == "close embedded"


def test_time_left_goes_by_what_each_case_took() -> None:
    seconds = [0.0]
    steps: list[Step] = []

    def answer(case: Case) -> int:
        seconds[0] += 10.0 if case.test == PP else 1.0
        return 1

    engines: dict[EngineName, OpenSession] = {"embedded": fake_engine("embedded", [], answer)}
    cases = [Case(engine="embedded", test=PP), EMBEDDED]
    clock = Clock(seconds=lambda: seconds[0])
    run(cases, engines, repetitions=3, together=True, tell=steps.append, clock=clock)
    assert [step.left_s for step in steps[:3]] == [None, pytest.approx(50.0), pytest.approx(22.0)]
    assert [(step.n_done, step.n_steps) for step in steps] == [(i, 6) for i in range(6)]
