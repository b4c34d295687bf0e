"""From flags to settings that later plans use: the plan, the search, what is kept and printed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from launcher.bench.embedded import open_embedded
from launcher.cli.chat_engine import demo_settings
from launcher.cli.context import load_settings, prepare_plan, request_of
from launcher.cli.download import fetch_model
from launcher.cli.output import print_json, say
from launcher.cli.tune_progress import showing_progress
from launcher.errors import ExitCode, LauncherError, UsageError
from launcher.hardware.tuned import forget_tuned, load_tuned, save_tuned
from launcher.paths import folders
from launcher.planner.types import Purpose
from launcher.tune.budget import seconds_of
from launcher.tune.guard import judge_of
from launcher.tune.holes import refuse_holes
from launcher.tune.keep import load_result, save_result
from launcher.tune.measure import Meter
from launcher.tune.result import About, result_of, tuned_of
from launcher.tune.search import Search
from launcher.tune.sizes import sizes_for, told_apart, typical
from launcher.tune.space import KEPT, Ground, fits, space, with_kept
from launcher.tune.types import Space, Speeds, TuneResult

if TYPE_CHECKING:
    from launcher.catalogue.types import ModelFile
    from launcher.flow import Prepared
    from launcher.hardware.types import Hardware
    from launcher.settings import Settings

PURPOSES: tuple[Purpose, ...] = ("chat", "serve", "long-context")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What was typed beside the settings."""

    purpose: str
    budget: str
    explain: bool
    dry_run: bool
    forget: bool
    as_json: bool
    demo: bool
    refresh: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What is tuned: the plan without tuned settings, and what it is for."""

    purpose: Purpose
    settings: Settings
    prepared: Prepared
    state: Path
    budget_s: float

    @property
    def where(self) -> tuple[Hardware, ModelFile]:
        """Machine and model file, which results are kept for."""
        return self.prepared.hardware, self.prepared.plan.file


def run_tune(flags: Mapping[str, Any], ask: Ask) -> int:
    """Plan, search, keep and print; or what else was asked for. Gives the exit code: 130 where Ctrl-C cut it short.

    Raises:
        LauncherError: what cannot be tuned at all.
    """
    purpose = _purpose(ask)
    job = _job(purpose, flags, ask)
    if ask.forget:
        return _forget(job, ask)
    if ask.explain:
        return _explain(job, ask)
    plan = job.prepared.plan
    if plan.tier == "streamed":
        raise UsageError(
            "this plan reads its weights from the disk for every token: its speed is the disk's, whatever is set",
            hint="gpt-oss tune --model auto",
        )
    ground = _ground(job)
    if ask.dry_run:
        return _dry_run(job, ground, ask)
    if not ask.as_json:
        from launcher.cli.plan_view import headline

        say(headline(plan))
    local = fetch_model(plan.file, job.settings)
    refuse_holes(local.paths)
    return _tune(job, ground, local.first, ask)


def _purpose(ask: Ask) -> Purpose:
    found = next((purpose for purpose in PURPOSES if purpose == ask.purpose), None)
    if found is None:
        raise UsageError(
            f"--for takes {', '.join(PURPOSES)}, not {ask.purpose!r}", hint="gpt-oss tune --for long-context"
        )
    asked = [name for name, on in (("explain", ask.explain), ("dry-run", ask.dry_run), ("forget", ask.forget)) if on]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} are two things", hint="gpt-oss tune --explain")
    return found


def _job(purpose: Purpose, flags: Mapping[str, Any], ask: Ask) -> _Job:
    settings = load_settings(flags)
    if ask.demo:
        settings = demo_settings(settings, flags)
    if purpose != "serve":
        settings = replace(settings, parallel=None, kv_unified=None)
    elif settings.parallel is None:
        from launcher.server.command import N_SLOTS

        settings = replace(settings, parallel=N_SLOTS)
    if purpose == "long-context" and settings.ctx_size is None and settings.min_ctx is None and not ask.demo:
        settings = replace(settings, prefer="context")
    prepared = prepare_plan(settings, refresh=ask.refresh)
    return _Job(
        purpose=purpose, settings=settings, prepared=prepared, state=folders().state, budget_s=seconds_of(ask.budget)
    )


def _ground(job: _Job) -> Ground:
    prepared = job.prepared
    return Ground(
        hardware=prepared.hardware,
        spec=prepared.plan.spec,
        weights=prepared.weights,
        request=request_of(job.settings),
        params=prepared.plan.load_params,
    )


def _space(job: _Job, ground: Ground) -> Space:
    hardware, file = job.where
    kept = load_tuned(hardware, file, purpose=job.purpose, state_dir=job.state)
    return with_kept(space(ground), ground, kept)


def _tune(job: _Job, ground: Ground, model: Path, ask: Ask) -> int:
    plan = job.prepared.plan
    workload = typical(job.purpose, plan.load_params)
    site = job.prepared.hardware.engine.site
    with showing_progress() as tell, Meter(model, open_prober=partial(open_embedded, site=site)) as meter:
        search = Search(
            plan.load_params,
            _space(job, ground),
            workload,
            job.budget_s,
            meter=meter,
            judge=judge_of(model, job.budget_s, site=site),
            fits=partial(fits, ground),
            clock=time.monotonic,
            tell=tell,
        )
        search.run()
    about = About(
        model=PurePath(plan.file.name).name,
        size_bytes=plan.file.size_bytes or 0,
        date=datetime.now(UTC).date().isoformat(),
        engine=job.prepared.hardware.engine.llama_cpp_commit,
    )
    result = result_of(search, plan.load_params, about, workload=workload, budget_s=job.budget_s)
    try:
        keep(*job.where, result, job.state)
    finally:
        _print(result, ask)  # minutes went into it, whether it can be kept or not
    if search.failure is not None:
        raise search.failure
    return ExitCode.INTERRUPTED if result.interrupted else ExitCode.DONE


def keep(hardware: Hardware, file: ModelFile, result: TuneResult, state_dir: Path) -> None:
    """Keep what was measured for --explain, and what won for later plans.

    A search that came to its end and found nothing takes an earlier winner back, if it was among what was tried: the
    budget may have had no room for it.

    Raises:
        LauncherError: the winner cannot be kept.
    """
    tuned, purpose = tuned_of(result), result.workload.purpose
    if tuned is not None:
        save_tuned(hardware, file, tuned, state_dir=state_dir)
    elif _lost(result) and forget_tuned(hardware, file, purpose=purpose, state_dir=state_dir):
        say("what was tuned before did not win again, and is forgotten")
    about = (result.model, result.size_bytes)
    if result.interrupted and not result.trials and load_result(hardware, *about, purpose=purpose, state_dir=state_dir):
        return  # it explains nothing, and the earlier one does
    try:
        save_result(hardware, result, state_dir=state_dir)
    except LauncherError as error:
        # What won is kept and printed all the same.
        say(f"{error.message}; --explain will not know of this run")


def _lost(result: TuneResult) -> bool:
    """Whether what was tuned before was tried again, and did not win."""
    tried = any(trial.axis == KEPT and trial.outcome != "unfinished" for trial in result.trials)
    return tried and not result.interrupted


def _print(result: TuneResult, ask: Ask) -> None:
    if ask.as_json:
        print_json(result)
        return
    from launcher.cli.tune_view import print_result

    print_result(result)


def _explain(job: _Job, ask: Ask) -> int:
    hardware, file = job.where
    name = PurePath(file.name).name
    result = load_result(hardware, name, file.size_bytes or 0, purpose=job.purpose, state_dir=job.state)
    if result is None:
        raise LauncherError(
            f"{name} was not tuned for {job.purpose} on this machine with this engine yet",
            hint=f"gpt-oss tune --for {job.purpose}",
        )
    _print(result, ask)
    return ExitCode.DONE


def _forget(job: _Job, ask: Ask) -> int:
    hardware, file = job.where
    found = forget_tuned(hardware, file, purpose=job.purpose, state_dir=job.state)
    if ask.as_json:
        print_json({"model": file.name, "purpose": job.purpose, "forgotten": found})
    else:
        say("forgotten: plans are the planner's own again" if found else "nothing was tuned, so nothing is forgotten")
    return ExitCode.DONE


def _dry_run(job: _Job, ground: Ground, ask: Ask) -> int:
    from launcher.cli.tune_view import print_space, space_json

    plan = job.prepared.plan
    workload = typical(job.purpose, plan.load_params)
    first = plan.throughput[0] if plan.throughput else None
    speeds = Speeds(pp_ts=first.pp_ts, tg_ts=first.tg_ts) if first else Speeds()
    tests = sizes_for(workload, speeds, job.budget_s, plan.load_params)
    where = told_apart(_space(job, ground), plan.load_params, tests)
    found = space_json(where, workload, tests, job.budget_s)
    if ask.as_json:
        print_json(found)
    else:
        print_space(found)
    return ExitCode.DONE
