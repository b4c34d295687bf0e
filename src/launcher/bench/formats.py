"""Records in llama-bench's own formats, byte for byte what it prints of the same numbers. Pure.

Source: tools/llama-bench/llama-bench.cpp at the pinned commit: csv_printer, json_printer, jsonl_printer,
markdown_printer, sql_printer. A JSON object carries our own fields behind llama-bench's; the other formats have none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from launcher.bench.types import LLAMA_BENCH_FIELDS, BenchRecord
from launcher.records import to_jsonable

Format = Literal["md", "csv", "json", "jsonl", "sql"]
FORMATS: tuple[Format, ...] = get_args(Format)

_SQL_TYPES = {"string": "TEXT", "bool": "INTEGER", "int": "INTEGER", "float": "REAL"}
_THEIRS = (*LLAMA_BENCH_FIELDS, "samples_ns", "samples_ts")


def render(records: Sequence[BenchRecord], form: Format) -> str:
    """All records as one text, its last line ended."""
    return _RENDERERS[form](records)


def record_line(record: BenchRecord) -> str:
    """One record as one line of JSON: what the history keeps, and what `-o jsonl` prints."""
    theirs = [f'"{name}": {_json_value(record, name)}' for name in LLAMA_BENCH_FIELDS]
    samples = f'"samples_ns": {_list(record.samples_ns)},"samples_ts": {_list(_short(record.samples_ts))}'
    return "{" + ", ".join([*theirs, samples, *_ours(record)]) + "}\n"


def _ours(record: BenchRecord) -> list[str]:
    """Our own fields, in the record's order."""
    table = to_jsonable(record)
    return [f'"{name}": {json.dumps(table[name])}' for name in table if name not in _THEIRS]


def _text(record: BenchRecord, name: str) -> str:
    """A value as llama-bench spells it (`get_values`): std::to_string of numbers, 0 and 1 of booleans."""
    value = getattr(record, name)
    if LLAMA_BENCH_FIELDS[name] == "float":
        return f"{value:.6f}"
    return str(int(value)) if isinstance(value, bool) else str(value)


def _json_value(record: BenchRecord, name: str) -> str:
    kind = LLAMA_BENCH_FIELDS[name]
    if kind == "string":
        return json.dumps(getattr(record, name), ensure_ascii=False)
    if kind == "bool":
        return "true" if getattr(record, name) else "false"
    return _text(record, name)


def _short(values: Sequence[float]) -> tuple[str, ...]:
    """Six digits, as an ostream prints a double."""
    return tuple(f"{value:g}" for value in values)


def _list(values: Sequence[object]) -> str:
    return f"[ {', '.join(map(str, values))} ]"


def _jsonl(records: Sequence[BenchRecord]) -> str:
    return "".join(map(record_line, records))


def _json(records: Sequence[BenchRecord]) -> str:
    def one(record: BenchRecord) -> str:
        lines = [f'"{name}": {_json_value(record, name)}' for name in LLAMA_BENCH_FIELDS]
        lines.append(f'"samples_ns": {_list(record.samples_ns)}')
        lines.append(f'"samples_ts": {_list(_short(record.samples_ts))}')
        return "  {\n" + ",\n".join(f"    {line}" for line in [*lines, *_ours(record)]) + "\n  }"

    return "[\n" + ",\n".join(map(one, records)) + "\n]\n"


def _csv(records: Sequence[BenchRecord]) -> str:
    def row(record: BenchRecord) -> str:
        return ",".join('"' + _text(record, name).replace('"', '""') + '"' for name in LLAMA_BENCH_FIELDS)

    return "\n".join([",".join(LLAMA_BENCH_FIELDS), *map(row, records)]) + "\n"


def _sql(records: Sequence[BenchRecord]) -> str:
    columns = ",\n".join(f"  {name} {_SQL_TYPES[kind]}" for name, kind in LLAMA_BENCH_FIELDS.items())
    names = ", ".join(LLAMA_BENCH_FIELDS)

    def row(record: BenchRecord) -> str:
        # llama-bench does not double quotes; a path with one in it would end its statement.
        values = ", ".join("'" + _text(record, name).replace("'", "''") + "'" for name in LLAMA_BENCH_FIELDS)
        return f"INSERT INTO llama_bench ({names}) VALUES ({values});\n"  # noqa: S608  # text to print, none that is run

    return f"CREATE TABLE IF NOT EXISTS llama_bench (\n{columns}\n);\n\n" + "".join(map(row, records))


