"""The engines as sessions: the demo model in the real ones, and programs that fail in the ways that engines do."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.bench.embedded import open_embedded
from launcher.bench.llama_bench import command_of, find_llama_bench, open_llama_bench, parse_row
from launcher.bench.memory import parse_peak, peak_rss_bytes
from launcher.bench.session import Case, Sample, Session
from launcher.bench.types import BenchTest
from launcher.demo import demo_model_path
from launcher.engines.programs import engine_program
from launcher.errors import EngineCrashError, EngineError
from tests.bench.measured import PP, TG, real_rows
from tests.engines.demo import load_params

NEEDS_TOOLS = pytest.mark.skipif(engine_program("llama-bench") is None, reason="the engine was built without tools")


def embedded(test: BenchTest) -> Case:
    return Case(engine="embedded", test=test)


def yardstick(test: BenchTest) -> Case:
    return Case(engine="llama-bench", test=test)


def program(folder: Path, text: str) -> Path:
    """A program that stands for an engine's."""
    path = folder / "engine"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def clocked(session: Session, case: Case) -> Sample:
    """A sample, whose clock must have run while it was measured, in another process."""
    before = time.perf_counter_ns()
    sample = session.measure(case)
    assert sample.start_ns is not None
    assert before < sample.start_ns < sample.start_ns + sample.ns <= time.perf_counter_ns()
    assert sample.pid not in {None, os.getpid()}
    return sample


@NEEDS_TOOLS
def test_both_engines_measure_the_same_model_with_the_same_settings() -> None:
    with (
        open_embedded(demo_model_path(), load_params()) as ours,
        open_llama_bench(demo_model_path(), load_params()) as theirs,
    ):
        for test in (PP, TG, BenchTest(n_gen=4, n_depth=100), BenchTest(n_prompt=100, n_gen=4)):
            one, other = clocked(ours, embedded(test)), clocked(theirs, yardstick(test))
            assert one.ns > 0
            assert other.ns > 0
            assert {name: other.fields[name] for name in one.fields} == one.fields
            assert (other.fields["n_prompt"], other.fields["n_gen"], other.fields["n_depth"]) == (
                *(test.n_prompt, test.n_gen, test.n_depth),
            )
        again = ours.measure(embedded(BenchTest(n_gen=4, n_depth=100)))
        assert again.ns > 0, "the depth is put back, not filled again"
        if sys.platform.startswith("linux"):
            assert again.peak_bytes is not None
            assert again.peak_bytes > demo_model_path().stat().st_size


def test_longer_answers_take_longer() -> None:
    """What is measured is the tokens that were asked for, and not the depth before them."""
    with open_embedded(demo_model_path(), load_params()) as session:
        short = min(session.measure(embedded(BenchTest(n_gen=4, n_depth=400))).ns for _ in range(3))
        long = min(session.measure(embedded(BenchTest(n_gen=200, n_depth=400))).ns for _ in range(3))
    assert long > 5 * short


def test_a_model_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(64))
    with (
        pytest.raises(EngineError, match=r"could not load broken\.gguf"),
        open_embedded(tmp_path / "broken.gguf", load_params()),
    ):
        pass


def test_a_crash_of_the_child_is_told_with_its_last_words(tmp_path: Path) -> None:
    facts = json.dumps({"facts": {}})
    python = program(tmp_path, f"read order; echo '{facts}'; read test; echo GGML_ASSERT failed >&2; kill -ABRT $$")
    with open_embedded(demo_model_path(), load_params(), python=str(python)) as session:
        with pytest.raises(EngineCrashError, match=r"the engine crashed \(Aborted\)") as caught:
            session.measure(embedded(TG))
        assert caught.value.how == "Aborted"
        assert caught.value.details == ("GGML_ASSERT failed",)
        with pytest.raises(EngineError):
            session.measure(embedded(TG))


def test_a_child_that_dies_while_it_loads(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match="ended with status 3"),
        open_embedded(demo_model_path(), load_params(), python=str(program(tmp_path, "exit 3"))),
    ):
        pass


def test_a_crash_of_llama_bench_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = program(tmp_path, "echo failed to load model >&2; exit 1")
    with open_llama_bench(demo_model_path(), load_params(), program=broken) as session:
        with pytest.raises(EngineError, match="ended with status 1") as caught:
            session.measure(yardstick(TG))
        assert caught.value.details == ("failed to load model",)


def test_a_program_that_is_none(tmp_path: Path) -> None:
    with (
        open_llama_bench(demo_model_path(), load_params(), program=tmp_path / "nope") as session,
        pytest.raises(EngineError, match="cannot be started"),
    ):
        session.measure(yardstick(TG))


def rows() -> Iterator[tuple[str, str]]:
    row = real_rows()[0]
    yield "not JSON", "cannot be read"
    yield "[]", "cannot be read"
    yield json.dumps([7]), "cannot be read"
    yield json.dumps([{**row, "avg_ts": None}]), "lacks avg_ts"
    yield json.dumps([{**row, "n_gen": 77}]), "something else"
    yield json.dumps([{**row, "samples_ns": ["a"]}]), "cannot be read"


@pytest.mark.parametrize(("text", "told"), list(rows()))
def test_an_answer_that_is_none_is_refused(text: str, told: str) -> None:
    row = real_rows()[0]
    with pytest.raises(EngineError, match=told):
        parse_row(text, BenchTest(n_prompt=row["n_prompt"], n_gen=row["n_gen"], n_depth=row["n_depth"]))


def test_llama_bench_gets_the_threads_of_what_it_measures() -> None:
    params = load_params(n_threads=3, n_threads_batch=9, op_offload=False)
    prompt = command_of(Path("llama-bench"), Path("m.gguf"), params, PP)
    answer = command_of(Path("llama-bench"), Path("m.gguf"), params, TG)
    both = command_of(Path("llama-bench"), Path("m.gguf"), params, BenchTest(n_prompt=4, n_gen=2))
    assert prompt[prompt.index("-t") + 1] == "9"
    assert answer[answer.index("-t") + 1] == "3"
    assert answer[answer.index("-nopo") + 1] == "1"
    assert both[both.index("-pg") + 1] == "4,2"
    assert (both[both.index("-p") + 1], both[both.index("-n") + 1]) == ("0", "0")


@NEEDS_TOOLS
def test_the_yardstick_is_of_the_same_build() -> None:
    assert find_llama_bench() == engine_program("llama-bench")


def test_peak_of_memory() -> None:
    assert parse_peak("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n") == 2048 * 1024
    assert parse_peak("Name:\tx\nState:\tZ (zombie)\n") is None
    own = peak_rss_bytes(os.getpid())
    assert own is not None
    assert own > 2**20
