"""From flags to an answer: plan, fetch, load, talk."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from launcher.chat.conversation import Conversation
from launcher.cli.context import load_settings, prepare_plan
from launcher.cli.download import fetch_model
from launcher.cli.output import say, talk_console
from launcher.cli.plan_view import headline
from launcher.engines.types import Sampling
from launcher.errors import ExitCode, UsageError
from launcher.planner.types import LoadParams
from launcher.settings import Settings

_PLACEMENT = (
    *("quant", "prefer", "ctx_size", "min_ctx", "n_gpu_layers", "n_cpu_moe"),
    *("cache_type_k", "cache_type_v", "batch_size", "ubatch_size", "load_mode", "repack"),
    *("device", "tensor_split", "parallel", "kv_unified", "swa_full", "min_tps", "streamed"),
)


def run_chat(flags: Mapping[str, Any], question: str, *, demo: bool, refresh: bool) -> int:
    """Answer `question` (with what is piped in), or hold a conversation on a terminal. Gives the exit code."""
    if demo:
        from launcher.demo import demo_model_path

        if flags.get("model") or flags.get("quant"):
            raise UsageError("--demo is a model of its own; leave --model and --quant out", hint="gpt-oss chat --demo")
        flags = {**flags, "model": str(demo_model_path())}
    settings = load_settings(flags)
    if demo:
        settings = _without_placement(settings, flags)
    # What the settings say of slots is for a server: a chat is one sequence, with the whole context.
    settings = replace(settings, parallel=None, kv_unified=None)
    talking = sys.stdin is not None and sys.stdin.isatty()
    question = "\n\n".join(part for part in (question.strip(), "" if talking else _piped()) if part)
    if not question and not talking:
        raise UsageError(
            "nothing to answer: the question is empty", hint='gpt-oss chat "What is the capital of France?"'
        )
    plan = prepare_plan(settings, refresh=refresh, measure=not demo).plan
    if demo:
        say("The demo: a tiny GPT OSS trained for this package. It knows a few answers, and nothing else.")
        if "temperature" not in settings.layers:
            # Drawing at random is for models that know more than one good answer.
            settings = replace(settings, temperature=0.0)
    else:
        say(headline(plan))
    local = fetch_model(plan.file, settings)
    with loaded(local.first, plan.load_params) as engine:
        if engine.dialect.template.note:
            say(engine.dialect.template.note)
        return _talk(engine, settings, question)


def _piped() -> str:
    """What comes through the pipe, whatever its encoding: a diff of an old file is no reason to refuse."""
    if sys.stdin is None:  # started with stdin closed
        return ""
    return sys.stdin.buffer.read().decode("utf-8", "replace").strip()


def _without_placement(settings: Settings, flags: Mapping[str, Any]) -> Settings:
    """Settings for a demo: what the settings file says of contexts and layers is meant for a model of full size."""
    defaults = Settings()
    return replace(settings, **{key: getattr(defaults, key) for key in _PLACEMENT if flags.get(key) is None})


def _talk(engine: Any, settings: Settings, question: str) -> int:
    from launcher.chat.loop import chat_loop, run_turn
    from launcher.chat.printer import Printer

    sampling = Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        seed=settings.seed,
        max_tokens=settings.max_tokens,
        reasoning_effort=settings.reasoning_effort,
    )
    conversation = Conversation().with_system(settings.system)
    printer = Printer(
        out=sys.stdout,
        err=sys.stderr,
        styled=talk_console().is_terminal and not talk_console().no_color,
        show_reasoning=settings.show_reasoning,
        show_timings=sys.stderr.isatty(),
    )
    if question:
        _, reason = run_turn(engine, conversation.with_user(question), sampling, printer)
        return ExitCode.INTERRUPTED if reason == "cancelled" else ExitCode.DONE
    say("Ctrl-D leaves, Ctrl-C stops an answer, /help lists the commands.")
    chat_loop(engine, conversation, sampling, printer=printer, read_line=_line_reader(), say=say)
    return ExitCode.DONE


def _line_reader() -> Callable[[], str]:
    """`input` with line editing and history where the platform has readline."""
    with suppress(ImportError):  # Windows has none: its consoles edit lines by themselves
        import readline  # noqa: F401  # importing it is what gives input() its editing

    def read() -> str:
        if sys.stdout.isatty():
            return input(">>> ")
        sys.stderr.write(">>> ")  # stdout goes to a file: it holds answers alone
        sys.stderr.flush()
        return input()

    return read


class Opener(Protocol):
    """Opens an engine: `open_engine`, or a test's."""

    def __call__(
        self, path: Path, params: LoadParams, *, progress: Callable[[float], bool]
    ) -> AbstractContextManager[Any]:
        """`progress` is told 0..1, and answers False to stop the load with KeyboardInterrupt."""
        ...


def _embedded_opener() -> Opener:
    from launcher.engines.embedded import open_engine  # brings in llama_cpp's declarations

    return open_engine


@contextmanager
def loaded(path: Path, params: LoadParams, *, opener: Opener | None = None) -> Iterator[Any]:
    """The embedded engine with `path` loaded, behind a progress bar on a terminal. Ctrl-C stops the load."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from launcher.chat.loop import stop_on_interrupt

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

            engine = stack.enter_context((opener or _embedded_opener())(path, params, progress=show))
        if stop.is_set():
            raise KeyboardInterrupt
        yield engine
