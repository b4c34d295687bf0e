"""Who answers a chat: a server at a URL, one that runs here, or the model loaded into this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

from launcher.catalogue.request import RELEASES
from launcher.cli.output import say, talk_console
from launcher.engines.types import Engine
from launcher.errors import UsageError
from launcher.settings import Settings
from launcher.text import printable

if TYPE_CHECKING:
    from launcher.history.types import About
    from launcher.planner.types import LoadParams, Plan

_PLACEMENT = (
    *("quant", "prefer", "ctx_size", "min_ctx", "n_gpu_layers", "n_cpu_moe"),
    *("cache_type_k", "cache_type_v", "batch_size", "ubatch_size", "load_mode", "repack"),
    *("device", "tensor_split", "parallel", "kv_unified", "swa_full", "min_tps", "streamed"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Brain:
    """An open engine, and what a person is told of it."""

    engine: Engine
    model: str
    """`gpt-oss-20b`."""
    name: str
    """`embedded`, `server`, or the URL of a server."""
    file: str | None = None
    """The plan's name of the GGUF; None where it is not known."""
    memory_bytes: int | None = None
    """What the plan takes on all devices together; None for engines elsewhere."""
    build: str | None = None
    """Name of the llama.cpp build that was loaded into this process, which can load no other; None for servers."""


@contextmanager
def open_brain(settings: Settings, *, demo: bool = False, refresh: bool = False, asks: bool = True) -> Iterator[Brain]:
    """Open the engine that the settings ask for.

    `asks` tells whether a person may be asked for an engine that uses an idle GPU.

    Raises:
        LauncherError: nothing fits, no server runs, or the engine cannot be opened.
    """
    with ExitStack() as stack:
        if settings.url is not None:
            yield stack.enter_context(_at_url(settings, settings.url))
            return
        if settings.engine != "embedded" and not demo:
            brain = _attached(settings, stack)
            if brain is not None:
                yield brain
                return
            if settings.engine == "server":
                raise UsageError("no server that runs here serves this", hint="gpt-oss serve --detach")
        yield stack.enter_context(_embedded(settings, demo=demo, refresh=refresh, asks=asks))


@contextmanager
def _at_url(settings: Settings, url: str) -> Iterator[Brain]:
    from launcher.cli.attach import open_url

    wanted = None if settings.model == "auto" else RELEASES.get(settings.model, settings.model)
    with open_url(url, wanted, os.environ) as engine:
        say(f"{printable(engine.model)} at {printable(url)}")
        yield Brain(engine=engine, model=engine.model, name=url)


def _attached(settings: Settings, stack: ExitStack) -> Brain | None:
    from launcher.cli.attach import find_server, open_attached

    record = find_server(settings)
    if record is None:
        return None
    engine = stack.enter_context(open_attached(record))
    say(f"{record.model} on the server at {record.url}")
    return Brain(engine=engine, model=record.model, name="server", file=record.file)


@contextmanager
def _embedded(settings: Settings, *, demo: bool, refresh: bool, asks: bool) -> Iterator[Brain]:
    from launcher.cli.context import prepare_plan
    from launcher.cli.download import fetch_model
    from launcher.cli.engine_offer import planned
    from launcher.cli.plan_view import tell_left_out, tell_plan

    # What the settings say of slots is for a server: a chat is one sequence, with the whole context.
    settings = replace(settings, parallel=None, kv_unified=None)
    plan_now = partial(prepare_plan, settings, refresh=refresh, measure=not demo, purpose="chat")
    plan = (plan_now() if demo else planned(plan_now, settings, asks=asks)).plan
    if demo:
        say("The demo: a tiny GPT OSS trained for this package. It knows a few answers, and nothing else.")
        tell_left_out(plan)
    else:
        tell_plan(plan)
    local = fetch_model(plan.file, settings)
    from launcher.hardware.crashes import computing
    from launcher.paths import folders

    with (
        computing(folders().state, plan.hardware.engine.name, "chat") as complain,
        loaded(local.first, plan.load_params, site=plan.hardware.engine.site, complain=complain) as engine,
    ):
        if engine.dialect.template.note:
            say(engine.dialect.template.note)
        memory_bytes = sum(row.used_bytes for row in plan.memory)
        # A path is kept whole: the conversation may be resumed in another folder.
        file = plan.file.name if plan.file.repo else str(local.first.absolute())
        yield Brain(
            engine=engine,
            model=plan_name(plan),
            name="embedded",
            file=file,
            memory_bytes=memory_bytes,
            build=plan.hardware.engine.name,
        )


