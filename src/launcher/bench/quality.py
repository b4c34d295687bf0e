"""How far a setting's predictions are from those of a reference: whether a faster setting still is the same model."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launcher.bench.child import open_child, refusal_of
from launcher.bench.quality_reading import shipped_reading
from launcher.bench.quality_stats import bounds_for, report_of
from launcher.bench.quality_types import Position, QualityBounds, QualityReport, Reading, Setting
from launcher.errors import DoesNotFitError, LauncherError, UsageError
from launcher.paths import folders
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable, to_jsonable


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityStep:
    """How far a check is: told after each batch."""

    reading: Literal["reference", "candidate"]
    done: float
    """0..1, of this reading."""


def compare_quality(
    model: Path,
    reference: LoadParams,
    candidate: LoadParams,
    *,
    reference_model: Path | None = None,
    reading: Reading | None = None,
    bounds: QualityBounds | None = None,
    scratch: Path | None = None,
    tell: Callable[[QualityStep], None] = lambda _: None,
    site: str | None = None,
    python: str = sys.executable,
) -> QualityReport:
    """Read a text by both settings, in one child process one after the other, and compare every prediction.

    Args:
        model: the candidate's GGUF.
        reference: how the reference is loaded. Of both settings the context is made as small as the text.
        candidate: what is judged.
        reference_model: the reference's GGUF; None for the same.
        reading: the text; None for the shipped one.
        bounds: up to where the candidate passes; None for those that suit the two settings.
        scratch: a folder for the reference's logits, 0.4 GB of a GPT OSS; None for the launcher's cache folder, since
            temporary folders often are RAM.
        tell: called as it goes on.
        site: where the build of llama.cpp is that reads; None for the environment's.
        python: of the child.

    Raises:
        EngineError: llama.cpp refused a setting, or died of it.
        UsageError: the two models have different vocabularies, or the text is too short.
        DoesNotFitError: the scratch folder has no room for the logits.
        LauncherError: the scratch folder cannot be written.
    """
    sides = (
        Setting(model=reference_model or model, load_params=reference),
        Setting(model=model, load_params=candidate),
    )
    order = {
        "reference": to_jsonable(sides[0]),
        "candidate": to_jsonable(sides[1]),
        "reading": to_jsonable(reading or shipped_reading()),
        "scratch": str(_writable(scratch or folders().cache)),
    }
    positions = _ask(order, tell, python, site)
    return report_of(positions, *sides, bounds or bounds_for(*sides))


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise LauncherError(
            f"cannot write in {folder}: {error.strerror or error}", hint=f"ls -ld {shlex.quote(str(folder.parent))}"
        ) from error


def _ask(
    order: Mapping[str, Any], tell: Callable[[QualityStep], None], python: str, site: str | None
) -> list[Position]:
    step: QualityStep | None = None
    with open_child("launcher.bench.quality_child", python=python, site=site) as child:
        child.order(order)
        while (answer := child.answer()) is not None:
            if "positions" in answer:
                return [from_jsonable(Position, position) for position in answer["positions"]]
            if "refused" in answer:
                raise _refusal(answer)
            step = QualityStep(reading=answer["reading"], done=answer["done"])
            tell(step)
        raise child.death(f" while the {_read(step)} was read")


def _read(last: QualityStep | None) -> Literal["reference", "candidate"]:
    """Which setting was read when it died: the last one that was told of, or its successor."""
    return "reference" if last is None or (last.reading == "reference" and last.done < 1) else "candidate"


def _refusal(answer: Mapping[str, Any]) -> LauncherError:
    message = answer["refused"]
    if answer["kind"] == UsageError.__name__:
        return UsageError(message, hint="gpt-oss bench --help")
    if answer["kind"] == DoesNotFitError.__name__:
        return DoesNotFitError(
            message,
            needs_bytes=answer["needs_bytes"],
            has_bytes=answer["has_bytes"],
            hint="gpt-oss config path",
        )
    return refusal_of(message, answer["log"])
