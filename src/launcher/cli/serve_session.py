"""From flags to a running server: what runs already, the plan, the model, the port, the key, the supervisor."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from typing import Any

from launcher.cli.attach import serves, wants_other_build
from launcher.cli.context import is_offline, load_settings, request_of, tuned_purpose, world
from launcher.cli.download import fetch_model
from launcher.cli.engine_offer import planned
from launcher.cli.output import print_json, say
from launcher.cli.plan_view import tell_plan
from launcher.cli.serve_view import ServeSink, print_served
from launcher.engines.programs import engine_program, find_llama_server
from launcher.errors import ExitCode, UsageError
from launcher.flow import prepare
from launcher.paths import folders
from launcher.planner.placement import n_ctx_seq
from launcher.planner.types import Plan
from launcher.server import page, ports, registry
from launcher.server.child import foreign_settings
from launcher.server.command import N_SLOTS, ServeOptions, cache_budget, check_extra, model_names, server_command
from launcher.server.keys import Key, key_for
from launcher.server.stop import stop_server
from launcher.server.supervise import Job, MemoryRanOutError, supervise
from launcher.server.types import LOOPBACK, ServerRecord
from launcher.settings import Settings
from launcher.system.shell import command_line


@dataclass(frozen=True, kw_only=True, slots=True)
class How:
    """What was asked of this one start, beside the settings."""

    extra: tuple[str, ...] = ()
    """More arguments for llama-server."""
    refresh: bool = False
    llama_server: Path | None = None
    ui_path: Path | None = None
    open_page: bool = False
    detach: bool = False
    replace: bool = False
    direct: bool = False
    dry_run: bool = False
    as_json: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """What was typed, as far as it is to be typed again: a server that was replaced is gone."""
        return (
            *(("--llama-server", str(self.llama_server)) if self.llama_server is not None else ()),
            *(("--ui-path", str(self.ui_path)) if self.ui_path is not None else ()),
            *(("--open",) if self.open_page else ()),
            *(("--direct",) if self.direct else ()),
            *(("--detach",) if self.detach else ()),
            *(("--json",) if self.as_json else ()),
            *(("--", *self.extra) if self.extra else ()),
        )


def run_serve(flags: Mapping[str, Any], how: How) -> int:
    """Serve until a signal, or in the background. Gives the exit code."""
    settings = load_settings(flags)
    if how.as_json and not (how.detach or how.dry_run):
        raise UsageError("--json is for --detach and --dry-run", hint="gpt-oss serve --detach --json")
    if settings.parallel is None:
        settings = changed(settings, parallel=N_SLOTS)
    check_extra(how.extra)
    if how.ui_path is not None:
        how = changed(how, ui_path=page.checked_folder(how.ui_path))
    if how.llama_server is not None:
        find_llama_server(how.llama_server)  # before a minute is spent on a plan
    state_dir = folders().state
    old = None if how.dry_run else _running(settings, flags, state_dir, replace=how.replace)
    if old is not None and not how.replace:
        return _attach(old, how)
    plan = _plan(settings, old, how)
    program = find_llama_server(how.llama_server, plan.hardware.engine)
    if how.dry_run:
        return _dry_run(plan, settings, how, program)
    tell_plan(plan)
    model = fetch_model(plan.file, settings).first.absolute()
    key = key_for(settings.host, settings.port, key_file=settings.api_key_file, environ=os.environ, state_dir=state_dir)
    options = _options(settings, how, key)
    if not how.direct:
        options = changed(options, server_port=ports.loopback_port())
    job = Job(
        command=server_command(plan, model, options, program=str(program)),
        record=_record(plan, options, model, state_dir, how, build=_build_of(program, plan)),
        state_dir=state_dir,
    )
    # Nothing that can be refused comes after this.
    if old is not None:
        say(f"stopping {old.model} on port {old.port}")
        stop_server(state_dir, old)
    _check_port(settings)
    _tell(plan, key, how, settings, program)
    try:
        return _start(job, how)
    except MemoryRanOutError as error:
        from launcher.cli.serve_smaller import with_smaller

        raise with_smaller(error, plan, settings, world(settings), how.words) from error


def _start(job: Job, how: How) -> int:
    presented = page.presenter(say, show=page.open_in_browser if how.open_page else None)
    wanted = how.open_page or how.ui_path is not None
    sink = ServeSink(present=presented if wanted and not how.detach else None)
    if how.detach:
        from launcher.server.daemon import start_detached

        with sink:
            record = start_detached(job, sink)
        if how.as_json:
            print_json(record)
        else:
            print_served(record, background=True)
        if wanted:
            presented(record)
        return ExitCode.DONE
    from launcher.server.front import front_of

    with sink:
        number = supervise(job, sink, front=front_of)
    say("stopped")
    return ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.DONE


def _running(settings: Settings, flags: Mapping[str, Any], state_dir: Path, *, replace: bool) -> ServerRecord | None:
    """The server that this one would be, or take the place of.

    Raises:
        UsageError: the port serves another model, or by another build.
    """
    servers = registry.running(state_dir)
    on_port = next((record for record in servers if record.port == settings.port), None)
    if replace:
        return on_port
    if on_port is not None and _is_wanted(on_port, settings):
        return on_port
    if on_port is not None and flags.get("port") is not None:
        engine = "a llama-server that was named" if on_port.build is None else f"the engine {on_port.build}"
        raise UsageError(
            f"port {settings.port} serves {on_port.file}{f' with {engine}' if serves(on_port, settings) else ''}",
            hint=f"gpt-oss serve --port {ports.next_free(settings.host, settings.port)}",
            details=("--replace stops it first.",),
        )
    if flags.get("port") is not None:
        return None
    return next((record for record in servers if _is_wanted(record, settings)), None)


def _is_wanted(record: ServerRecord, settings: Settings) -> bool:
    return serves(record, settings) and not wants_other_build(settings, record.build)


def _attach(record: ServerRecord, how: How) -> int:
    say(f"{record.model} is served already, by process {record.pid}; --replace would start it anew.")
    if how.as_json:
        print_json(record)
    else:
        print_served(record, background=True)
    if how.open_page:
        page.presenter(say, show=page.open_in_browser)(record)
    if how.detach or how.as_json:
        return ExitCode.DONE
    from launcher.cli.log_view import follow

    say("Its log follows. Ctrl-C leaves it running.")
    follow(record.log_path, n_lines=0, until=lambda: not registry.is_alive(record))
    return ExitCode.DONE


def _plan(settings: Settings, old: ServerRecord | None, how: How) -> Plan:
    """The plan; where it takes the place of a server, with the memory that this one gives back."""
    own = world(settings)
    if old is not None:
        from launcher.server.freed import with_memory_back

        detect = own.detect
        own = changed(own, detect=lambda: with_memory_back(detect(), old))
    plan_now = partial(
        prepare,
        request_of(settings),
        own,
        offline=is_offline(settings),
        refresh=how.refresh,
        purpose=tuned_purpose(settings, "serve"),
        with_programs=how.llama_server is None,
    )
    if how.llama_server is not None:
        return plan_now().plan
    return planned(plan_now, settings, asks=not (how.as_json or how.detach or how.dry_run)).plan


def _options(settings: Settings, how: How, key: Key | None) -> ServeOptions:
    return ServeOptions(
        host=settings.host,
        port=settings.port,
        key_file=None if key is None else key.file,
        cors_origins=settings.cors_origins,
        sleep_idle_seconds=settings.sleep_idle_seconds,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        seed=settings.seed,
        reasoning_effort=settings.reasoning_effort,
        ui_path=how.ui_path,
        extra=how.extra,
    )


def _dry_run(plan: Plan, settings: Settings, how: How, program: Path, *, system: str = sys.platform) -> int:
    from launcher.store.local import hub_cache_dir, model_path

    key = Key(file=settings.api_key_file) if settings.api_key_file is not None else None
    path = model_path(plan.file, hub_cache_dir())
    command = server_command(plan, path, _options(settings, how, key), program=str(program))
    if how.as_json:
        print_json({"argv": command, "notes": (cache_budget(plan).note,)})
    else:
        sys.stdout.write(command_line(command, system=system) + "\n")
    return ExitCode.DONE


def _check_port(settings: Settings) -> None:
    if ports.is_free(settings.host, settings.port):
        return
    holder = ports.holder(settings.port)
    free = ports.next_free(settings.host, settings.port)
    raise UsageError(
        f"port {settings.port} is taken" + (f" by {holder}" if holder else ""), hint=f"gpt-oss serve --port {free}"
    )


def _record(
    plan: Plan, options: ServeOptions, model: Path, state_dir: Path, how: How, *, build: str | None
) -> ServerRecord:
    """The record of a server that is about to start."""
    params = plan.load_params
    return ServerRecord(
        pid=0,
        pid_started_s=0.0,
        host=options.host,
        port=options.port,
        server_port=options.server_port,
        model=model_names(plan)[0],
        file=plan.file.name if plan.file.repo else str(model),
        n_ctx=n_ctx_seq(params),
        n_parallel=params.n_parallel,
        started_at="",
        log_path=state_dir / "logs" / f"server-{options.port}.log",
        key_file=options.key_file,
        cors_origins=options.origins,
        ui_path=options.ui_path,
        planned_bytes={row.name: row.used_bytes for row in plan.memory},
        build=build,
        detached=how.detach,
    )


def _build_of(program: Path, plan: Plan) -> str | None:
    """Name of the build that a llama-server belongs to, where it is the plan's; None for another program."""
    engine = plan.hardware.engine
    return engine.name if program == engine_program("llama-server", engine) else None


def _tell(plan: Plan, key: Key | None, how: How, settings: Settings, program: Path) -> None:
    if _build_of(program, plan) is None:
        say(f"{program} serves: it may be of another version than the engine that was planned with")
    say(cache_budget(plan).note)
    if how.direct and settings.host not in LOOPBACK:
        say("--direct: llama-server takes requests of any length from everyone who can reach it.")
    ignored = foreign_settings(os.environ)
    if ignored:
        say(f"{', '.join(ignored)} would change the plan and is left out; say it after --")
    if key is not None and key.made is not None:
        say(f"API key, shown this once: {key.made}")
        say(f"It is kept in {key.file}")
