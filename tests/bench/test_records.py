"""Samples become records, predictions stand beside them, and the history keeps them."""

from __future__ import annotations

import json
from pathlib import Path

from launcher.bench.records import HISTORY_FILE, records_of, save_record
from launcher.bench.run import Outcome
from launcher.bench.session import Case, Sample
from launcher.bench.types import BenchRecord, BenchTest
from launcher.records import from_jsonable
from tests.bench.measured import header
from tests.bench.samples import record
from tests.engines.demo import load_params
from tests.systems import POSIX


def outcome(case: Case, *samples: Sample) -> Outcome:
    return Outcome(samples={case: list(samples)}, began={case: "2026-11-25T13:00:00Z"})


def test_a_record_has_the_plan_and_what_the_engine_tells() -> None:
    case = Case(engine="embedded", test=BenchTest(n_gen=100))
    facts = {"model_type": "gpt-oss 20B", "build_commit": "abc1234"}
    found = outcome(case, Sample(ns=10**9, peak_bytes=5, fields=facts), Sample(ns=2 * 10**9, peak_bytes=7))
    found.samples[case].append(Sample(ns=10**9, peak_bytes=6, fields=facts))
    (one,) = records_of(found, header(load_params=load_params(type_k="q8_0", n_cpu_moe=2, n_cpu_moe_tensors=1)))
    assert one.samples_ts == (100.0, 50.0, 100.0)
    assert (one.model_type, one.build_commit) == ("gpt-oss 20B", "abc1234")
    assert (one.type_k, one.n_cpu_moe, one.n_threads, one.devices) == ("q8_0", 2, 1, "none")
    assert one.tensor_buft_overrides == r"blk\.2\.ffn_down_exps=CPU"
    assert (one.predicted_ts, one.predicted_basis) == (100.0, "measured here")
    assert [(row.device, row.peak_bytes, row.planned_bytes) for row in one.memory] == [("CPU", 7, 640)]
    assert one.latency is None
    assert one.plan == {"fits": True}


def test_what_is_not_predicted_stays_unknown() -> None:
    case = Case(engine="embedded", test=BenchTest(n_gen=100))
    (one,) = records_of(outcome(case, Sample(ns=1)), header(predict=lambda _: None))
    assert (one.predicted_ts, one.predicted_basis) == (None, None)


def test_a_prompt_has_the_threads_of_batches() -> None:
    case = Case(engine="embedded", test=BenchTest(n_prompt=100))
    (one,) = records_of(outcome(case, Sample(ns=1)), header(load_params=load_params(n_threads_batch=7)))
    assert one.n_threads == 7


def test_streams_count_together_and_their_waits_are_told() -> None:
    case = Case(engine="server", test=BenchTest(n_prompt=60, n_gen=40), n_streams=2)
    sample = Sample(ns=10**9, ttft_ms=(10.0, 30.0), itl_ms=tuple(float(i) for i in range(101)))
    (one,) = records_of(outcome(case, sample), header())
    assert one.avg_ts == 200.0
    assert (one.n_prompt, one.n_gen, one.n_streams) == (60, 40, 2)
    assert one.latency is not None
    assert (one.latency.ttft_ms, one.latency.output_ts) == (20.0, 80.0)
    assert (one.latency.itl_p50_ms, one.latency.itl_p90_ms, one.latency.itl_p99_ms) == (50.0, 90.0, 99.0)
    assert one.predicted_ts is None, "the planner predicts one stream"


def kept(state: Path) -> list[BenchRecord]:
    return [from_jsonable(BenchRecord, json.loads(line)) for line in (state / HISTORY_FILE).read_text().splitlines()]


@POSIX
def test_records_are_added_line_by_line_for_the_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    save_record(state, record(run_id="a"))
    save_record(state, record(run_id="b"))
    assert [one.run_id for one in kept(state)] == ["a", "b"]
    assert (state / HISTORY_FILE).stat().st_mode & 0o777 == 0o600


def test_half_a_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / HISTORY_FILE).write_text('{"build_commit": "0c')
    save_record(tmp_path, record(run_id="b"))
    torn, whole = (tmp_path / HISTORY_FILE).read_text().splitlines()
    assert torn == '{"build_commit": "0c'
    assert json.loads(whole)["run_id"] == "b"
