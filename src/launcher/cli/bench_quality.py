"""`gpt-oss bench --quality`: whether the planned file, cache and engine still predict what a reference does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from launcher.bench.quality import QualityStep, compare_quality
from launcher.cli.bench_reference import find_reference
from launcher.cli.chat_engine import demo_settings
from launcher.cli.context import load_settings, prepare_plan
from launcher.cli.download import fetch_model
from launcher.cli.output import print_json, say, talk_console
from launcher.errors import ExitCode, LauncherError, UsageError

if TYPE_CHECKING:
    from launcher.bench.quality_types import QualityReport


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityAsk:
    """What was typed beside the settings."""

    quality: bool
    """False where `--reference` was typed alone."""
    reference: str
    """`auto`, or a file."""
    engines: str
    output: str | None
    demo: bool
    draw: bool
    refresh: bool


def run_quality(flags: Mapping[str, Any], ask: QualityAsk) -> int:
    """Plan, compare and print.

    Raises:
        UsageError: another engine or format than there is.
        LauncherError: the plan's predictions are past a bound, or could not be compared.
    """
    _check(ask)
    settings = load_settings(flags)
    if ask.demo:
        settings = demo_settings(settings, flags)
    wish = replace(settings, parallel=None, kv_unified=None)
    prepared = prepare_plan(wish, refresh=ask.refresh, purpose="chat")
    path = fetch_model(prepared.plan.file, settings).first
    reference = find_reference(prepared, path, settings, ask.reference)
    with _showing() as tell:
        report = compare_quality(
            path,
            reference.load_params,
            prepared.plan.load_params,
            reference_model=reference.model,
            tell=tell,
            site=prepared.hardware.engine.site,
        )
    if ask.output == "json":
        print_json(report)
    else:
        from launcher.cli.bench_quality_view import print_report

        print_report(report)
    if not report.passes:
        raise _past_bounds(report)
    return ExitCode.DONE


def _check(ask: QualityAsk) -> None:
    if not ask.quality:
        raise UsageError("--reference says what --quality compares with", hint="gpt-oss bench --quality")
    if ask.engines != "embedded":
        raise UsageError(
            "--quality compares whole predictions, which the embedded engine alone gives: "
            "llama-server tells the likeliest tokens, llama-bench none",
            hint="gpt-oss bench --quality --engine embedded",
        )
    if ask.output not in (None, "json") or ask.draw:
        what = "charts" if ask.draw else ask.output
        raise UsageError(f"--quality prints a table or json, not {what}", hint="gpt-oss bench --quality --json")


def _past_bounds(report: QualityReport) -> LauncherError:
    params = report.candidate.load_params
    plain = params.type_k == params.type_v == "f16"
    return LauncherError(
        f"these settings change what the model says: {report.failures[0]}",
        details=report.failures[1:],
        hint="gpt-oss plan --model auto" if plain else "gpt-oss bench --quality --cache-type-k f16 --cache-type-v f16",
    )


@contextmanager
def _showing() -> Iterator[Callable[[QualityStep], None]]:
    """What is told of every step: a bar on a terminal, else a line for each of the two readings."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = talk_console()
    if not console.is_terminal:
        told: set[str] = set()

        def line(step: QualityStep) -> None:
            if step.reading not in told:
                told.add(step.reading)
                say(f"reading by the {step.reading}")

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task("loading the reference", total=1.0)

        def show(step: QualityStep) -> None:
            loading = step.reading == "reference" and step.done >= 1
            bar.update(task, description="loading the candidate" if loading else f"{step.reading} reads")
            bar.update(task, completed=0.0 if loading else step.done)

        yield show
