"""Which tests are run, from what is typed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from launcher.bench.cases import cases_of, engine_names, fit_together, fitting, numbers, server_params
from launcher.bench.session import Case
from launcher.bench.types import BenchTest
from launcher.errors import UsageError
from launcher.planner.pins import plan_command
from launcher.planner.types import PlanRequest
from tests.bench.measured import memory_row
from tests.engines.demo import load_params


def test_numbers_and_engines() -> None:
    assert numbers("512,2048,512", "-p") == (512, 2048)
    assert engine_names("llama-bench, embedded") == ("llama-bench", "embedded")


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "1.5", "1,,2", "99999999999999"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="-p takes whole numbers"):
        numbers(text, "-p")


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(UsageError, match="not 'ollama'"):
        engine_names("embedded,ollama")


def test_prompts_and_lengths_at_every_depth_engines_side_by_side() -> None:
    cases = cases_of(["embedded", "llama-bench"], n_prompt=[512, 0], n_gen=[128], n_depth=[0, 64], streams=[1])
    assert [case.name for case in cases] == [
        *("embedded pp512", "llama-bench pp512", "embedded tg128", "llama-bench tg128"),
        *("embedded pp512 @ d64", "llama-bench pp512 @ d64", "embedded tg128 @ d64", "llama-bench tg128 @ d64"),
    ]


def test_a_server_is_asked_for_both_at_once() -> None:
    cases = cases_of(["server"], n_prompt=[512], n_gen=[128], n_depth=[0], streams=[1, 4])
    assert [case.name for case in cases] == ["server pp512+tg128", "server pp512+tg128, 4 streams"]


@pytest.mark.parametrize("engine", ["embedded", "server"])
def test_nothing_to_measure_is_told(engine: str) -> None:
    with pytest.raises(UsageError, match="nothing is left to measure"):
        cases_of(engine_names(engine), n_prompt=[0], n_gen=[0], n_depth=[0], streams=[1])


def test_what_the_context_does_not_hold() -> None:
    params = replace(load_params(), n_ctx=1024)
    test = BenchTest(n_prompt=400, n_gen=50)
    cases = [Case(engine="server", test=test, n_streams=n) for n in (1, 2, 4)]
    kept, left_out = fitting(cases, params, plan_with=str)
    assert [case.n_streams for case in kept] == [1, 2]
    assert [case.n_streams for case in left_out] == [4]
    long = Case(engine="embedded", test=BenchTest(n_gen=2000))
    again = partial(plan_command, PlanRequest(model="20b", quant="Q4_0"))
    with pytest.raises(UsageError, match="tg2000 needs 2000 tokens of context, and the plan has 1024") as caught:
        fitting([long], params, plan_with=again)
    assert caught.value.hint == "gpt-oss plan --model 20b --quant Q4_0 --min-ctx 2000", "of the model that was meant"


def test_a_server_has_a_slot_for_every_stream() -> None:
    cases = [Case(engine="server", test=BenchTest(n_prompt=500, n_gen=100), n_streams=n) for n in (1, 4)]
    params = server_params(load_params(), cases)
    assert (params.n_parallel, params.n_ctx, params.kv_unified) == (4, 4 * 768, False)
    assert params.n_outputs_max >= 4


def test_two_engines_share_memory_only_where_both_fit() -> None:
    assert fit_together([memory_row(450)], 2)
    assert not fit_together([memory_row(451)], 2)
    assert fit_together([memory_row(900)], 1)