def plan_name(plan: Plan) -> str:
    """What a person calls the model of a plan."""
    name = plan.file.model
    return name if name.startswith("gpt-oss-") else PurePath(plan.file.name).stem


def demo_settings(settings: Settings, flags: Mapping[str, Any]) -> Settings:
    """Settings for the demo: what a settings file says of contexts and layers is meant for a model of full size.

    Raises:
        UsageError: another model was asked for as well.
    """
    from launcher.demo import demo_model_path

    if flags.get("model") or flags.get("quant") or flags.get("url"):
        raise UsageError(
            "--demo is a model of its own; leave --model, --quant and --url out", hint="gpt-oss chat --demo"
        )
    defaults = Settings()
    plain = {key: getattr(defaults, key) for key in _PLACEMENT if flags.get(key) is None}
    settings = replace(settings, model=str(demo_model_path()), url=None, **plain)
    # Drawing at random is for models that know more than one good answer.
    return settings if "temperature" in settings.layers else replace(settings, temperature=0.0)


def with_model_of(about: About, settings: Settings) -> Settings:
    """Settings with the model that answered last in a conversation. One that a flag names goes before it."""
    if any(settings.layers.get(name, "").startswith("flag ") for name in ("model", "quant")):
        return settings
    model = _still_here(about, settings)
    if model is not None:
        return replace(settings, model=model, quant=None)
    if about.model is not None:
        say(f"{printable(about.model)}, which answered in this conversation, is not here; another model goes on.")
    return settings


def _still_here(about: About, settings: Settings) -> str | None:
    """The model of a conversation as `--model` takes it; None where it cannot be had any more."""
    from launcher.catalogue.request import RELEASES, FromRepo, parse_request
    from launcher.cli.attach import find_server

    if about.file is not None:
        with suppress(UsageError):
            if isinstance(parse_request(about.file), FromRepo) or Path(about.file).is_file():
                return about.file
    if about.model in RELEASES:
        return about.model
    record = find_server(replace(settings, model="auto", quant=None))
    return record.file if record is not None and record.model == about.model else None


class Opener(Protocol):
    """Opens an engine: `open_engine`, or a test's."""

    def __call__(self, path: Path, params: LoadParams, *, progress: Any) -> AbstractContextManager[Any]:
        """`progress` is told 0..1, and answers False to stop the load with KeyboardInterrupt."""
        ...


def _embedded_opener(site: str | None, complain: Callable[[str], object]) -> Opener:
    from launcher.engines.embedded import open_engine  # brings in llama_cpp's declarations

    return partial(open_engine, site=site, complain=complain)


@contextmanager
def loaded(
    path: Path,
    params: LoadParams,
    *,
    site: str | None = None,
    complain: Callable[[str], object] = lambda _: None,
    opener: Opener | None = None,
) -> Iterator[Any]:
    """The embedded engine with `path` loaded, behind a progress bar on a terminal. Ctrl-C stops the load.

    `site` is where the build of llama.cpp is; None is the environment's. `complain` is told errors of llama.cpp's.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from launcher.chat.turn import stop_on_interrupt

    console = talk_console()
    columns = (TextColumn("loading"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    stop = threading.Event()
    with ExitStack() as stack:
        # A handler rather than an exception: most of a load runs inside C, through whose callbacks none can travel.
        with (
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
            stop_on_interrupt(stop.set),
        ):
            task = bar.add_task("loading", total=1.0)

            def show(done: float) -> bool:
                bar.update(task, completed=done)
                return not stop.is_set()

            engine = stack.enter_context((opener or _embedded_opener(site, complain))(path, params, progress=show))
        if stop.is_set():
            raise KeyboardInterrupt
        yield engine
