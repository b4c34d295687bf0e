"""Probes: settings other than those the model was loaded with, in the real engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.bench.embedded import open_embedded
from launcher.bench.probe import Probe, probe_params, same_load
from launcher.bench.types import BenchTest
from launcher.demo import demo_model_path
from launcher.errors import EngineError
from tests.engines.demo import load_params

PLAN = load_params(n_batch=256, n_ubatch=128)


def test_one_load_serves_other_settings_of_the_context() -> None:
    settings = [
        PLAN,
        replace(PLAN, n_ubatch=32, n_batch=64),
        replace(PLAN, flash_attn=False),
        replace(PLAN, type_k="q8_0", type_v="q8_0"),
        replace(PLAN, n_threads=2, n_threads_batch=2),
        PLAN,
    ]
    with open_embedded(demo_model_path(), PLAN) as session:
        for params in settings:
            both = session.probe(Probe(test=BenchTest(n_prompt=200, n_gen=4), params=params, n_warm=8))
            assert both.prompt_ns > 0
            assert both.gen_ns > 0
            # At a depth, which is kept from one setting to the next only where its form is the same.
            deep = session.probe(Probe(test=BenchTest(n_gen=4, n_depth=300), params=params, n_warm=8))
            assert (deep.prompt_ns, deep.gen_ns > 0) == (0, True)
        prompt = session.probe(Probe(test=BenchTest(n_prompt=64), params=PLAN, n_warm=0))
        assert (prompt.prompt_ns > 0, prompt.gen_ns) == (True, 0)


@pytest.mark.parametrize("kv_unified", [True, False])
def test_several_sequences_are_decoded_in_one_batch(kv_unified: bool) -> None:
    test = BenchTest(n_prompt=16, n_gen=40)
    with open_embedded(demo_model_path(), PLAN) as session:
        params = replace(PLAN, kv_unified=kv_unified)
        one = min(session.probe(Probe(test=test, params=params, n_warm=8)).gen_ns for _ in range(6))
        eight = min(session.probe(Probe(test=test, params=params, n_streams=8, n_warm=8)).gen_ns for _ in range(6))
    assert one < eight < 8 * one, "a batch is slower than one token and faster than eight"


def test_what_llama_cpp_refuses_is_told_and_the_session_goes_on() -> None:
    with open_embedded(demo_model_path(), PLAN) as session:
        wrong = replace(PLAN, flash_attn=False, type_v="q8_0")
        with pytest.raises(EngineError, match="could not make a context"):
            session.probe(Probe(test=BenchTest(n_gen=2), params=wrong))
        assert session.probe(Probe(test=BenchTest(n_gen=2), params=PLAN)).gen_ns > 0


def test_what_lies_in_memory_decides_whether_a_load_serves() -> None:
    for changes in (
        {"n_threads": 3},
        {"n_ubatch": 32},
        {"flash_attn": False},
        {"type_k": "q8_0"},
        {"op_offload": False},
    ):
        assert same_load(PLAN, replace(PLAN, **changes))
    for changes in ({"repack": True}, {"load_mode": "none"}, {"n_gpu_layers": 1}, {"n_cpu_moe": 1}):
        assert not same_load(PLAN, replace(PLAN, **changes))


def test_a_context_has_room_for_every_sequence() -> None:
    test = BenchTest(n_prompt=100, n_gen=20, n_depth=50)
    unified = probe_params(Probe(test=test, params=replace(PLAN, kv_unified=True), n_streams=4))
    assert (unified.n_ctx, unified.n_parallel, unified.n_outputs_max) == (150 + 4 * 20, 4, 4)
    parts = probe_params(Probe(test=test, params=replace(PLAN, kv_unified=False), n_streams=4))
    assert (parts.n_ctx, parts.kv_unified) == (4 * 170, False)
    alone = probe_params(Probe(test=test, params=PLAN))
    assert (alone.n_ctx, alone.n_parallel, alone.kv_unified) == (170, 1, False)
