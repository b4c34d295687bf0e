"""Measured rows out of JSON: our own records, what `bench share` wrote, and llama-bench's own output. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from launcher.bench.types import LLAMA_BENCH_FIELDS, BenchTest

Fact = str | int | float | bool

_MEASURED = frozenset({"n_prompt", "n_gen", "n_depth", "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts"})
FACTS = (*(name for name in LLAMA_BENCH_FIELDS if name not in _MEASURED), "launcher_version")
"""Fields that say under what a row was measured."""
_KINDS = {"j_per_token": "energy"}


class RowError(ValueError):
    """Text that holds no measured rows; the message says where and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One test on one engine, of whatever source. What a source does not tell is None or not among `facts`."""

    engine: str
    """`llama-bench` where the source does not say: then it is its own output."""
    model: str
    """File name, without folders."""
    test: BenchTest
    n_streams: int
    samples_ts: tuple[float, ...]
    """Tokens per second, in the order they were taken."""
    run_id: str | None
    """Rows of the same run were measured in turn."""
    test_time: str | None
    facts: Mapping[str, Fact]
    """By llama-bench's names: hardware, build, model, settings."""
    j_per_token: float | None = None
    energy_of: tuple[str, ...] = ()
    """What the joules went into: only those of the same can be compared."""

    @property
    def name(self) -> str:
        """llama-bench's name of the test, with the streams where there are several: `tg128 @ d4096 x4`."""
        return self.test.name + (f" x{self.n_streams}" if self.n_streams != 1 else "")


def rows_of_text(text: str) -> tuple[Row, ...]:
    """Read a file: a JSON list, one JSON object a line, one record, or a document that holds `records`.

    Raises:
        RowError: it is none of these, or a record in it lacks what a row needs.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise RowError("the file is empty")
    rows = tuple(row_of(item, where) for item, where in _items(text))
    if not rows:
        raise RowError("no records are in it")
    return rows


def _items(text: str) -> Iterator[tuple[Any, str]]:
    try:
        data = json.loads(text)
    except RecursionError:
        raise RowError("the JSON is nested too deep") from None
    except ValueError as error:
        yield from _lines(text, error)
        return
    if isinstance(data, Mapping):
        data = data.get("records", [data])
    if not isinstance(data, list):
        raise RowError("expected a list of records")
    for i, item in enumerate(data):
        yield item, f"record {i + 1}"


def _lines(text: str, whole: ValueError) -> Iterator[tuple[Any, str]]:
    """One object a line; a text whose first line is no object was never meant so, and is told as one document."""
    for n, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                item = json.loads(line)
            except RecursionError:
                raise RowError(f"line {n}: the JSON is nested too deep") from None
            except ValueError as error:
                raise RowError(f"not JSON: {whole}" if n == 1 else f"line {n} is not JSON: {error}") from None
            yield item, f"line {n}"


def row_of(item: Any, where: str = "the record") -> Row:
    """One record as a row.

    Raises:
        RowError: it is no object, or lacks the test, the model or any speed.
    """
    if not isinstance(item, Mapping):
        raise RowError(f"{where} is no object")
    test = BenchTest(
        n_prompt=_count(item, "n_prompt", where),
        n_gen=_count(item, "n_gen", where),
        n_depth=_count(item, "n_depth", where, missing=0),  # llama-bench of early 2025 had none
    )
    model = item.get("model_filename")
    if not isinstance(model, str) or not model:
        raise RowError(f"{where}: model_filename is missing")
    engine, run_id, test_time = (item.get(name) for name in ("engine", "run_id", "test_time"))
    return Row(
        engine=engine if isinstance(engine, str) else "llama-bench",
        model=file_name(model),
        test=test,
        n_streams=_count(item, "n_streams", where, missing=1),
        samples_ts=_samples(item, test, where),
        run_id=run_id if isinstance(run_id, str) else None,
        test_time=test_time if isinstance(test_time, str) else None,
        facts={
            name: item[name] for name in FACTS if isinstance(item.get(name), Fact) and not _untold(name, item[name])
        },
        **_energy(item, where),
    )


def _energy(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Both of its fields, or none: joules of nobody knows what say nothing."""
    joules, of = item.get("j_per_token"), item.get("energy_of")
    if joules is None or not isinstance(of, list | tuple) or not of or not all(isinstance(name, str) for name in of):
        return {}
    (found,) = _numbers([joules], "j_per_token", where)
    return {"j_per_token": found, "energy_of": tuple(of)}


def _untold(name: str, value: Fact) -> bool:
    """llama.cpp's way to say that a build does not know its own number or commit."""
    return (name == "build_number" and value == 0) or (name == "build_commit" and value == "unknown")


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    # A Windows path has no other backslashes than its own; on POSIX they may be part of a name.
    windows = "\\" in path and "/" not in path
    return (PureWindowsPath(path) if windows else PurePosixPath(path)).name or path


def _count(item: Mapping[str, Any], name: str, where: str, missing: int | None = None) -> int:
    value: Any = item.get(name, missing)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RowError(f"{where}: {name} is " + ("missing" if value is None else "no count"))
    return int(value)


def _samples(item: Mapping[str, Any], test: BenchTest, where: str) -> tuple[float, ...]:
    """Speeds as they are written, or made of times, or the mean as the only sample."""
    samples = item.get("samples_ts")
    if not samples and isinstance(item.get("samples_ns"), Sequence) and item["samples_ns"]:
        times = _numbers(item["samples_ns"], "samples_ns", where)
        return tuple(1e9 * test.n_tokens / ns for ns in times)
    return _numbers(samples or [item.get("avg_ts")], "samples_ts" if samples else "avg_ts", where)


def _numbers(values: Any, name: str, where: str) -> tuple[float, ...]:
    if not isinstance(values, list | tuple):
        raise RowError(f"{where}: {name} is no list")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            what = "missing" if value is None else f"{str(value)[:20]}, which is no {_KINDS.get(name, 'speed or time')}"
            raise RowError(f"{where}: {name} is {what}")
    return tuple(float(value) for value in values)
