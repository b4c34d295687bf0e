"""What the doctor is told by the settings, what it found, and the file to give away."""

from __future__ import annotations

import json
import os
import platform as python_platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import __version__
from launcher.cli.context import is_offline, load_settings
from launcher.cli.output import SCHEMA, save_text, say
from launcher.cli.private_names import private_names
from launcher.doctor.examine import Facts, examine
from launcher.doctor.gather import Wishes, gather
from launcher.doctor.report import as_json, shared_json, shared_text
from launcher.doctor.types import Check
from launcher.errors import LauncherError, UsageError
from launcher.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """All lines, and the same as values."""

    checks: tuple[Check, ...]
    facts: Facts
    document: dict[str, Any]


def examined(*, offline: bool | None) -> Examined:
    """Look at this machine. Settings that can't be read are a line of their own; the defaults stand in for them."""
    try:
        settings = load_settings({"offline": offline})
        trouble: tuple[Check, ...] = ()
    except LauncherError as error:
        settings = Settings(offline=bool(offline))
        what = "the settings can't be read"
        trouble = (
            Check(name="settings", status="fail", what=f"{what}: {error.message}", remedy=error.hint, shared=what),
        )
    wishes = Wishes(host=settings.host, port=settings.port, offline_by=_offline_by(settings, flag=bool(offline)))
    facts = gather(wishes)
    checks = (*trouble, *examine(facts))
    return Examined(checks=checks, facts=facts, document=as_json(checks, facts.platform, _versions(facts)))


def _offline_by(settings: Settings, *, flag: bool) -> str | None:
    if flag:
        return "--offline"
    if settings.offline:
        return "the settings say offline"
    return "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set" if is_offline(settings, os.environ) else None


def _versions(facts: Facts) -> dict[str, str | None]:
    engine = facts.engine
    return {
        "gpt-oss-launcher": __version__,
        "llama-cpp-python": engine.version if engine is not None else None,
        "llama.cpp": engine.commit if engine is not None else None,
        "python": python_platform.python_version(),
    }


def check_report_name(path: Path) -> None:
    """Raise UsageError for a report that ends in neither .md, .txt nor .json."""
    if path.suffix.lower() not in {".md", ".txt", ".json"}:
        raise UsageError(f"{path}: a report ends in .md, .txt or .json", hint="gpt-oss doctor --report doctor.md")


def save_report(found: Examined, path: Path) -> None:
    """Write the file for a bug report.

    Raises:
        LauncherError: it can't be written.
    """
    names = private_names()
    if path.suffix.lower() == ".json":
        shared = shared_json(found.checks, found.facts.platform, _versions(found.facts), names)
        text = json.dumps({"schema": SCHEMA, **shared}, indent=1, ensure_ascii=False) + "\n"
    else:
        text = shared_text(found.checks, found.facts.platform, _versions(found.facts), names)
    save_text(path, text)
    say(f"wrote {path}; read it before you give it away")
