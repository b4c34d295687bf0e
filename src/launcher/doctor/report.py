"""The doctor's lines as JSON, and as one file for a bug report with nothing private in it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.bench.private import without_secrets
from launcher.doctor.types import Check, Platform
from launcher.records import to_jsonable

KIND = "gpt-oss doctor"
_PLATFORM = (
    "system",
    "arch",
    "distro",
    "distro_version",
    "packages",
    "container",
    "wsl",
    "virtual",
    "translated",
    "install",
)
"""What is told of the system: no groups, no paths, no name of a container."""


def counts(checks: Sequence[Check]) -> dict[str, int]:
    """Lines by status."""
    return {status: sum(1 for check in checks if check.status == status) for status in ("ok", "warn", "fail")}


def as_json(checks: Sequence[Check], platform: Platform, versions: Mapping[str, str | None]) -> dict[str, Any]:
    """The whole examination as values. `versions`: of the launcher, of Python and of what else is worth telling."""
    return {
        "ok": not counts(checks)["fail"],
        "counts": counts(checks),
        "versions": dict(versions),
        "platform": {name: getattr(platform, name) for name in _PLATFORM},
        "checks": [
            {
                "name": check.name,
                "status": check.status,
                "what": check.what,
                "why": check.why,
                "remedy": check.remedy,
                "data": to_jsonable(dict(check.data)),
            }
            for check in checks
        ],
    }


def shared_json(
    checks: Sequence[Check], platform: Platform, versions: Mapping[str, str | None], names: Sequence[str]
) -> dict[str, Any]:
    """The same to give away: without names of user and host, paths, addresses, variables and programs of others."""
    document = as_json(checks, platform, versions)
    for check, line in zip(checks, document["checks"], strict=True):
        if check.shared is not None:
            line["what"] = check.shared
    return {"kind": KIND, **{name: _cleaned(value, names) for name, value in document.items()}}


def shared_text(
    checks: Sequence[Check], platform: Platform, versions: Mapping[str, str | None], names: Sequence[str]
) -> str:
    """The file for a bug report: lines that a person reads, then the values."""
    document = shared_json(checks, platform, versions, names)
    lines = [f"# {KIND}", ""]
    lines += [f"- {name} {text or 'unknown'}" for name, text in document["versions"].items()]
    told = (f"{name} {value}" for name, value in document["platform"].items() if value not in (None, False))
    lines += [f"- {', '.join(told)}", "", "| | | |", "|---|---|---|"]
    for line in document["checks"]:
        text = ". ".join(part for part in (line["what"], line["why"]) if part)
        lines.append(f"| {line['status']} | {line['name']} | {text.replace('|', '/')} |")
    values = json.dumps({"schema": 1, **document}, indent=1, ensure_ascii=False)
    return "\n".join([*lines, "", "```json", values, "```", ""])


def _cleaned(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, str):
        return without_secrets(value, names)
    if isinstance(value, Mapping):
        return {name: _cleaned(item, names) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, names) for item in value]
    return value
