"""Each format is what llama-bench itself prints of the same run: it prints one on stdout and another on stderr."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
from dataclasses import replace
from functools import cache

import pytest

from launcher.bench.formats import FORMATS, Format, render
from launcher.bench.types import LLAMA_BENCH_FIELDS, BenchRecord
from launcher.demo import demo_model_path
from launcher.engines.params import bench_argv
from launcher.engines.programs import engine_program
from launcher.records import from_jsonable
from tests.bench.samples import record
from tests.engines.demo import load_params

TIMEOUT_S = 60


@cache
def both(form: Format) -> tuple[str, str]:
    """The JSON of a real run, and the same run in another format."""
    program = engine_program("llama-bench")
    if program is None:
        pytest.skip("this engine was built without llama-bench")
    command = [str(program), *bench_argv(load_params(), demo_model_path()), "-p", "16", "-n", "4", "-d", "0,32"]
    done = subprocess.run(
        [*command, "-r", "3", "-o", "json", "-oe", form], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    return done.stdout, done.stderr


def real_records(text: str) -> tuple[BenchRecord, ...]:
    ours = {"engine": "llama-bench", "run_id": "r", "launcher_version": "0", "model": "tiny"}
    return tuple(from_jsonable(BenchRecord, {**row, **ours}) for row in json.loads(text))


def exact(records: tuple[BenchRecord, ...]) -> tuple[BenchRecord, ...]:
    """With speeds from the times: in JSON they have six digits only."""
    return tuple(
        replace(row, samples_ts=tuple(1e9 * (row.n_prompt + row.n_gen) / ns for ns in row.samples_ns))
        for row in records
    )


@pytest.mark.parametrize("form", ["md", "csv", "sql"])
def test_text_is_llama_benchs_to_the_byte(form: Format) -> None:
    as_json, as_text = both(form)
    assert render(exact(real_records(as_json)), form) == as_text


def test_json_begins_with_llama_benchs_own_lines() -> None:
    as_json, _ = both("md")
    ours = render(exact(real_records(as_json)), "json").splitlines()
    theirs = as_json.splitlines()
    length = len(LLAMA_BENCH_FIELDS) + 3  # `[`, `{`, the fields, samples_ns
    assert ours[:length] == theirs[:length]
    assert ours[length].rstrip(",") == theirs[length], "samples_ts, the last of theirs"


def test_a_line_begins_with_llama_benchs_own() -> None:
    as_json, as_lines = both("jsonl")
    ours = render(exact(real_records(as_json)), "jsonl").splitlines()
    assert [line[: len(real) - 1] for line, real in zip(ours, as_lines.splitlines(), strict=True)] == [
        line[:-1] for line in as_lines.splitlines()
    ]


AWKWARD = record(model_filename='/tmp/it\'s "odd", \\ and ä\n.gguf', no_kv_offload=True)


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_is_read_back_as_the_same_record(form: Format) -> None:
    text = render([AWKWARD], form)
    (row,) = json.loads(text) if form == "json" else map(json.loads, text.splitlines())
    assert list(row)[: len(LLAMA_BENCH_FIELDS)] == list(LLAMA_BENCH_FIELDS)
    back = from_jsonable(BenchRecord, row)
    assert back.samples_ts == pytest.approx(AWKWARD.samples_ts, rel=1e-5)
    assert replace(back, samples_ts=()) == replace(AWKWARD, samples_ts=(), avg_ts=back.avg_ts, stddev_ts=back.stddev_ts)


def test_csv_is_read_back() -> None:
    (row,) = csv.DictReader(io.StringIO(render([AWKWARD], "csv")))
    assert list(row) == list(LLAMA_BENCH_FIELDS)
    assert row["model_filename"] == AWKWARD.model_filename
    assert row["no_kv_offload"] == "1"


def test_sql_runs() -> None:
    with sqlite3.connect(":memory:") as database:
        database.executescript(render([AWKWARD, AWKWARD], "sql"))
        rows = database.execute("SELECT model_filename, no_kv_offload, n_gen FROM llama_bench").fetchall()
    database.close()
    assert rows == [(AWKWARD.model_filename, 1, AWKWARD.n_gen)] * 2


def test_no_records_are_still_a_document() -> None:
    assert json.loads(render([], "json")) == []
    assert render([], "jsonl") == ""
    assert render([], "csv").startswith("build_commit,")


def test_markdown_names_the_engine_where_it_is_not_llama_bench() -> None:
    head = render([record(engine="embedded"), record(engine="llama-bench")], "md").splitlines()[0]
    assert " engine " in head
    assert " engine " not in render([record(engine="llama-bench")], "md").splitlines()[0]


def test_every_format_has_its_words() -> None:
    assert set(FORMATS) == {"md", "csv", "json", "jsonl", "sql"}