_MD_WIDTHS = {
    "model": -30, "size": 10, "params": 10, "backend": -10, "n_gpu_layers": 3, "n_threads": 7, "n_batch": 7,
    "n_ubatch": 8, "type_k": 6, "type_v": 6, "split_mode": 6, "load_mode": 10, "flash_attn": 3, "devices": -12,
    "test": 15, "t/s": 20, "no_op_offload": 4, "no_host": 4, "repack": 3,
}  # fmt: skip
"""Widths of the columns, negative for those that begin at the left (`get_field_width`)."""
_MD_NAMES = {
    "n_gpu_layers": "ngl", "split_mode": "sm", "n_threads": "threads", "no_kv_offload": "nkvo", "flash_attn": "fa",
    "load_mode": "lm", "no_op_offload": "nopo", "no_host": "noh", "repack": "rpk", "devices": "dev",
    "tensor_split": "ts", "tensor_buft_overrides": "ot",
}  # fmt: skip
_MD_DEFAULTS: dict[str, object] = {
    "n_cpu_moe": 0, "n_batch": 2048, "n_ubatch": 512, "type_k": "f16", "type_v": "f16", "main_gpu": 0,
    "split_mode": "layer", "no_kv_offload": False, "flash_attn": -1, "devices": "auto", "tensor_split": "0.00",
    "tensor_buft_overrides": "none", "load_mode": "auto", "no_op_offload": 0, "repack": True,
}  # fmt: skip
"""A column is shown where a value is not llama-bench's own default (`cmd_params_defaults`)."""
_CPU_BACKENDS = ("CPU", "BLAS", "ZenDNN")


def _md(records: Sequence[BenchRecord]) -> str:
    columns = _md_columns(records)

    def cell(name: str, text: str) -> str:
        width = _md_width(name)
        return text.ljust(-width) if width < 0 else text.rjust(width)

    def line(cells: Sequence[str]) -> str:
        return "|" + "".join(f" {text} |" for text in cells) + "\n"

    head = line([cell(name, _MD_NAMES.get(name, name)) for name in columns])
    rule = line(["-" * (abs(_md_width(name)) - 1) + (":" if _md_width(name) > 0 else "-") for name in columns])
    rows = [line([cell(name, _md_value(record, name)) for name in columns]) for record in records]
    builds = dict.fromkeys(f"build: {record.build_commit} ({record.build_number})" for record in records)
    return head + rule + "".join(rows) + "\n" + "".join(f"{build}\n" for build in builds)


def _md_columns(records: Sequence[BenchRecord]) -> list[str]:
    on_cpu = all(any(name in record.backends for name in _CPU_BACKENDS) for record in records)
    columns = ["model", "size", "params", "backend", "n_threads" if on_cpu else "n_gpu_layers"]
    columns += [
        name for name, usual in _MD_DEFAULTS.items() if any(getattr(record, name) != usual for record in records)
    ]
    # Ours alone: which engine a row is of, and how many requests ran at a time.
    columns += ["engine"] if any(record.engine != "llama-bench" for record in records) else []
    columns += ["n_streams"] if any(record.n_streams != 1 for record in records) else []
    return [*columns, "test", "t/s"]


def _md_width(name: str) -> int:
    if name in _MD_WIDTHS:
        return _MD_WIDTHS[name]
    width = max(len(name), 10)
    return -width if name == "engine" or LLAMA_BENCH_FIELDS.get(name) == "string" else width


def _md_value(record: BenchRecord, name: str) -> str:
    mib, gib = record.model_size / 2**20, record.model_size / 2**30
    special = {
        "model": record.model_type,
        "size": f"{mib:.2f} MiB" if gib < 1 else f"{gib:.2f} GiB",
        "params": f"{record.model_n_params / 1e6:.2f} M"
        if record.model_n_params < 1e9
        else f"{record.model_n_params / 1e9:.2f} B",
        "backend": record.backends,
        "engine": record.engine,
        "n_streams": str(record.n_streams),
        "test": record.test.name,
        "t/s": f"{record.avg_ts:.2f} ± {record.stddev_ts:.2f}",
    }
    return special[name] if name in special else _text(record, name)


_RENDERERS: dict[Format, Callable[[Sequence[BenchRecord]], str]] = {
    "md": _md,
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "sql": _sql,
}
