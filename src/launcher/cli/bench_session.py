"""From flags to measured records: the plan, the engines in turn, what is kept and printed."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import __version__
from launcher.bench.cases import bench_params, cases_of, engine_names, fit_together, fitting, numbers, server_params
from launcher.bench.embedded import open_embedded
from launcher.bench.energy import ALLOW
from launcher.bench.formats import FORMATS, Format, render
from launcher.bench.llama_bench import command_of, find_llama_bench, open_llama_bench
from launcher.bench.records import Header, records_of, save_record
from launcher.bench.run import Outcome, run
from launcher.bench.server import open_server
from launcher.bench.session import Case, OpenSession
from launcher.bench.types import BenchRecord, EngineName
from launcher.bench.watch import Gauges, Watch, open_gauges
from launcher.cli.bench_predictions import Predictor, calibrate, check_predictions, parse_bound, predictor_of
from launcher.cli.bench_progress import showing_progress
from launcher.cli.chat_engine import demo_settings, plan_name
from launcher.cli.context import load_settings, plan_argv, prepare_plan, request_of, world
from launcher.cli.download import fetch_model
from launcher.cli.output import say
from launcher.engines.params import server_argv
from launcher.engines.programs import find_llama_server
from launcher.errors import EngineError, ExitCode, UsageError
from launcher.hardware.crashes import keep_crash
from launcher.hardware.types import ENVIRONMENT
from launcher.paths import folders
from launcher.planner.pins import plan_command
from launcher.planner.report import plan_json
from launcher.records import to_jsonable

if TYPE_CHECKING:
    from launcher.flow import Prepared
    from launcher.hardware.types import Device
    from launcher.planner.types import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What was typed beside the settings."""

    n_prompt: str
    n_gen: str
    n_depth: str
    repetitions: int
    engines: str
    streams: str
    output: str | None
    demo: bool
    refresh: bool
    draw: bool = False
    """Charts below the table."""
    calibrate: bool = True
    """Whether later plans may rest on what was measured."""
    predict_check: str | None = None
    """How far predictions may be off, in per cent; None judges none."""


OpenGauges = Callable[[Sequence["Device"]], AbstractContextManager[Gauges]]
"""What the machine tells of energy and of the memory of the devices that are used."""


def run_bench(flags: Mapping[str, Any], ask: Ask, *, gauges: OpenGauges = open_gauges) -> int:
    """Plan, measure, keep and print. Gives the exit code: 130 where Ctrl-C cut it short, 6 where an engine failed.

    Raises:
        LauncherError: what cannot be measured at all, or predictions that are past the bound they are held to.
    """
    form, bound = _format(ask.output), parse_bound(ask.predict_check)
    if ask.draw and form is not None:
        raise UsageError("--plot draws below the table, and -o prints none", hint="gpt-oss bench plot --help")
    cases = cases_of(
        engine_names(ask.engines),
        n_prompt=numbers(ask.n_prompt, "-p"),
        n_gen=numbers(ask.n_gen, "-n"),
        n_depth=numbers(ask.n_depth, "-d"),
        streams=numbers(ask.streams, "--streams", least=1),
    )
    settings = load_settings(flags)
    if ask.demo:
        settings = demo_settings(settings, flags)
    # What the settings say of slots is for serving: a test is one sequence, and the server gets slots of its own.
    settings = replace(settings, parallel=None, kv_unified=None)
    programs = any(case.engine != "embedded" for case in cases)
    prepared = prepare_plan(settings, refresh=ask.refresh, purpose="chat", with_programs=programs)
    plan = prepared.plan
    cases, left_out = fitting(cases, plan.load_params, plan_with=partial(plan_command, request_of(settings)))
    for case in left_out:
        say(f"left out: {case.name} needs more context than the plan has ({plan.load_params.n_ctx})")
    if form is None:
        from launcher.cli.plan_view import headline

        say(headline(plan))
    # Before the run: what it measures must not judge itself.
    own = world(settings)
    predictor = predictor_of(prepared, own)
    local = fetch_model(plan.file, settings)
    path = local.first
    used = [device for device in prepared.hardware.devices if device.name in plan.load_params.devices]
    with gauges(used) as found:
        outcome = _measure(cases, plan, path, ask.repetitions, found)
    records = records_of(outcome, _header(prepared, path, predictor))
    _keep(records)
    _print(records, form)
    if ask.draw and records:
        _draw(records)
    if ask.calibrate:
        calibrate(records, predictor, local.paths, own)
    keep_crashes(outcome, plan)
    code = tell_outcome(outcome, plan, path)
    if bound is not None:
        if code == ExitCode.DONE:
            check_predictions(records, bound)
        else:
            say("--predict-check judges nothing: the run is not whole")
    return code


