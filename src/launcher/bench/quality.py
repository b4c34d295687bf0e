"""How far a setting's predictions are from those of a reference: whether a faster setting still is the same model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from launcher.bench.embedded import how_ended
from launcher.bench.quality_reading import shipped_reading
from launcher.bench.quality_stats import bounds_for, report_of
from launcher.bench.quality_types import Position, QualityBounds, QualityReport, Reading, Setting
from launcher.errors import DoesNotFitError, EngineError, LauncherError, UsageError
from launcher.paths import folders
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable, to_jsonable
from launcher.store.types import without_hub_login

_CHILD = ("-m", "launcher.bench.quality_child")
_SHOWN_LINES = 5


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
    positions = _ask(order, tell, python)
    return report_of(positions, *sides, bounds or bounds_for(*sides))


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise LauncherError(
            f"cannot write in {folder}: {error.strerror or error}", hint=f"ls -ld {folder.parent}"
        ) from error


def _ask(order: Mapping[str, Any], tell: Callable[[QualityStep], None], python: str) -> list[Position]:
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [python, *_CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=without_hub_login(os.environ),
            # Ctrl-C on the terminal is the launcher's, which ends the child.
            start_new_session=True,
        )
        step: QualityStep | None = None
        try:
            assert child.stdin is not None  # noqa: S101  # pipes were asked for
            assert child.stdout is not None  # noqa: S101
            with suppress(BrokenPipeError):  # it died: no answer follows
                child.stdin.write(json.dumps(order) + "\n")
                child.stdin.flush()
            for line in child.stdout:
                answer = json.loads(line)
                if "positions" in answer:
                    return [from_jsonable(Position, position) for position in answer["positions"]]
                if "refused" in answer:
                    raise _refusal(answer)
                step = QualityStep(reading=answer["reading"], done=answer["done"])
                tell(step)
            raise _death(child, errors, step)
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()


def _refusal(answer: Mapping[str, Any]) -> LauncherError:
    message, log = answer["refused"], tuple(answer["log"])
    if answer["kind"] == UsageError.__name__:
        return UsageError(message, hint="gpt-oss bench --help")
    if answer["kind"] == DoesNotFitError.__name__:
        return DoesNotFitError(
            message,
            needs_bytes=answer["needs_bytes"],
            has_bytes=answer["has_bytes"],
            hint="gpt-oss config path",
        )
    return EngineError(message, log=log, details=log[-_SHOWN_LINES:], hint="gpt-oss plan")


def _death(child: subprocess.Popen[str], errors: IO[bytes], step: QualityStep | None) -> EngineError:
    """A crash, with the setting that was read when it happened: the last one that was told of, or its successor."""
    status = child.wait()
    errors.seek(0)
    log = tuple(errors.read().decode("utf-8", "replace").strip().splitlines())
    reading = "reference" if step is None or (step.reading == "reference" and step.done < 1) else "candidate"
    return EngineError(
        f"{how_ended(status)} while the {reading} was read",
        log=log,
        details=log[-_SHOWN_LINES:],
        hint="gpt-oss plan",
    )
