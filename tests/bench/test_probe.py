"""Probes: settings other than those the model was loaded with, in the real engine."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launcher.bench.embedded import open_embedded
from launcher.bench.embedded_child import _Runner
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
def test_several_sequences_run_in_the_real_engine(kv_unified: bool) -> None:
    test = BenchTest(n_prompt=16, n_gen=8, n_depth=32)
    with open_embedded(demo_model_path(), PLAN) as session:
        timing = session.probe(Probe(test=test, params=replace(PLAN, kv_unified=kv_unified), n_streams=8, n_warm=8))
    assert timing.prompt_ns > 0
    assert timing.gen_ns > 0


class Lib:
    """llama.cpp, as far as decoding needs it: notes every batch."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int, int]]] = []

    def llama_vocab_get_add_bos(self, _vocab: int) -> bool:
        return False

    def llama_batch_init(self, n_tokens: int, _embd: int, _n_seq_max: int) -> SimpleNamespace:
        plain = {name: [0] * n_tokens for name in ("token", "pos", "n_seq_id", "logits")}
        return SimpleNamespace(n_tokens=0, seq_id=[[0] for _ in range(n_tokens)], **plain)

    def llama_decode(self, _context: int, batch: SimpleNamespace) -> int:
        assert all(batch.logits)
        rows = zip(batch.token, batch.pos, batch.seq_id, strict=True)
        self.batches.append([(token, pos, seq[0]) for token, pos, seq in rows])
        return 0

    def llama_synchronize(self, _context: int) -> None: ...

    def llama_batch_free(self, _batch: SimpleNamespace) -> None: ...


def test_a_token_of_every_sequence_is_in_each_batch() -> None:
    lib = Lib()
    model, context = SimpleNamespace(vocab=0, n_vocab=10), SimpleNamespace(pointer=0)
    runner = _Runner(lib, cast("Any", model), PLAN, deque())
    runner._generate(cast("Any", context), [7, 8], 5, n_streams=3)
    assert lib.batches == [[(7, 5, 0), (7, 5, 1), (7, 5, 2)], [(8, 6, 0), (8, 6, 1), (8, 6, 2)]]


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
