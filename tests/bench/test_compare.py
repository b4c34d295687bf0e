"""Rows out of any JSON, and two sets of them side by side."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.bench.compare import Comparison, Verdict, compare, verdict_of
from launcher.bench.rows import Row, RowError, file_name, row_of, rows_of_text
from launcher.bench.stats import Interval
from launcher.records import to_jsonable
from tests.bench.samples import ENERGY, LLAMA_BENCH_FILE, STEADY, record, row, scaled

REAL = json.loads(LLAMA_BENCH_FILE.read_text())


# Reading


def test_llama_benchs_own_output_is_read() -> None:
    rows = rows_of_text(LLAMA_BENCH_FILE.read_text())
    assert [item.name for item in rows] == ["pp64", "tg8", "pp64 @ d64", "tg8 @ d64"]
    assert {(item.engine, item.model, item.run_id) for item in rows} == {
        ("llama-bench", "tiny-gpt-oss-MXFP4.gguf", None)
    }
    assert rows[0].samples_ts == tuple(REAL[0]["samples_ts"])
    assert rows[0].facts["n_threads"] == 1
    assert rows[0].facts["flash_attn"] == -1


def test_all_shapes_of_a_file_give_the_same_rows() -> None:
    lines = "\n".join(json.dumps(item) for item in REAL) + "\n\n"
    document = json.dumps({"schema": 1, "records": REAL})
    expected = rows_of_text(json.dumps(REAL))
    assert rows_of_text(lines) == expected
    assert rows_of_text(document) == expected
    assert rows_of_text("\ufeff" + document) == expected
    assert rows_of_text(json.dumps(REAL[0])) == expected[:1]


def test_our_records_are_read() -> None:
    found = row_of(to_jsonable(record(n_depth=4096, engine="server", n_streams=4, model_filename="/home/me/m/a.gguf")))
    assert (found.engine, found.run_id, found.model) == ("server", "run-a", "a.gguf")
    assert found.name == "tg128 @ d4096 x4"
    assert found.samples_ts == STEADY


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/b.gguf", "b.gguf"), ("C:\\models\\b.gguf", "b.gguf"), ("b.gguf", "b.gguf"), ("/", "/"), ("a/x\\y", "x\\y")],
)
def test_a_model_is_called_by_its_file(path: str, name: str) -> None:
    assert file_name(path) == name


def test_speeds_come_from_times_or_from_the_mean_where_nothing_better_is_written() -> None:
    times = {**REAL[0], "samples_ts": [], "samples_ns": [1_000_000_000, 2_000_000_000]}
    assert row_of(times).samples_ts == (64.0, 32.0)
    assert row_of({**REAL[0], "samples_ts": None, "samples_ns": None, "avg_ts": 7.5}).samples_ts == (7.5,)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in REAL[0].items() if key != name}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("[]", "no records"),
        ('"text"', "expected a list"),
        ('{"records": 7}', "expected a list"),
        ("[1]", "record 1 is no object"),
        ("| model | size |\n| --- |", "not JSON"),
        (json.dumps(REAL[0]) + "\n{half", "line 2 is not JSON"),
        (json.dumps(REAL[0]) + "\n7", "line 2 is no object"),
        (json.dumps([without("n_prompt")]), "record 1: n_prompt is missing"),
        (json.dumps([without("model_filename")]), "record 1: model_filename is missing"),
        (json.dumps([{**REAL[0], "n_gen": "8"}]), "n_gen is no count"),
        (json.dumps([{**REAL[0], "n_gen": -1}]), "n_gen is no count"),
        (json.dumps([{**REAL[0], "samples_ts": [1.0, 0]}]), "samples_ts is 0, which is no speed"),
        (json.dumps([{**REAL[0], "samples_ts": 7}]), "samples_ts is no list"),
        (json.dumps([{**REAL[0], "samples_ts": [], "samples_ns": [True]}]), "samples_ns is True"),
        (json.dumps([{**REAL[0], "samples_ts": [], "samples_ns": [], "avg_ts": None}]), "avg_ts is missing"),
        (json.dumps([{**REAL[0], "samples_ts": [float("nan")]}]), "samples_ts is nan"),
        ("[" * 100_000, "nested too deep"),
        (json.dumps(REAL[0]) + "\n" + "[" * 100_000, "line 2: the JSON is nested too deep"),
    ],
)  # fmt: skip
def test_what_is_no_rows_is_told(text: str, message: str) -> None:
    with pytest.raises(RowError, match=message):
        rows_of_text(text)


# Comparing


def verdicts(found: Comparison) -> list[Verdict]:
    return [item.verdict for item in found.rows]


def test_faster_slower_and_same() -> None:
    a = [row(n_depth=0), row(n_depth=1024), row(n_depth=2048)]
    b = [row(scaled(1.2), n_depth=0), row(scaled(0.8), n_depth=1024), row(n_depth=2048)]
    found = compare(a, b)
    assert verdicts(found) == ["faster", "slower", "same"]
    assert [item.ratio.ratio for item in found.rows] == pytest.approx([1.2, 0.8, 1.0])
    assert found.rows[0].a_ts == 100
    assert found.rows[0].b_ts == pytest.approx(120)


def test_wide_samples_rule_nothing_out() -> None:
    wide = (80.0, 120.0, 100.0, 70.0, 130.0)
    found = compare([row(wide)], [row(scaled(1.01, wide), run_id="run-b")])
    assert verdicts(found) == ["too noisy"]
    assert found.rows[0].noisy_a
    assert found.rows[0].noisy_b
    assert found.undecided == found.rows


def test_few_samples_show_nothing_however_far_apart() -> None:
    found = compare([row(STEADY[:4])], [row(scaled(3, STEADY[:4]))])
    assert verdicts(found) == ["too few"]
    assert found.slower_than(0) == ()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.001, 1.2, "faster"),
        (0.8, 0.999, "slower"),
        (0.95, 1.05, "same"),
        (0.94, 1.04, "too noisy"),
        (0.96, 1.06, "too noisy"),
        (None, None, "too few"),
    ],
)
def test_the_verdict_is_the_intervals(low: float | None, high: float | None, verdict: Verdict) -> None:
    assert verdict_of(Interval(ratio=1, low=low, high=high, confidence=0.95, method="pairs", n_a=9, n_b=9)) == verdict


def test_a_run_that_measured_both_in_turn_is_compared_by_pairs() -> None:
    drifting = (100.0, 90.0, 80.0, 70.0, 60.0, 50.0)
    a, b = row(drifting), row(scaled(1.02, drifting), engine="llama-bench")
    found = compare([a], [b]).rows[0]
    assert (found.ratio.method, found.verdict) == ("pairs", "faster")
    other = row(scaled(1.02, drifting), engine="llama-bench", run_id="run-b")
    assert compare([a], [other]).rows[0].ratio.method == "bootstrap"


def test_an_interrupted_run_loses_its_last_half_of_a_pair() -> None:
    a, b = row((*STEADY, 500.0)), row(scaled(1.1), engine="llama-bench")
    found = compare([a], [b]).rows[0].ratio
    assert (found.method, found.n_a, found.n_b) == ("pairs", 5, 5)
    assert found.low == pytest.approx(1.1)
    assert compare([row(STEADY * 2)], [b]).rows[0].ratio.method == "bootstrap"


def test_rows_match_by_test_streams_engine_and_model() -> None:
    a = [
        row(),
        row(engine="server"),
        row(engine="server", n_streams=2),
        row(n_gen=64),
        row(model_filename="/x/other.gguf"),
        row(n_prompt=512, n_gen=0),
    ]
    found = compare(a, list(reversed(a[:5])))
    assert [(item.engine, item.model, item.name) for item in found.rows] == [
        ("embedded", "tiny-gpt-oss-MXFP4.gguf", "tg128"),
        ("server", "tiny-gpt-oss-MXFP4.gguf", "tg128"),
        ("server", "tiny-gpt-oss-MXFP4.gguf", "tg128 x2"),
        ("embedded", "tiny-gpt-oss-MXFP4.gguf", "tg64"),
        ("embedded", "other.gguf", "tg128"),
    ]
    assert found.only_a == ("pp512 (embedded, tiny-gpt-oss-MXFP4.gguf)",)
    assert found.only_b == ()
    assert verdicts(found) == ["same"] * 5


def test_the_only_engine_and_the_only_model_are_compared_and_named() -> None:
    found = compare([row()], [row(engine="llama-bench", model_filename="other.gguf")])
    assert [(item.field, item.a, item.b) for item in found.differences] == [
        ("engine", "embedded", "llama-bench"),
        ("model_filename", "tiny-gpt-oss-MXFP4.gguf", "other.gguf"),
    ]
    assert verdicts(found) == ["same"]


def test_what_else_differs_is_named_by_kind() -> None:
    b = row(cpu_info="Xeon", build_commit="abcdef0", n_threads=4, type_k="q8_0", launcher_version="0.2.0")
    found = compare([row()], [b]).differences
    assert [(item.kind, item.field, item.a, item.b) for item in found] == [
        ("hardware", "cpu_info", "AMD EPYC", "Xeon"),
        ("build", "build_commit", "0c1e570", "abcdef0"),
        ("build", "launcher_version", "0.1.0", "0.2.0"),
        ("settings", "n_threads", 1, 4),
        ("settings", "type_k", "f16", "q8_0"),
    ]
    assert compare([row()], [row()]).differences == ()


def test_a_folder_is_no_difference_and_what_one_side_does_not_tell_neither() -> None:
    real = row_of({**REAL[1], "n_gen": 128})
    ours = row(model_filename="/elsewhere/tiny-gpt-oss-MXFP4.gguf", engine="llama-bench")
    assert compare([real], [ours]).differences == ()


def test_a_build_that_does_not_know_itself_is_no_difference() -> None:
    assert compare([row()], [row(build_number=0, build_commit="unknown")]).differences == ()
    assert [item.field for item in compare([row()], [row(build_number=7)]).differences] == ["build_number"]


def test_settings_tell_rows_of_one_test_apart() -> None:
    a = [row(n_threads=1), row(scaled(1.5), n_threads=2)]
    b = [row(scaled(1.5), n_threads=2), row(n_threads=1), row(n_threads=8)]
    found = compare(a, b)
    assert verdicts(found) == ["same", "same"]
    assert [item.name for item in found.rows] == ["tg128 n_threads 1", "tg128 n_threads 2"]
    assert found.differences == ()
    assert len(found.only_b) == 1


def test_settings_of_another_engine_tell_nothing_apart() -> None:
    a = [row(load_mode="mmap"), row(engine="llama-bench", load_mode="auto")]
    b = [row(load_mode="none"), row(engine="llama-bench", load_mode="auto")]
    found = compare(a, b)
    assert len(found.rows) == 2
    assert [(item.field, item.a, item.b) for item in found.differences] == [("load_mode", "mmap", "none")]


def test_repetitions_are_put_together() -> None:
    a: list[Row] = [row(STEADY[:3]), row(STEADY[3:])]
    found = compare(a, [row()])
    assert found.rows[0].ratio.n_a == 5
    assert verdicts(found) == ["same"]


def test_slower_means_for_certain_and_by_so_much() -> None:
    found = compare([row(), row(n_gen=64)], [row(scaled(0.9)), row(scaled(0.99), n_gen=64)])
    assert [item.name for item in found.slower_than(5)] == ["tg128"]
    assert found.slower_than(15) == ()


def test_nothing_in_common_is_no_rows() -> None:
    found = compare([row()], [row(n_gen=7)])
    assert found.rows == ()
    assert (len(found.only_a), len(found.only_b)) == (1, 1)


def test_a_comparison_is_json() -> None:
    assert json.loads(json.dumps(to_jsonable(compare([row()], [row(scaled(2))]))))["rows"][0]["verdict"] == "faster"


# Energy


def test_energy_of_the_same_parts_is_compared() -> None:
    other = row(**{**ENERGY, "j_per_token": 2.5})
    (found,) = compare([row(**ENERGY), other], [other]).rows
    assert (found.a_j_per_token, found.b_j_per_token, found.energy_of) == (2.0, 2.5, ("package-0", "CUDA0"))


@pytest.mark.parametrize("fields", [{}, {**ENERGY, "energy_of": ("CUDA0",)}])
def test_energy_of_other_parts_is_not(fields: dict[str, Any]) -> None:
    for a, b in (([row(**ENERGY)], [row(**fields)]), ([row(**ENERGY), row(**fields)], [row(**ENERGY)])):
        (found,) = compare(a, b).rows
        assert (found.a_j_per_token, found.b_j_per_token, found.energy_of) == (None, None, ())


def test_joules_of_nobody_knows_what_are_left_out() -> None:
    data = to_jsonable(record(**ENERGY))
    assert row_of(data).j_per_token == 1.5
    for of in ([], None, "CUDA0", [7]):
        assert row_of({**data, "energy_of": of}).j_per_token is None
    with pytest.raises(RowError, match="j_per_token is -1, which is no energy"):
        row_of({**data, "j_per_token": -1})
