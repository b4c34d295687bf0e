"""Records without anything that tells whose machine they come from. Pure.

What goes out is listed, never what stays in: a field that is not named here is left out. Fields of a fixed form are
dropped where they have another one. Of free text, paths, addresses, keys and the given names are taken out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.bench.rows import file_name
from launcher.bench.types import LLAMA_BENCH_FIELDS, BenchRecord
from launcher.planner.types import DeviceMemory, LoadParams, Throughput
from launcher.records import to_jsonable
from launcher.text import printable

REMOVED = "[removed]"

_SURE_NAME = 5
"""Letters from which a name is taken out of the middle of a word as well: a shorter one is part of many words."""
_WORD = re.compile(r"[\w.+-]{1,40}")
_FORMS = {
    "build_commit": re.compile(r"[0-9a-f]{7,12}|[0-9a-f]{40}|unknown"),
    "backends": re.compile(r"[\w+-]+(, ?[\w+-]+)*"),
    "cpu_mask": re.compile(r"0x[0-9a-fA-F]{1,128}"),
    "type_k": _WORD,
    "type_v": _WORD,
    "split_mode": _WORD,
    "devices": re.compile(r"\w+([/,]\w+)*"),
    "tensor_split": re.compile(r"\d+\.\d+([/,]\d+\.\d+)*"),
    "tensor_buft_overrides": re.compile(r"none|[\w.\\|()\[\]*+?^$-]+=\w+(;[\w.\\|()\[\]*+?^$-]+=\w+)*"),
    "load_mode": _WORD,
    "lazy_mode": _WORD,
    "launcher_version": _WORD,
    "energy_of": re.compile(r"(package|dram)-\d{1,3}(-die-\d{1,3})?|[A-Za-z]{1,12}\d{1,3}"),
    "test_time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"),
}
"""What a field of a fixed form looks like. Every other text is free."""
_EXACT = frozenset({"build_commit", "cpu_mask", "tensor_split", "test_time"})
"""Forms that no name fits into, but that look like keys."""

_SECRETS = re.compile(
    r"""
    [a-zA-Z][\w+.-]*://[^\s,;'")]+                                        # an address on the web
  | (?<![\w.\])])(?:~[\w.-]*|[A-Za-z]:)?[\\/](?=\S)[^,;'")\n]*            # a path, with the blanks that it may hold
  | \b[A-Z][A-Z0-9_]{2,}=\S+                                              # a variable of the environment
  | [\w.+-]+@[\w-]+(?:\.[\w-]+)*                                          # mail, or who is where
  | \b(?:hf_|sk-|pk-|gh[a-z]_|github_pat_|glpat-|xox[a-z]-|AKIA|eyJ)[\w.-]{6,}   # keys that name themselves
  | \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b              # what identifies a device
  | \b(?:\d{1,3}\.){3}\d{1,3}\b | \b(?:[0-9a-fA-F]{1,4}:){3,}[0-9a-fA-F:.]*      # addresses of a network
  | \b[0-9a-fA-F]{16,}\b | (?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{28,}={0,2}      # keys that do not
    """,
    re.VERBOSE,
)

_CPU = dict.fromkeys(("name", "arch", "n_physical", "n_logical", "n_performance", "quota_cores", "isa"))
_DEVICE = dict.fromkeys(("name", "description", "backend", "kind", "total_bytes", "unified", "compute_capability"))
_PLAN: dict[str, Any] = {
    "tier": None,
    "fits": None,
    "load_params": dict.fromkeys(field.name for field in dataclasses.fields(LoadParams)),
    "model": dict.fromkeys(("id", "quant", "total_bytes", "dense_bpw")),
    "memory": dict.fromkeys(("device", *(field.name for field in dataclasses.fields(DeviceMemory)), "total_bytes")),
    "throughput": dict.fromkeys(field.name for field in dataclasses.fields(Throughput)),
    "hardware": {"os": None, "cpu": _CPU, "memory": {"total_bytes": None}, "devices": _DEVICE},
}
"""Of `planner.report.plan_json`: no path, no candidates, no notes, no command."""


def without_private(records: Sequence[BenchRecord], names: Sequence[str]) -> list[dict[str, Any]]:
    """Records as JSON that may be given away. `names` are of the user and of the host; runs get a number for an id."""
    runs: dict[str, str] = {}
    return [_record(record, names, runs.setdefault(record.run_id, f"run-{len(runs) + 1}")) for record in records]


def without_secrets(text: str, names: Sequence[str]) -> str:
    """Free text on one line, with what is private replaced by `[removed]`."""
    text = printable(text)
    text = _SECRETS.sub(REMOVED, text)
    for name in sorted({name for name in names if name}, key=len, reverse=True):
        pattern = re.escape(name)
        if len(name) < _SURE_NAME:
            pattern = rf"(?<![^\W_]){pattern}(?![^\W_])"
        text = re.sub(pattern, REMOVED, text, flags=re.IGNORECASE)
    return text


def _record(record: BenchRecord, names: Sequence[str], run_id: str) -> dict[str, Any]:
    data = to_jsonable(record)
    found = {name: _field(name, data[name], names) for name in LLAMA_BENCH_FIELDS}
    found |= {
        "samples_ns": data["samples_ns"],
        "samples_ts": data["samples_ts"],
        "engine": data["engine"],
        "run_id": run_id,
        "launcher_version": _field("launcher_version", data["launcher_version"], names),
        "model": without_secrets(file_name(record.model), names),
        "plan": None if record.plan is None else _listed(data["plan"], _PLAN, names),
        "predicted_ts": data["predicted_ts"],
        "predicted_basis": _field("predicted_basis", data["predicted_basis"], names),
        "memory": [{**item, "device": without_secrets(item["device"], names)} for item in data["memory"]],
        "n_streams": data["n_streams"],
        "latency": data["latency"],
        "energy_j": data["energy_j"],
        "j_per_token": data["j_per_token"],
        "energy_of": [_field("energy_of", name, names) for name in data["energy_of"]],
        "schema": data["schema"],
    }
    return found


def _field(name: str, value: Any, names: Sequence[str]) -> Any:
    if not isinstance(value, str):
        return value
    if name == "model_filename":
        return without_secrets(file_name(value), names)
    if name in _FORMS and not _FORMS[name].fullmatch(value):
        return REMOVED
    return value if name in _EXACT else without_secrets(value, names)


def _listed(value: Any, allowed: Any, names: Sequence[str]) -> Any:
    """What a list of fields allows of a JSON value: objects are cut to it, single values only where it ends."""
    if isinstance(value, list):
        return [_listed(item, allowed, names) for item in value]
    if isinstance(value, Mapping):
        if allowed is None:
            return None
        return {name: _listed(value[name], inner, names) for name, inner in allowed.items() if name in value}
    if isinstance(value, str):
        return without_secrets(value, names)
    return value
