"""The kept records: runs, damaged lines, and what `last~1` means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.bench.history import FILE_NAME, Run, find_run, parse_history, read_history
from launcher.bench.types import BenchRecord, PeakMemory
from launcher.errors import DamagedFileError, UsageError
from launcher.records import to_jsonable
from tests.bench.samples import record

OLD = replace(record(), run_id="aa1", test_time="2026-11-20T10:00:00Z")
MIDDLE = replace(record(), run_id="ab2", test_time="2026-11-21T10:00:00Z")
NEW = replace(record(), run_id="b3", test_time="2026-11-22T10:00:00Z")


def lines(records: Sequence[BenchRecord]) -> bytes:
    return b"".join(json.dumps(to_jsonable(item)).encode() + b"\n" for item in records)


def runs() -> tuple[Run, ...]:
    return parse_history(lines([OLD, MIDDLE, NEW])).runs


def test_no_file_is_an_empty_history(tmp_path: Path) -> None:
    found = read_history(tmp_path)
    assert (found.runs, found.problems) == ((), ())


def test_records_come_back_as_they_were_by_run_the_newest_last(tmp_path: Path) -> None:
    second = replace(OLD, n_gen=64)
    (tmp_path / FILE_NAME).write_bytes(lines([NEW, OLD, MIDDLE, second]))
    found = read_history(tmp_path)
    assert [run.run_id for run in found.runs] == ["aa1", "ab2", "b3"]
    assert found.runs[0].records == (OLD, second)
    assert found.runs[0].started_at == OLD.test_time
    assert found.problems == ()


def test_damaged_lines_are_passed_over_and_the_file_is_kept(tmp_path: Path) -> None:
    foreign = {**to_jsonable(NEW), "n_gen": "many"}
    newer = {**to_jsonable(NEW), "schema": 2}
    damaged = b'{"half": \n\xff\xfe\n[]\n' + json.dumps(foreign).encode() + b"\n" + json.dumps(newer).encode() + b"\n"
    data = lines([OLD]) + damaged + b"[" * 100_000 + b"\n" + lines([NEW])[:-1]
    (tmp_path / FILE_NAME).write_bytes(data)
    found = read_history(tmp_path)
    assert [run.run_id for run in found.runs] == ["aa1", "b3"]
    assert found.problems == (
        "line 2 of bench.jsonl is passed over: it is damaged",
        "line 3 of bench.jsonl is passed over: it is damaged",
        "line 4 of bench.jsonl is passed over: the record: expected an object, found []",
        "line 5 of bench.jsonl is passed over: n_gen: expected a whole number, found 'many'",
        "line 6 of bench.jsonl is passed over: schema: expected one of 1, found 2",
        "line 7 of bench.jsonl is passed over: it is damaged",
    )
    assert (tmp_path / FILE_NAME).read_bytes() == data


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(DamagedFileError, match="cannot read"):
        read_history(tmp_path)


@pytest.mark.parametrize(
    ("which", "run_id"),
    [("last", "b3"), ("last~0", "b3"), ("last~1", "ab2"), ("last~2", "aa1"), ("b", "b3"), ("aa1", "aa1")],
)
def test_a_run_is_found(which: str, run_id: str) -> None:
    assert find_run(runs(), which).run_id == run_id


def test_an_id_goes_before_the_beginning_of_another() -> None:
    longer = replace(NEW, run_id="aa12")
    assert find_run(parse_history(lines([OLD, longer])).runs, "aa1").run_id == "aa1"


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("last~3", "only 3 runs"),
        ("a", "2 runs begin with a: aa1, ab2"),
        ("zz", "no file and no run"),
        ("", "no file and no run"),
        ("last~", "no file and no run"),
    ],
)
def test_no_run_or_several_are_told(which: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_run(runs(), which)


def test_without_a_run_the_hint_is_about_measuring() -> None:
    with pytest.raises(UsageError, match="no bench has been kept yet") as caught:
        find_run((), "last")
    assert caught.value.hint == "gpt-oss bench --help"


def test_records_from_before_energy_was_kept_are_read() -> None:
    data = to_jsonable(record(memory=(PeakMemory(device="CUDA0", peak_bytes=None, planned_bytes=7),)))
    for name in ("energy_j", "j_per_token", "energy_of"):
        del data[name]
    del data["memory"][0]["whole_device"]
    found = parse_history(json.dumps(data).encode())
    assert found.problems == ()
    (kept,) = found.runs[0].records
    assert (kept.energy_j, kept.j_per_token, kept.energy_of, kept.memory[0].whole_device) == (None, None, (), False)