def _format(name: str | None) -> Format | None:
    found = next((form for form in FORMATS if form == name), None)
    if name is not None and found is None:
        raise UsageError(f"-o takes {', '.join(FORMATS)}, not {name!r}", hint="gpt-oss bench --help")
    return found


def _measure(cases: Sequence[Case], plan: Plan, path: Path, repetitions: int, gauges: Gauges) -> Outcome:
    engines = openers(cases, plan, path)
    watch = Watch(gauges)
    if gauges.refused:
        say(f"energy of the CPU: only root may read it; until the next start everybody may after: {ALLOW}")
    with showing_progress() as tell:
        return run(
            cases,
            {name: watch.watched(opener) for name, opener in engines.items()},
            repetitions=repetitions,
            together=fit_together(plan.memory, len(engines)),
            tell=tell,
        )


def openers(cases: Sequence[Case], plan: Plan, path: Path) -> dict[EngineName, OpenSession]:
    """How each engine that has a case is opened; programs are looked for now, not after an hour.

    Raises:
        EngineError: a program is not there.
    """
    params, build = bench_params(plan.load_params), plan.hardware.engine
    names = {case.engine for case in cases}
    found: dict[EngineName, OpenSession] = {}
    if "embedded" in names:
        found["embedded"] = partial(open_embedded, path, params, site=build.site)
    if "llama-bench" in names:
        found["llama-bench"] = partial(open_llama_bench, path, params, program=find_llama_bench(build))
    if "server" in names:
        served = server_params(plan.load_params, [case for case in cases if case.engine == "server"])
        found["server"] = partial(open_server, path, served, program=find_llama_server(None, build))
    return found


def _header(prepared: Prepared, path: Path, predictor: Predictor) -> Header:
    plan = prepared.plan
    return Header(
        run_id=secrets.token_hex(6),
        launcher_version=__version__,
        model=plan_name(plan),
        model_path=path,
        model_type=f"{plan.spec.arch} {plan.file.quant}",
        model_size=prepared.weights.total_bytes,
        model_n_params=prepared.weights.n_params,
        load_params=bench_params(plan.load_params),
        hardware=prepared.hardware,
        plan=plan_json(plan, plan_argv(plan)),
        predict=predictor.ts,
        basis=plan.throughput[0].basis if plan.throughput else None,
        memory=plan.memory,
    )


def _keep(records: Sequence[BenchRecord]) -> None:
    state = folders().state
    try:
        for record in records:
            save_record(state, record)
    except OSError as error:
        # What was measured is printed all the same.
        say(f"the history in {state} cannot be written: {error.strerror or error}")


def _print(records: Sequence[BenchRecord], form: Format | None) -> None:
    if form is not None:
        sys.stdout.write(render(records, form))
    elif records:
        from launcher.cli.bench_view import print_records

        print_records(records)


def _draw(records: Sequence[BenchRecord]) -> None:
    from launcher.bench.chart import charts_of
    from launcher.bench.rows import row_of
    from launcher.cli.bench_plot_view import print_charts

    sys.stdout.write("\n")
    print_charts(charts_of([row_of(to_jsonable(record)) for record in records]))


def tell_outcome(outcome: Outcome, plan: Plan, path: Path) -> int:
    """Say what failed, with its settings as llama.cpp's own programs take them. Gives the exit code.

    Raises:
        EngineError: nothing at all could be measured.
    """
    for failure in outcome.failures:
        say(f"failed: {failure.case.name}: {failure.message}")
        for line in failure.details:
            say(f"  {line}")
        say(f"  settings: {shlex.join(_same_by_hand(failure.case, plan, path))}")
    if outcome.interrupted:
        say("stopped: what was measured until then is kept")
        return ExitCode.INTERRUPTED
    if outcome.failures and not outcome.samples:
        first = outcome.failures[0]
        raise EngineError(f"nothing could be measured: {first.message}", hint="gpt-oss hardware")
    return ExitCode.ENGINE if outcome.failures else ExitCode.DONE


def keep_crashes(outcome: Outcome, plan: Plan) -> None:
    """Have later plans leave an engine out that crashed."""
    name = plan.hardware.engine.name
    crash = next((failure.crash for failure in outcome.failures if failure.crash is not None), None)
    if crash is not None and name != ENVIRONMENT:  # which is what is left where nothing else is sound
        keep_crash(folders().state, name, "bench", crash)
        say(f"plans leave {name} out until `gpt-oss engine test {shlex.quote(name)}` passes")


def _same_by_hand(case: Case, plan: Plan, path: Path) -> tuple[str, ...]:
    """The command that does the same without the launcher."""
    if case.engine == "server":
        return server_argv(server_params(plan.load_params, [case]), path)
    return command_of(Path("llama-bench"), path, bench_params(plan.load_params), case.test)
